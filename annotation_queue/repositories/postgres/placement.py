"""Where in a cluster of Citus a schema is, and whether a connection goes there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annotation_queue.errors import SchemaVersionUnknown, StorageError

if TYPE_CHECKING:
    import psycopg

DISTRIBUTED: Final = 1 << 20
"""What is added to the version of a schema that is distributed, so that whoever does not know of it leaves it alone."""
PLANS: Final = ("plan_cache_mode = force_custom_plan", "citus.allow_nested_distributed_execution = on")
"""The settings there. Citus plans most statements only if it knows their values; the second one lets a trigger, or a
function, work on tables beside the one that the statement is about: these are on the same node."""
MOVED: Final = -1
NOT_HERE: Final = f"SELECT {MOVED} WHERE NOT is_placed_here()"
"""Gives a row that is no version if the schema is on another node by now."""
_HAS_CITUS: Final = "SELECT to_regclass('pg_catalog.pg_dist_placement') IS NOT NULL"
_NODE: Final = """
SELECT n.nodename, n.nodeport, n.groupid = (SELECT l.groupid FROM pg_dist_local_group AS l)
FROM pg_dist_shard AS s JOIN pg_dist_placement AS p ON p.shardid = s.shardid
    JOIN pg_dist_node AS n ON n.groupid = p.groupid AND n.noderole = 'primary'
WHERE s.logicalrelid = (SELECT c.oid FROM pg_class AS c
    WHERE c.relname = 'annotation_queue_schema' AND c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = $1))
"""


class Node(NamedTuple):
    """A node of a cluster, as the cluster calls it, and whether it is the one that a connection goes to."""

    host: str
    port: int
    is_here: bool


def has_citus(cursor: psycopg.Cursor[Any]) -> bool:
    """Tell whether a database has the extension."""
    return cursor.execute(_HAS_CITUS).fetchone() == (True,)


def node_of(cursor: psycopg.Cursor[Any], schema: str) -> Node | None:
    """Find the node that a schema is on; None if it is not distributed, or the database has no Citus."""
    found = cursor.execute(_NODE, (schema,)).fetchone() if has_citus(cursor) else None
    return None if found is None else Node(*found)


def check_is_here(cursor: psycopg.Cursor[Any], schema: str, name: str) -> None:
    """Check that a distributed schema is on the node that a connection goes to.

    Raises:
        StorageError: It is on another one. There Citus would run a part of most statements where the connection goes and
            the rest where the tables are: locks would keep nobody out, and the log would mix up two servers' transactions.
    """
    node = node_of(cursor, schema)
    if node is None:
        raise StorageError(
            f"{name} was distributed in a Citus cluster, and this database knows of none; nothing was read or written, restore "
            "it there"
        )
    if not node.is_here:
        raise StorageError(
            f"{name} is on another node of this Citus cluster; nothing was read or written, connect to host {node.host!r}, "
            f"port {node.port}"
        )


def replaced(name: str, found: int | None, version: int) -> StorageError:
    """Say what has become of a schema meanwhile.

    Args:
        name: What to call the schema.
        found: The version that a transaction has found as it began; None if there is none.
        version: The version that the schema had when it was opened.
    """
    if found is not None and (found == MOVED or found - version == DISTRIBUTED):
        return StorageError(
            f"{name} is on another node of its Citus cluster by now; nothing was written, make a new repository, which "
            "tells where"
        )
    if found is not None and found > version:
        return SchemaVersionUnknown(name, found, version)
    return StorageError(
        f"{name} has version {found} and had version {version} when it was opened: it was replaced; nothing was written, make "
        "a new repository"
    )
