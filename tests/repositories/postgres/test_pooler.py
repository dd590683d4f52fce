"""PgBouncer in transaction mode stands between the repository and the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import AnnotationQueues, NewItem
from annotation_queue.repositories.postgres import PostgresRepository
from helpers.postgres import running_as, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.postgres import Database

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def pooled(database: Database) -> Iterator[str]:
    """Where the pooler is. It has two connections to the server, each of which serves one transaction at a time."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed")
    info = psycopg.conninfo.conninfo_to_dict(database.dsn)
    if not database.own:
        pytest.skip("the server is not ours alone")
    folder = Path(f"{info['host']}-pooler")
    folder.mkdir()
    (folder / "users").write_text('"tests" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n{info['dbname']} = host={info['host']} dbname={info['dbname']} user=tests pool_size=2\n"
        f"[pgbouncer]\npool_mode = transaction\nlisten_addr =\nunix_socket_dir = {folder}\nlisten_port = 5432\n"
        f"auth_type = any\nauth_file = {folder}/users\nlogfile = {folder}/log\n"
    )
    user = unprivileged()
    if user is not None:
        shutil.chown(folder, user)
    with (folder / "out").open("wb") as out:
        pooler = subprocess.Popen([PROGRAM, str(folder / "ini")], stdout=out, stderr=out, **running_as(user))
    deadline = time.monotonic() + 20
    while not (folder / ".s.PGSQL.5432").exists():
        assert pooler.poll() is None, (folder / "out").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield psycopg.conninfo.make_conninfo(host=str(folder), user="tests", dbname=str(info["dbname"]))
    pooler.kill()
    pooler.wait()
    shutil.rmtree(folder)


def test_many_threads_share_two_connections_by_way_of_a_pooler(database: Database, pooled: str) -> None:
    schema = database.take()
    with PostgresRepository(pooled, schema=schema, prepare_threshold=None, timeout=20) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(100)], added_by="ann")

        def work(number: int) -> int:
            done = 0
            while claim := queues.claim(queue.id, f"ann-{number}"):
                queues.complete(claim, number)
                done += 1
            return done

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(work, range(6))) == 100
        assert queues.stats([queue.id])[0].finished_items == 100
        assert repository.check() == ()
    database.give_back([schema])
