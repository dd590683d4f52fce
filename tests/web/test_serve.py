"""``annotation-queue serve`` as a real process: what it says, what it refuses, and what it stores under load."""

from __future__ import annotations

import base64
import http.client
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from annotation_queue import AnnotationQueues, SQLiteRepository
from annotation_queue.cli.connections import connections_of
from helpers.faults import NIGHTLY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.shells import Shell

TOKENS = """
[[tokens]]
token = "ann-key"
user = "ann"
projects = ["acme/chatbot", "acme/other"]

[[tokens]]
token = "bob-key"
user = "bob"
projects = []
"""
PROJECT = {"project_id": "acme/chatbot"}
CLIENTS, MOVES = 16, 625 if NIGHTLY else 157


@contextmanager
def serving(shell: Shell, *arguments: str, tokens: str = TOKENS) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a file on a free port; give the URL that the process says, and the process."""
    (shell.folder / "tokens.toml").write_text(tokens)
    command = ["serve", "--db", "labels.db", "--token-file", "tokens.toml", "--port", "0", *arguments]
    process = shell.start(*command)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        said = re.fullmatch(
            r"serving labels\.db on (http://\S+) \(pages at /pages/, see /openapi\.json; Ctrl-C stops\)\n", line
        )
        assert said is not None, line + process.stderr.read()
        yield said[1], process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_it_serves_the_file_to_whoever_has_a_token(shell: Shell) -> None:
    with serving(shell) as (url, process):
        for auth in ({"auth": ("whatever", "ann-key")}, {"headers": {"Authorization": "Bearer ann-key"}}):
            made = httpx.post(f"{url}/annotation_queues", json={**PROJECT, "name": "q", "scorer_refs": []}, **auth)
            assert made.status_code == 200
        refused = httpx.post(
            f"{url}/annotation_queues/query", json=PROJECT, headers={"Authorization": "Bearer bob-key"}
        )
        assert refused.status_code == 403
        assert httpx.post(f"{url}/annotation_queues/query", json=PROJECT, auth=("ann", "x")).status_code == 401
        assert httpx.get(f"{url}/openapi.json").json()["openapi"] == "3.1.0"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err.strip()) == (130, "", "annotation-queue: interrupted")
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "acme/chatbot").query().queues
        assert [(each.name, each.created_by) for each in queues] == [("q", "ann")] * 2


def test_it_closes_the_file_when_it_is_told_to_end(shell: Shell) -> None:
    with serving(shell) as (url, process):
        made = httpx.post(
            f"{url}/annotation_queues", json={**PROJECT, "name": "q", "scorer_refs": []}, auth=("", "ann-key")
        )
        assert made.status_code == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err.strip()) == (130, "", "annotation-queue: interrupted")
    assert shell.exists("labels.db")
    assert not shell.exists("labels.db-wal")


SHOWN = re.compile(r"open (http://127\.0\.0\.1:\d+)(/pages/sign-in\?token=\S+) \(works once; another follows\)\n")


def test_without_a_token_file_it_shows_an_address_that_signs_in_once_and_the_next_one_after_it(shell: Shell) -> None:
    process = shell.start("serve", "--sample", "--db", "labels.db", "--user", "ann", "--port", "0")
    assert process.stderr is not None
    try:
        assert process.stderr.readline() == "reviews.jsonl: 60 records, 60 added to queue 'reviews'\n"
        assert process.stderr.readline().startswith("serving labels.db on http://127.0.0.1:")
        first = SHOWN.fullmatch(process.stderr.readline())
        assert first is not None
        with httpx.Client(base_url=first[1], timeout=30) as browser:
            assert browser.get("/").headers["location"] == "/pages/"
            assert browser.get(first[2]).headers["location"] == "/pages/"
            page = browser.get("/pages/").text
            assert ">ann</span>" in page
            assert "reviews" in page
        assert httpx.get(first[1] + first[2]).status_code == 401
        second = SHOWN.fullmatch(process.stderr.readline())
        assert second is not None
        assert second[2] != first[2]
        assert httpx.get(second[1] + second[2]).status_code == 303
        # The programs' APIs have nobody to let in.
        refused = httpx.post(f"{first[1]}/annotation_queues/query", json=PROJECT, auth=("ann", second[2]))
        assert refused.status_code == 401
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.splitlines()[-1] == "annotation-queue: interrupted"
    assert not shell.exists("labels.db-wal")
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        (queue,) = AnnotationQueues(repository, "default").query().queues
        assert (queue.name, queue.created_by, queue.label_schema is None) == ("reviews", "ann", False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])  # noqa: S104 - what is refused
def test_it_listens_nowhere_else_without_a_token_file(shell: Shell, host: str) -> None:
    _, err = shell.run("serve", "--db", "labels.db", "--host", host, code=2)
    assert f"--host {host}: others could reach it; say with --token-file who may ask" in err
    assert not shell.exists("labels.db")


def test_it_counts_how_often_a_user_asks(shell: Shell) -> None:
    with serving(shell, "--rate-limit", "1/hour", "--host", "localhost") as (url, _):
        asked = [httpx.post(f"{url}/annotation_queues/query", json=PROJECT, auth=("", "ann-key")) for _ in range(2)]
        assert [each.status_code for each in asked] == [200, 429]


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ("", "tokens: this field is missing"),
        ("tokens = []", "tokens: expected at least one entry"),
        ("tokens = 7", "tokens: expected a list, got int 7"),
        ("[tokens]", "tokens: expected a list, got dict"),
        ("tokens = [7]", "tokens[0]: expected an object, got int 7"),
        (
            "[[tokens]]\ntoken = 7\nuser = ''\n",
            "tokens[0].token: expected text, got int 7; tokens[0].user: expected non-empty text, got an empty str",
        ),
        (
            TOKENS + "[[tokens]]\ntoken = 'x'\nuser = 'x'\nprojects = [1]",
            "tokens[2].projects[0]: expected text, got int 1",
        ),
        (
            TOKENS + "[[tokens]]\ntoken = 'x'\nuser = 'x'\nprojects = []\nrole = 'x'",
            "tokens[2].role: there is no such field",
        ),
        (TOKENS + TOKENS, "tokens[2].token: expected another than that of tokens[0]"),
        ("[[tokens]]\ntoken = 'x'\nuser = 'x'\n", "tokens[0].projects: this field is missing"),
        ("nope", "cannot read 'tokens.toml': "),
        ("token = '\0'", "cannot read 'tokens.toml': "),
        (b"\xff\xfe", "cannot read 'tokens.toml': "),
        (None, "cannot read 'tokens.toml': No such file or directory"),
    ],
)
def test_a_token_file_that_does_not_fit_is_named_with_its_fields(
    shell: Shell, tokens: str | bytes | None, problem: str
) -> None:
    if tokens is not None:
        (shell.folder / "tokens.toml").write_bytes(tokens if isinstance(tokens, bytes) else tokens.encode())
    _, err = shell.run("serve", "--db", "labels.db", "--token-file", "tokens.toml", code=2)
    assert problem in err
    assert "tokens.toml" in err
    assert len(err.splitlines()) == 1
    assert "ann-key" not in err
    assert not shell.exists("labels.db")


def test_what_cannot_be_served_is_said_in_one_line(shell: Shell) -> None:
    (shell.folder / "tokens.toml").write_text(TOKENS)
    command = ["serve", "--db", "labels.db", "--token-file", "tokens.toml", "--port"]
    with serving(shell) as (url, _):
        port = url.rpartition(":")[2]
        assert f"cannot listen on 127.0.0.1, port {port}: " in shell.run(*command, port, code=3)[1]
    assert "'--port'" in shell.run(*command, "70000", code=2)[1]
    assert "rate_limit: expected a rate" in shell.run(*command, "0", "--rate-limit", "often", code=2)[1]
    assert "there is no directory" in shell.run("serve", "--db", "no/such.db", *command[3:], "0", code=2)[1]
    other = ["serve", "--db", "other.db", "--port", "0"]
    assert "--allow-host a:80: expected the name of a host" in shell.run(*other, "--allow-host", "a:80", code=2)[1]
    assert not shell.exists("other.db")
    assert "cannot listen on nowhere.invalid" in shell.run(*command, "0", "--host", "nowhere.invalid", code=3)[1]


def test_a_missing_extra_is_named_also_here(shell: Shell) -> None:
    (shell.folder / "tokens.toml").write_text(TOKENS)
    for missing in ("uvicorn", "starlette", "limits"):
        code = f"import sys; sys.modules[{missing!r}] = None; from annotation_queue.__main__ import main; main()"
        command = [sys.executable, "-c", code, "serve", "--db", "labels.db", "--token-file", "tokens.toml"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=shell.folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == 'annotation-queue: serve needs an extra: pip install "annotation-queue[cli,web]"\n'


@pytest.mark.slow(seconds=10)
@pytest.mark.unmeasured
def test_sixteen_clients_at_once_make_thousands_of_updates_and_all_are_right(shell: Shell, tmp_path: Path) -> None:
    users = "\n".join(f"[[tokens]]\ntoken = 'key-{n}'\nuser = 'user-{n}'\nprojects = ['p']" for n in range(CLIENTS))
    # Each client has an item for each third of its moves: start it, finish it, and finish it again.
    items = -(-MOVES // 3)
    answers: Counter[int] = Counter()
    counting = threading.Lock()

    def work(address: str, number: int, queue_id: str, item_ids: list[str]) -> None:
        seen: Counter[int] = Counter()
        connection = http.client.HTTPConnection(address, timeout=60)
        key = base64.b64encode(f"api:key-{number}".encode()).decode()
        headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}
        for move in range(MOVES):
            state = "in_progress" if move % 3 == 0 else finish(number, move)
            path = f"/annotation_queues/{queue_id}/items/{item_ids[move // 3]}/progress"
            connection.request("POST", path, json.dumps({"project_id": "p", "annotation_state": state}), headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            seen[answer.status] += 1
            right = answer.status == 200 and body["item"]["annotation_state"] == state
            seen[0] += not (right and body["item"]["annotator_user_id"] == f"user-{number}")
        connection.close()
        with counting:
            answers.update(seen)

    with serving(shell, "--synchronous", "NORMAL", tokens=users) as (url, _):
        with httpx.Client(base_url=url, auth=("", "key-0"), timeout=60) as client:
            queue_id = client.post(
                "/annotation_queues", json={"project_id": "p", "name": "q", "scorer_refs": []}
            ).json()["id"]
            calls: dict[str, Any] = {
                "project_id": "p",
                "call_ids": [f"c-{n}" for n in range(items)],
                "display_fields": [],
            }
            assert client.post(f"/annotation_queues/{queue_id}/items", json=calls).json()["added_count"] == items
            found = client.post(f"/annotation_queues/{queue_id}/items/query", json={"project_id": "p"}).json()["items"]
            item_ids = [each["id"] for each in found]
        address = url.removeprefix("http://")
        threads = [threading.Thread(target=work, args=(address, n, queue_id, item_ids)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == Counter({200: CLIENTS * MOVES, 0: 0})
    with SQLiteRepository(tmp_path / "labels.db") as repository:
        assert repository.check() == ()
        queues = AnnotationQueues(repository, "p")
        for index, item_id in enumerate(item_ids):
            moves = [move for move in range(index * 3, index * 3 + 3) if move < MOVES]
            wanted = {f"user-{n}": finish(n, moves[-1]) if len(moves) > 1 else "in_progress" for n in range(CLIENTS)}
            assert {each.annotator_id: each.state for each in queues.progress(item_id)} == wanted
            assert len(queues.history(item_id)) == CLIENTS * min(len(moves), 2)


def finish(number: int, move: int) -> str:
    """Say how a client finishes the item of a move."""
    return "skipped" if (number + move // 3) % 2 else "completed"


@pytest.mark.slow
def test_whoever_guesses_tokens_has_to_wait_and_nothing_is_looked_up_meanwhile(shell: Shell) -> None:
    with serving(shell) as (url, _process):
        guesses = [httpx.post(f"{url}/annotation_queues/query", json=PROJECT, auth=("ann", f"{n}")) for n in range(40)]
        assert Counter(each.status_code for each in guesses) == {401: 30, 429: 10}
        assert 1 <= int(guesses[-1].headers["retry-after"]) <= 60
        # From that address not even the right token is looked at before the time is over.
        assert httpx.post(f"{url}/annotation_queues/query", json=PROJECT, auth=("ann", "ann-key")).status_code == 429


@contextmanager
def idle(url: str, times: int, sends: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections that never finish their first request."""
    address = httpx.URL(url)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection((address.host, address.port or 80), timeout=30))
            for _ in range(times)
        ]
        for each in opened:
            each.sendall(sends)
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("sends", [b"", b"POST /annotation_queues/query HTTP/1.1\r\nHost: x\r\n"])
def test_connections_that_ask_nothing_make_room_for_those_that_ask(shell: Shell, sends: bytes) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, limits[1]))  # that of the server, which inherits it
    try:
        process_of = serving(shell)
        url, _ = process_of.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    try:
        with idle(url, 300, sends):
            answered = httpx.post(f"{url}/annotation_queues/query", json=PROJECT, auth=("ann", "ann-key"), timeout=20)
            assert answered.status_code == 200
    finally:
        process_of.__exit__(None, None, None)


def test_a_connection_without_a_request_is_closed_after_its_time() -> None:
    async def answer(_scope: object, _receive: object, send: Any) -> None:  # noqa: ANN401 - of ASGI
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    listener = socket.create_server(("127.0.0.1", 0))
    http_class = connections_of(10, patience=0.05)
    config = uvicorn.Config(answer, lifespan="off", ws="none", log_level="warning", http=http_class)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with idle(url, 3, b"GET / HTT") as opened:
            assert [each.recv(1) for each in opened] == [b""] * 3
        assert httpx.get(url).text == "ok"
    finally:
        server.should_exit = True
        thread.join(30)
