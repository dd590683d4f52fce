"""The command line on PostgreSQL: every command, the job of a weekend on several machines, and passwords that nobody sees."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from annotation_queue import AnnotationQueues
from annotation_queue.cli.addresses import Address
from annotation_queue.cli.app import app
from annotation_queue.repositories.postgres import PostgresRepository
from helpers.clocks import PATIENCE, wait_until
from helpers.postgres import Server
from helpers.servers import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.postgres import Database
    from helpers.shells import Shell

PASSWORD: Final = "p@ss/w:rd"  # noqa: S105 - what is looked for in all that is said
RECORDS: Final = 300


def address_of(dsn: str, schema: str | None = None, **others: str) -> str:
    """Write a conninfo as an address."""
    parameters = {**conninfo_to_dict(dsn), **({} if schema is None else {"schema": schema}), **others}
    return f"postgresql:///?{urlencode(parameters, quote_via=quote)}"


@pytest.fixture
def address(database: Database, repository: PostgresRepository) -> str:
    """The address of an empty schema."""
    return address_of(database.dsn, repository._connections.schema)


def test_every_command_works_on_postgresql(shell: Shell, address: str) -> None:
    used: set[str] = set()

    def run(command: str, *arguments: str, code: int = 0, stdin: str = "") -> str:
        used.add(command)
        out, _ = shell.run(command, *arguments, "--db", address, code=code, stdin=stdin)
        return out

    shell.records(12)
    run("add", "items.jsonl", "--queue", "q")
    items = [json.loads(line) for line in run("items", "--json").splitlines()]
    assert [item["call_id"] for item in items] == [str(n) for n in range(12)]
    ids = [item["id"] for item in items]
    claim = run("claim", "--annotator", "bob")
    run("heartbeat", stdin=claim)
    run("complete", '"good"', stdin=claim)
    run("skip", stdin=run("claim", "--annotator", "bob"))
    run("release", stdin=run("claim", "--annotator", "bob"))
    run("pause")
    run("claim", "--annotator", "bob", code=1)
    run("resume")
    ranks = "".join(f"{json.dumps({'id': each, 'priority': n})}\n" for n, each in enumerate(ids))
    run("reprioritise", "-", stdin=ranks)
    run("update", ids[5], "--priority", "99", "--yes")
    run("remove", ids[3])
    run("restore", ids[3])
    run("remove", ids[4])
    run("purge", "--removed-before", "2100-01-01T00:00:00Z", "--yes")
    run("reset", ids[0], "--actor", "boss", "--yes")
    assert len(run("history", ids[0], "--json").splitlines()) == 3
    labeler = ("--labeler", "own_labelers:plain", "--annotator", "model")
    run("label", "items.jsonl", "--queue", "q", *labeler)
    assert len(run("export").splitlines()) == 12
    assert run("check") == ""
    (stats,) = [json.loads(line) for line in run("stats", "--json").splitlines()]
    assert (stats["total_items"], stats["finished_items"]) == (12, 12)
    run("agreement", code=2)
    assert used == set(app.list_commands(None)) - {"serve", "completion", "vacuum"}  # type: ignore[arg-type]  # it asks for nothing


@pytest.mark.slow
def test_the_pages_of_a_server_are_served(shell: Shell, address: str) -> None:
    command = [sys.executable, "-m", "annotation_queue", "serve", "--sample", "--port", "0", "--db", address]
    with subprocess.Popen(command, cwd=shell.folder, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        try:
            url = next(line for line in served.stderr if line.startswith("open ")).split()[1]
            with httpx.Client(verify=NO_TLS, follow_redirects=True) as browser:
                assert "reviews" in browser.get(url).text
        finally:
            served.terminate()
        assert served.wait(20) == 130


@pytest.mark.slow
def test_of_four_processes_that_label_two_are_killed_and_each_record_is_labelled_once(
    shell: Shell, address: str, repository: PostgresRepository
) -> None:
    shell.records(RECORDS)
    (shell.folder / "own_labelers.py").write_text(
        "import os, time\n\ndef judge(item):\n    time.sleep(0.03)\n    return {'n': item.payload['id'], 'by': os.getpid()}\n"
    )
    command = [sys.executable, "-m", "annotation_queue", "label", "items.jsonl", "--labeler", "own_labelers:judge"]
    options = ["--annotator", "model", "--lease", "2", "--workers", "2", "--db", address]
    with (shell.folder / "err").open("wb") as err:
        started = [
            subprocess.Popen([*command, *options], cwd=shell.folder, stdout=subprocess.DEVNULL, stderr=err)
            for _ in range(4)
        ]
    queues = AnnotationQueues(repository, "default")

    def labels() -> list[Any]:
        return [label for queue in queues.query().queues for label in queues.iter_labels(queue.id)]

    killed: set[int] = set()

    def at_work() -> set[int]:
        return {label.progress.annotation["by"] for label in labels()} - killed

    for _ in range(2):
        wait_until(lambda: bool(at_work()))
        victim = next(process for process in started if process.pid in at_work())
        assert victim.poll() is None, "it ended before it was killed"
        victim.kill()
        killed.add(victim.pid)
    codes = [process.wait(PATIENCE) for process in started]
    assert codes == [-signal.SIGKILL if process.pid in killed else 0 for process in started]
    found = labels()
    assert Counter(label.item.call_id for label in found) == Counter(map(str, range(RECORDS)))
    assert all(label.item.call_id == str(label.progress.annotation["n"]) for label in found)
    assert killed < {label.progress.annotation["by"] for label in found}
    assert "Traceback" not in (shell.folder / "err").read_text()


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://me:{quote(PASSWORD, safe='')}@host/db",
        f"postgresql://host/db?password={quote(PASSWORD, safe='')}",
        f"postgresql://me:{PASSWORD}@host/db",
        "postgresql://me:Q?uest/w@127.0.0.1:1/db",
        "postgresql://me:Q?uest/w@127.0.0.1:1/db?schema=x",
        "postgresql://me:Q?uest@127.0.0.1:1/db",
        "postgresql://me:Q/uest@127.0.0.1/db",
        "postgresql://me:Q@uest@127.0.0.1/db",
        "postgresql://host/db?user=me&passw%6frd=uest",
        "postgresql://host?password=uest@x",
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(shell: Shell, address: str) -> None:
    for command in ("stats", "vacuum"):
        out, err = shell.run(command, "--db", address, code=2)
        assert "PGPASSWORD" in err
        assert all(part not in out + err for part in (PASSWORD, quote(PASSWORD, safe=""), "ss/w", "uest"))


def test_a_command_that_only_reads_makes_no_schema(shell: Shell, database: Database) -> None:
    mistyped = database.fresh()
    address = address_of(database.dsn, mistyped)
    shell.records(1)
    for command in (["stats"], ["check"], ["purge", "--removed-before", "2100-01-01T00:00:00Z", "--yes"], ["claim"]):
        annotator = ["--annotator", "bob"] * (command == ["claim"])
        _, err = shell.run(*command, *annotator, "--db", address, code=3)
        assert f"{mistyped!r} is not there" in err
    with psycopg.connect(database.dsn) as connection:
        found = connection.execute("SELECT to_regnamespace(%s)", [mistyped]).fetchone()
    assert found == (None,)
    shell.run("add", "items.jsonl", "--db", address)
    assert len(shell.run("items", "--json", "--db", address)[0].splitlines()) == 1


def test_what_the_pool_notes_goes_nowhere_unless_somebody_wants_it(address: str) -> None:
    Address(address, None).open("FULL").close()
    assert any(isinstance(each, logging.NullHandler) for each in logging.getLogger("psycopg.pool").handlers)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:Q?uest@h:1,i:2/db?schema=x&sslmode=require", "postgresql://me@h:1,i:2/db?schema=x"),
        ("postgresql://me:Q/uest@h/db", "postgresql://***"),
        ("postgresql://me:Q@uest@h/db", "postgresql://***"),
        ("postgresql://me:a/b?c=uest@h/db", "postgresql://***"),
        ("postgres:///db?host=%2Frun&passw%6frd=uest", "postgres:///db?host=%2Frun"),
    ],
)
def test_what_shows_an_address_shows_no_part_of_a_password(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, address: str, shown: str
) -> None:
    monkeypatch.setenv("ANNOTATION_QUEUE_DB", address)
    _, err = shell.run("vacuum", code=2)
    assert f"{shown}: only files" in err
    assert "uest" not in err


@pytest.mark.parametrize(
    "form", ["postgresql://me:{}@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db?user=me&password={}"]
)
def test_no_error_repeats_the_password_of_an_address(shell: Shell, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("ANNOTATION_QUEUE_DB", form.format(quote(PASSWORD, safe="")))
    _, err = shell.run("check", code=3)
    assert "cannot be reached" in err
    assert all(part not in err for part in (PASSWORD, quote(PASSWORD, safe="")))
    monkeypatch.setenv("ANNOTATION_QUEUE_DB", form.format(PASSWORD + "%zz@"))
    _, err = shell.run("check", code=2)
    assert "conninfo" in err
    assert "ss/w" not in err


@pytest.mark.slow
@pytest.mark.parametrize("by", ["PGPASSWORD", ".pgpass", "service", "ANNOTATION_QUEUE_DB"])
def test_a_password_comes_from_where_libpq_looks_for_it(
    shell: Shell, server_with_password: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    info = {key: str(value) for key, value in conninfo_to_dict(server_with_password).items()}
    db: tuple[str, ...] = ("--db", address_of(server_with_password))
    _, err = shell.run_apart("check", *db, code=3)
    assert "password" in err
    if by == "PGPASSWORD":
        monkeypatch.setenv(by, PASSWORD)
    elif by == ".pgpass":
        written = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
        (tmp_path / "pass").write_text(f"*:*:*:{info['user']}:{written}\n")
        (tmp_path / "pass").chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pass"))
    elif by == "service":
        lines = "".join(f"{key}={value}\n" for key, value in {**info, "password": PASSWORD}.items())
        (tmp_path / "services").write_text(f"[labels]\n{lines}")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        db = ("--db", "postgresql:///?service=labels")
    else:
        monkeypatch.setenv(by, address_of(server_with_password, password=PASSWORD))
        db = ()
    out, err = shell.run_apart("check", *db)
    assert (out, "all is well" in err) == ("", True)
    assert all(part not in err for part in (PASSWORD, quote(PASSWORD, safe="")))


@pytest.fixture(scope="module")
def server_with_password(programs: Path) -> Iterator[str]:
    """A role that needs its password."""
    server = Server(programs)
    try:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE ROLE secretive LOGIN SUPERUSER")
            connection.execute(psycopg.sql.SQL("ALTER ROLE secretive PASSWORD {}").format(PASSWORD))
        PostgresRepository(server.dsn).close()
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"local all secretive scram-sha-256\n{rules.read_text()}")
        server.stop("fast")
        server.start()
        yield psycopg.conninfo.make_conninfo(server.dsn, user="secretive")
    finally:
        server.remove()
