"""Opening a schema: is it ours, is it new, and which migrations does it lack."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.errors import SchemaVersionUnknown, StorageCorrupt, StorageDenied, StorageError
from annotation_queue.repositories.postgres.connections import quoted
from annotation_queue.repositories.postgres.placement import DISTRIBUTED, check_is_here
from annotation_queue.repositories.sql.files import load_migrations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

    from annotation_queue.repositories.postgres.connections import Connections

_LOG: Final = logging.getLogger("annotation_queue.postgres")
MIGRATIONS: Final = load_migrations("postgres")
"""For each version the statements that lead to it."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
"""The newest schema version, the one that this library reads and writes."""
_MAY_ASK: Final = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AND NOT pg_is_in_recovery()"
_HERE: Final = (
    "SELECT system_identifier::text || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()"
)
"""Which cluster this is, and on which timeline it is."""
ERA: Final = 1 << 48
"""How far eras are apart: no cluster has had as many transactions."""
_TABLES: Final = """
SELECT n.oid IS NOT NULL, count(c.oid), count(c.oid) FILTER (WHERE c.relname = 'annotation_queue_schema'),
    coalesce(has_schema_privilege(n.oid, 'USAGE'), TRUE)
FROM (SELECT $1 AS name) AS wanted LEFT JOIN pg_namespace AS n ON n.nspname = wanted.name
    LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
GROUP BY n.oid
"""


def prepare(connections: Connections, migrations: Sequence[Iterable[str]] = MIGRATIONS, *, create: bool = True) -> None:
    """Make sure that the schema has our newest version; nothing outside it is touched.

    Args:
        connections: The connections.
        migrations: What leads from each version to the next; all that a schema lacks run in one transaction.
        create: Whether it is made where it is missing.

    Raises:
        StorageCorrupt: Another application's tables are in the schema; it is left as it is.
        SchemaVersionUnknown: It was written by a newer version; it is left as it is.
        StorageBusy: Another process migrated it past the deadline.
        StorageUnreachable: The server cannot be reached.
        StorageDenied: The role may not use the schema, or make what is missing.
        StorageError: The database cannot hold every text, the schema is on another node of a Citus cluster, or it is missing
            and not to be made.
    """
    newest = len(migrations)
    with connections.reading() as cursor:
        (encoding,) = _one(cursor, "SHOW server_encoding")
        if encoding != "UTF8":
            raise StorageError(f"the database is encoded in {encoding}, which cannot hold every text; use one in UTF8")
        version = _our_version(cursor, connections, newest)
        is_ready = _undistributed(version) == newest and _is_known_here(cursor)
    if version > DISTRIBUTED:
        connections.distribute()
        newest += DISTRIBUTED
    if is_ready:
        connections.version = newest
        return
    if version <= 0 and not create:
        raise StorageError(f"{connections.name} is not there, or holds no queues; nothing was made, look at its name")
    _migrate(connections, migrations, newest)


def _migrate(connections: Connections, migrations: Sequence[Iterable[str]], newest: int) -> None:
    """Make what a schema lacks, unless another process has done so meanwhile."""
    with connections.migrating() as cursor:
        # Another process may have been faster while we had no lock.
        version = _our_version(cursor, connections, newest)
        if version == newest and _is_known_here(cursor):
            connections.version = newest
            return
        if version > 0:
            # Whoever writes has looked at it, and is waited for.
            cursor.execute("LOCK TABLE annotation_queue_schema IN ACCESS EXCLUSIVE MODE")
        if version < 0:
            cursor.execute(f"CREATE SCHEMA {quoted(connections.schema)}")
        if version <= 0:
            cursor.execute("CREATE TABLE annotation_queue_schema (version bigint NOT NULL)")
            cursor.execute("INSERT INTO annotation_queue_schema VALUES (0)")
        for statements in migrations[max(version, 0) :]:
            for statement in statements:
                cursor.execute(statement)
        cursor.execute("UPDATE annotation_queue_schema SET version = $1", (newest,))
        _enter(cursor)
    connections.version = newest
    _LOG.info("%s was migrated from schema version %d to %d", connections.name, max(version, 0), newest)


def _enter(cursor: psycopg.Cursor[Any]) -> None:
    """Begin a new era if the schema was opened in another cluster, or on another timeline, before."""
    if not _is_known_here(cursor):
        (here,) = _one(cursor, _HERE)
        cursor.execute(
            "UPDATE annotation_queue_schema SET era = era + CASE WHEN cluster IS NULL THEN 0 ELSE $1 END, cluster = $2",
            (ERA, here),
        )


def _is_known_here(cursor: psycopg.Cursor[Any]) -> bool:
    """Tell whether the schema was opened before in this cluster, on this timeline; True if that cannot be told."""
    # Version 1 did not keep it.
    kept = "SELECT to_jsonb(s) ? 'cluster', to_jsonb(s) ->> 'cluster' FROM annotation_queue_schema AS s"
    keeps, known = _one(cursor, kept)
    (may_ask,) = _one(cursor, _MAY_ASK)
    return not (keeps and may_ask) or _one(cursor, _HERE) == (known,)


def _undistributed(version: int) -> int:
    """Give a schema version without what is added where the schema is distributed."""
    return version - DISTRIBUTED if version > DISTRIBUTED else version


def _our_version(cursor: psycopg.Cursor[Any], connections: Connections, newest: int) -> int:
    """Read the schema version; 0 for a schema that holds nothing yet, -1 for none."""
    exists, tables, ours, may_use = _one(cursor, _TABLES, (connections.schema,))
    if not exists:
        return -1
    if not tables:
        return 0
    if not ours:
        raise StorageCorrupt(
            f"{connections.name} holds tables of another application; it was left as it is, name another schema"
        )
    if not may_use:
        raise StorageDenied(
            f"the role may not use {connections.name}; grant it USAGE there, and what it needs of its tables"
        )
    (version,) = _one(cursor, "SELECT version FROM annotation_queue_schema")
    if version > DISTRIBUTED:
        check_is_here(cursor, connections.schema, connections.name)
    if _undistributed(version) > _undistributed(newest):
        raise SchemaVersionUnknown(connections.name, _undistributed(version), _undistributed(newest))
    if DISTRIBUTED < version < DISTRIBUTED + _undistributed(newest):
        raise StorageError(
            f"{connections.name} is distributed and has schema version {_undistributed(version)}, which is not migrated there; "
            "nothing was written, open it with the version of this library that it was distributed with"
        )
    if version < 1:
        raise StorageCorrupt(
            f"{connections.name} has schema version {version}, which nothing wrote; restore it from a backup"
        )
    return int(version)


def _one(cursor: psycopg.Cursor[Any], statement: str, values: Sequence[object] | None = None) -> tuple[Any, ...]:
    row = cursor.execute(statement, values).fetchone()
    assert row is not None  # noqa: S101 - each of these gives exactly one row
    return tuple(row)
