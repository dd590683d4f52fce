"""Opening a SQLite file: is it ours, is it new, and which migrations does it lack."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, Final

from annotation_queue.errors import SchemaVersionUnknown, StorageCorrupt
from annotation_queue.repositories.sql.files import load_migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annotation_queue.repositories.sqlite.connections import Connections

_LOG: Final = logging.getLogger("annotation_queue.sqlite")
APPLICATION_ID: Final = 0x41_51_75_65
"""What the header of our files carries: "AQue"."""

MIGRATIONS: Final = load_migrations("sqlite")
"""For each version the statements that lead to it."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
"""The newest schema version, the one that this library reads and writes."""


def prepare(connections: Connections, migrations: Sequence[Iterable[str]] = MIGRATIONS) -> None:
    """Make sure that the file has our newest schema.

    Args:
        connections: The file's connections.
        migrations: What leads from each version to the next; all that a file lacks run in one transaction.

    Raises:
        StorageCorrupt: It is no SQLite database, or another application's; it is left as it is.
        SchemaVersionUnknown: It was written by a newer version; it is left as it is.
        StorageBusy: Another process held it past the deadline.
        StorageError: It cannot be opened, or needs a migration and is read-only.
    """
    # Closing a file that was opened for writing moves its log into it, which would change one that is refused.
    newest = len(migrations)
    connections.peek(lambda connection: _our_version(connection, connections.path, newest))
    with connections.reading() as connection:
        # A file that another process turns to write-ahead logging at this moment is locked for readers too.
        connections.retry(connection, "SELECT count(*) FROM sqlite_schema")
        version = _our_version(connection, connections.path, newest)
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    # A copy that `VACUUM INTO` made has none, nor has a file that some tool turned back.
    if mode != "wal" and os.access(connections.path, os.W_OK):
        connections.write_ahead()
    connections.know_file()
    if version == newest:
        return
    with connections.writing() as connection:
        # Another process may have been faster while we had no lock.
        version = _our_version(connection, connections.path, newest)
        if version == newest:
            return
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest}")
    _LOG.info("%s was migrated from schema version %d to %d", connections.path, version, newest)


def schema_of(execute: Callable[[str], sqlite3.Cursor]) -> dict[tuple[str, str], str | None]:
    """Read the schema of a database: kind and name of each thing in it -> the statement that makes it."""
    rows = execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    return {(kind, name): sql for kind, name, sql in rows}


@cache
def newest_schema() -> Mapping[tuple[str, str], str | None]:
    """Make our newest schema in memory, once in a process, and read it as `schema_of` does."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statements in MIGRATIONS:
            for statement in statements:
                connection.execute(statement)
        return schema_of(connection.execute)


def _our_version(connection: sqlite3.Connection, path: str, newest: int) -> int:
    """Read the schema version; 0 for a file that holds nothing yet."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise StorageCorrupt(f"{path} is a database of another application; it was left as it is, name another file")
    if version < 0 or (version == 0 and tables):
        raise StorageCorrupt(f"{path} has schema version {version}, which nothing wrote; restore it from a backup")
    if version > newest:
        raise SchemaVersionUnknown(path, version, newest)
    return int(version)
