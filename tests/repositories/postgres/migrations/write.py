"""Write what the tests open as what an earlier version left: `python tests/repositories/postgres/migrations/write.py`.

For the newest schema version it writes, beside this module, ``postgres_<version>.sql`` (all rows of a schema, to be inserted
into the tables of that version) and ``postgres_<version>.json`` (what the library answers about it). Once a version is
released, its two files never change again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parents[3]))

import psycopg
from psycopg import sql

from annotation_queue.repositories.postgres.connections import Connections
from annotation_queue.repositories.postgres.schema import MIGRATIONS, SCHEMA_VERSION, prepare
from helpers.postgres import Database, Server, binaries
from repositories.sqlite.migrations.write import answers, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parent
_TABLES: Final = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' AND c.relname <> 'annotation_queue_schema'
GROUP BY c.relname ORDER BY c.relname
"""


def files_of(version: int) -> tuple[Path, Path]:
    """Name the two files of a schema version."""
    return FOLDER / f"postgres_{version:04}.sql", FOLDER / f"postgres_{version:04}.json"


def restore(version: int, dsn: str, schema: str) -> None:
    """Make the schema that a version left."""
    connections = Connections(dsn, schema, None, max_connections=1, timeout=20, prepare_threshold=None)
    prepare(connections, MIGRATIONS[:version])
    connections.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        connection.execute(files_of(version)[0].read_text(encoding="utf-8").encode())


def dumped(dsn: str, schema: str) -> Iterator[str]:
    """Write all rows of a schema as statements that insert them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        for table, columns in connection.execute(_TABLES, (schema,)).fetchall():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            read = sql.SQL("SELECT {0} FROM {1} ORDER BY {0}").format(names, sql.Identifier(table))
            for row in connection.execute(read):
                values = sql.SQL(", ").join(map(sql.Literal, row))
                insert = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({});")
                yield insert.format(sql.Identifier(table), names, values).as_string(connection)
    yield "SELECT setval('item_nums', coalesce(max(num), 1)) FROM items;"
    yield "SELECT setval(pg_get_serial_sequence('queues', 'num'), coalesce(max(num), 1)) FROM queues;"


def main() -> None:
    """Write the two files of the newest schema version."""
    programs = binaries()
    if programs is None:
        raise SystemExit("no PostgreSQL server")
    server = Server(programs)
    try:
        database = Database(server.dsn, own=True)
        with database.repository("written") as repository:
            fill(repository)
            told: dict[str, Any] = answers(repository)
            assert repository.check() == ()
        dump, answered = files_of(SCHEMA_VERSION)
        dump.write_text("\n".join(dumped(database.dsn, "written")) + "\n", encoding="utf-8")
        # A line for each project.
        texts = (f"{json.dumps(name)}: {json.dumps(each, separators=(',', ':'))}" for name, each in told.items())
        answered.write_text("{\n" + ",\n".join(texts) + "\n}\n", encoding="utf-8")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
