"""Putting a schema on one node of a cluster of Citus."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs
import psycopg
from psycopg.rows import tuple_row

from annotation_queue.errors import StorageError
from annotation_queue.repositories.postgres.connections import quoted
from annotation_queue.repositories.postgres.conninfo import check_conninfo
from annotation_queue.repositories.postgres.placement import DISTRIBUTED, Node, has_citus, node_of
from annotation_queue.repositories.postgres.repository import PostgresRepository
from annotation_queue.repositories.postgres.schema import ERA
from annotation_queue.repositories.postgres.statements import placed
from annotation_queue.repositories.postgres.translation import translate, translate_attempt
from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQL: Final = {name: placed(text) for name, text in load_statements("postgres/distribution").items()}
_LOCK: Final = "LOCK TABLE annotation_queue_schema IN ACCESS EXCLUSIVE MODE"
_VERSION: Final = "SELECT version FROM annotation_queue_schema"


@attrs.frozen(kw_only=True)
class Distribution:
    """Where a schema is in its cluster, and what `distribute` did.

    Args:
        schema: The schema.
        host: The node that it is on, as the cluster calls it.
        port: The node's port.
        tables: The tables that are there, by name.
        is_new: Whether they were put there now; False if they were there before.
    """

    schema: str
    host: str
    port: int
    tables: tuple[str, ...]
    is_new: bool


def distribute(conninfo: str, schema: str = "annotation_queue") -> Distribution:
    """Put a schema, with all that is in it, on one node of a Citus cluster; Citus chooses it.

    From then on every repository of that schema connects to that node; anywhere else it refuses to open. Repositories that are
    open are refused by their next write. A cluster has as many schemas as it is given: one for each project, for example.
    Where the schema is on a node already, nothing is changed. There is no way back but into another schema: Citus takes back no
    table whose numbers the server gives.

    Args:
        conninfo: The cluster's coordinator, as libpq takes it, with a role that may make extensions' objects there: the
            owner of the schema, or a superuser.
        schema: The schema; made when missing. It is locked for as long as its rows are copied, which is linear in them.

    Returns:
        Where it is.

    Raises:
        InvalidValue: The conninfo or the schema is none.
        StorageUnreachable: The server is down, or out of reach.
        StorageDenied: The role lacks rights that are needed.
        StorageCorrupt: The schema holds another application's tables; it is left as it is.
        SchemaVersionUnknown: It was written by a newer version of this library; it is left as it is.
        StorageError: The database has no Citus, or Citus refused; nothing was changed.
    """
    with _connected(conninfo, schema) as connection:
        there = _distribution(connection, schema, is_new=False)
        if there is not None:
            return there
        PostgresRepository(conninfo, schema=schema, max_connections=1).close()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL search_path TO {quoted(schema)}, pg_temp")
            # Whoever writes has looked at it, and is waited for.
            cursor.execute(_LOCK)
            ((version,),) = cursor.execute(_VERSION).fetchall()
            # Somebody else may have been faster.
            is_new = version < DISTRIBUTED
            if is_new:
                _distribute(cursor, schema)
        there = _distribution(connection, schema, is_new=is_new)
    if there is None:
        raise StorageError(f"Citus did not distribute schema {schema!r}; look at its log")
    return there


class _Trigger(NamedTuple):
    """The columns of ``triggers``."""

    name: str
    table: str
    definition: str


def _distribute(cursor: psycopg.Cursor[Any], schema: str) -> None:
    """Distribute a schema inside a transaction that has locked it."""
    for statement in ("take_sequence_along", "add_placement"):
        cursor.execute(_SQL[statement])
    for (function,) in cursor.execute(_SQL["functions"]).fetchall():
        # Where Citus runs them, nothing is set.
        cursor.execute(f"ALTER FUNCTION {function} SET search_path TO {quoted(schema)}, pg_temp")
    cursor.execute(_SQL["mark"], (DISTRIBUTED, ERA))
    triggers = [_Trigger(*row) for row in cursor.execute(_SQL["triggers"]).fetchall()]
    for trigger in triggers:
        cursor.execute(f"DROP TRIGGER {trigger.name} ON {trigger.table}")
    cursor.execute("SELECT citus_schema_distribute($1::regnamespace)", (quoted(schema),))
    # What is unsafe is a trigger that needs rows of other nodes.
    cursor.execute("SET LOCAL citus.enable_unsafe_triggers TO on")
    for trigger in triggers:
        cursor.execute(trigger.definition)


def _distribution(connection: psycopg.Connection[Any], schema: str, *, is_new: bool) -> Distribution | None:
    """Say where a schema is; None if it is not distributed."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL search_path TO {quoted(schema)}, pg_temp")
        node: Node | None = node_of(cursor, schema)
        if node is None:
            return None
        tables = tuple(name for (name,) in cursor.execute(_SQL["tables"]).fetchall())
    return Distribution(schema=schema, host=node.host, port=node.port, tables=tables, is_new=is_new)


@contextmanager
def _connected(conninfo: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect to a cluster's coordinator; errors of the driver are ours.

    Raises:
        StorageError: Its database has no Citus.
    """
    name = f"schema {schema!r}"
    try:
        connection = psycopg.connect(
            check_conninfo(conninfo),
            autocommit=True,
            client_encoding="utf8",
            row_factory=tuple_row,
            cursor_factory=psycopg.RawCursor,
        )
    except psycopg.Error as error:
        raise translate_attempt(error, name) from error
    try:
        with connection, connection.cursor() as cursor:
            if not has_citus(cursor):
                raise StorageError(
                    f"the database of {name} has no Citus; nothing was changed, run CREATE EXTENSION citus there, or name the "
                    "coordinator of a cluster"
                )
            yield connection
    except psycopg.Error as error:
        raise translate(error, name) from error
