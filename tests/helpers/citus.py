"""A cluster of Citus for the tests: one that the environment names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.conninfo import make_conninfo

from annotation_queue.repositories.postgres import PostgresRepository, distribute

if TYPE_CHECKING:
    from annotation_queue.repositories.postgres import Distribution

CITUS_VARIABLE: Final = "ANNOTATION_QUEUE_TEST_CITUS_DSN"
_ANOTHER: Final = "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards AND nodeport <> %s LIMIT 1"


class Cluster:
    """A cluster in which every repository gets a schema of its own, on one of the nodes.

    Args:
        dsn: Its coordinator, a superuser there and a database with the extension.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.made: dict[str, Distribution] = {}
        """Where each schema is."""
        self._free: list[str] = []

    def fresh(self) -> str:
        """Give a schema that is not there yet."""
        name = f"annotation_queue_test_{os.getpid()}_{len(self.made)}"
        self.drop_one(name)
        return name

    def take(self) -> str:
        """Give a distributed schema that is empty."""
        if not self._free:
            schema = self.fresh()
            self.distribute(schema)
            return schema
        schema = self._free.pop()
        with psycopg.connect(self.node(schema), autocommit=True) as connection:
            # Emptying tables takes less time than making them.
            for table in self.made[schema].tables:
                if table != "annotation_queue_schema":
                    connection.execute(f"DELETE FROM {schema}.{table}")  # noqa: S608 - our own names
        return schema

    def distribute(self, schema: str) -> None:
        """Distribute a schema."""
        self.made[schema] = distribute(self.dsn, schema)

    def move(self, schema: str) -> None:
        """Move a schema to another node."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            ((host, port),) = connection.execute(_ANOTHER, (self.made[schema].port,)).fetchall()
            connection.execute(
                "SELECT citus_schema_move(%s::regnamespace, %s, %s, 'block_writes')", (schema, host, port)
            )
        self.distribute(schema)

    def give_back(self, schema: str) -> None:
        """Take back a schema that is used no longer."""
        self._free.append(schema)

    def node(self, schema: str) -> str:
        """Say how to reach the node that a schema was distributed to."""
        made = self.made[schema]
        return make_conninfo(self.dsn, host=made.host, port=made.port)

    def repository(self, schema: str) -> PostgresRepository:
        """Make a repository."""
        return PostgresRepository(self.node(schema), schema=schema, timeout=20)

    def drop_one(self, schema: str) -> None:
        """Drop a schema, if it is there."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"SET client_min_messages TO warning; DROP SCHEMA IF EXISTS {schema} CASCADE")

    def drop(self) -> None:
        """Drop all that was made."""
        for schema in self.made:
            self.drop_one(schema)
