"""Requests that nobody sends by mistake: each is answered with the fault that it has, and the server goes on."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from annotation_queue import AnnotationQueues, MemoryRepository, NewItem
from helpers.servers import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

MIB = 1 << 20
QUERY = "/annotation_queues/query"
AUTH = b"Authorization: Bearer ann-key"
JSON = b"Content-Type: application/json"
# Method and path of each operation with a body, and a body that fits.
FITTING: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/annotation_queues"): {"project_id": PROJECT, "name": "q", "scorer_refs": []},
    ("POST", "/annotation_queues/query"): {"project_id": PROJECT},
    ("POST", "/annotation_queues/stats"): {"project_id": PROJECT, "queue_ids": []},
    ("PUT", "/annotation_queues/q"): {"project_id": PROJECT},
    ("POST", "/annotation_queues/q/items"): {"project_id": PROJECT, "call_ids": [], "display_fields": []},
    ("POST", "/annotation_queues/q/items/query"): {"project_id": PROJECT},
    ("POST", "/annotation_queues/q/items/i/progress"): {"project_id": PROJECT, "annotation_state": "skipped"},
    ("PATCH", "/api/v1/annotations/queues/items"): {"item_id": "i", "state": "pending"},
}
DEEP = 100_000
BODIES = {
    "nothing": b"",
    "no JSON": b"project_id=acme/chatbot",
    "half of it": b'{"project_id": "acme',
    "two of them": b"{}{}",
    "no UTF-8": b'{"project_id": "\xff"}',
    "UTF-16": '{"project_id": "acme/chatbot"}'.encode("utf-16"),
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "deep in a field": b'{"project_id": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge integer": b'{"project_id": "acme/chatbot", "limit": ' + b"9" * 1_000_000 + b"}",
    "a huge exponent": b'{"project_id": "acme/chatbot", "limit": 1e999999999}',
    "not a number": b'{"project_id": "acme/chatbot", "limit": NaN}',
    "NUL": b'{"project_id": "a\\u0000b"}',
    "raw NUL": b'{"project_id": "a\x00b"}',
    "half a surrogate": b'{"project_id": "\\ud800"}',
    "many keys": json.dumps({f"k{n}": n for n in range(50_000)}).encode(),
    "many wrong values": b'{"project_id": "acme/chatbot", "call_ids": [' + b"1," * 500_000 + b"1]}",
    "a key again and again": b'{"project_id": "x", ' + b'"a": 1, ' * 100_000 + b'"a": 2}',
    "a list": b"[]",
    "text": b'"{}"',
    "null": b"null",
}


@pytest.fixture
def send(shared_url: str) -> Iterator[Callable[..., tuple[int, bytes]]]:
    """Send bytes to an app; give the status and the body of what it answers. It must still answer others afterwards."""
    address = urlsplit(shared_url)

    def exchange(*parts: bytes) -> tuple[int, bytes]:
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(b"".join(parts))
            received = b""
            while chunk := connection.recv(MIB):
                received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        for hidden in (b"Traceback", b".py", b"site-packages"):
            assert hidden not in received
        return int(head.split()[1]), body

    yield exchange
    assert exchange(*request("POST", QUERY, b'{"project_id": "acme/chatbot"}'))[0] == 200


def request(
    method: str, path: str, body: bytes = b"", *, headers: tuple[bytes, ...] = (AUTH, JSON)
) -> tuple[bytes, ...]:
    """Write a request; headers without a length get the right one."""
    lengths = (b"content-length:", b"transfer-encoding:")
    if not any(header.lower().startswith(lengths) for header in headers):
        headers = (*headers, b"Content-Length: %d" % len(body))
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n", body


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_a_fault_of_the_request(send: Callable[..., tuple[int, bytes]], body: bytes) -> None:
    for method, path in FITTING:
        status, answer = send(*request(method, path, body))
        assert status == (400 if method == "PATCH" else 422)
        assert set(json.loads(answer)) == {"detail"}
        assert len(answer) < 30_000


def wrong_everywhere(fitting: Any, *, is_open: bool) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """Put a value of each wrong kind in each place of a body, and in a place that it does not have unless that is open."""
    values: list[Any] = [None, True, 7, -1, 1.5, 1e308, 2**64, [], {}, [[]], "\0", "\ud800"]
    for name in fitting:
        for value in values:
            if type(value) is not type(fitting[name]) or isinstance(value, str):
                yield fitting | {name: value}
            yield fitting | {name: [value]} if isinstance(fitting[name], list) else fitting | {name: {"x": value}}
    for name in () if is_open else ("", "project", "__class__", "\0", "\ud800", "a" * 10_000):
        yield fitting | {name: 1}


def test_wrong_values_at_every_place_are_faults_of_the_request(
    connect: Callable[..., httpx.Client], shared_url: str
) -> None:
    client = connect(url=shared_url)
    for (method, path), fitting in FITTING.items():
        for body in wrong_everywhere(fitting, is_open=method == "PATCH"):
            answer = client.request(
                method, path, content=json.dumps(body), headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == (400 if method == "PATCH" else 422), (path, body)
            assert all(len(str(each)) < 1_000 for each in answer.json()["detail"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((JSON,), 401),
        ((AUTH,), 415),
        ((AUTH, AUTH, JSON), 401),
        ((AUTH, JSON, JSON), 415),
        ((AUTH, b"Content-Type: text/plain"), 415),
        ((AUTH, b"Content-Type: multipart/form-data; boundary=x"), 415),
        ((AUTH, b"Content-Type: application/jsonp"), 415),
        ((AUTH, b"Content-Type: "), 415),
        ((AUTH, JSON, b"Content-Length: 2", b"Content-Length: 3"), 400),
        ((AUTH, JSON, b"Content-Length: -1"), 400),
        ((AUTH, JSON, b"Content-Length: two"), 400),
        ((AUTH, JSON, b"Content-Length: 2", b"Transfer-Encoding: chunked"), 400),
        ((AUTH, JSON, b"Transfer-Encoding: magic"), 400),
        ((AUTH, JSON, b"Content-Length: 99999999999999999999"), 413),
        ((AUTH, JSON, b"Host: elsewhere"), 400),
        ((b"Authorization: Bearer \xff\xfe", JSON), 401),
        ((b"Authorization: Basic " + b"A" * 50_000, JSON), 401),
        ((AUTH, JSON, b"No colon"), 400),
    ],
)
def test_missing_doubled_and_broken_headers(
    send: Callable[..., tuple[int, bytes]], headers: tuple[bytes, ...], status: int
) -> None:
    body = b'{"project_id": "acme/chatbot"}'
    if b"Transfer-Encoding: chunked" in headers:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert send(*request("POST", QUERY, body, headers=headers))[0] == status


def test_json_may_be_said_in_more_than_one_way(send: Callable[..., tuple[int, bytes]]) -> None:
    for kind in (b"application/json; charset=utf-8", b"Application/JSON", b"application/vnd.weave+json"):
        body = b'{"project_id": "acme/chatbot"}'
        assert send(*request("POST", QUERY, body, headers=(AUTH, b"Content-Type: " + kind)))[0] == 200


def test_a_body_may_have_a_mebibyte_and_not_a_byte_more(send: Callable[..., tuple[int, bytes]]) -> None:
    fitting = json.dumps({"project_id": PROJECT}).encode()
    chunked = (AUTH, JSON, b"Transfer-Encoding: chunked")
    for size, status in ((MIB, 200), (MIB + 1, 413), (4 * MIB, 413)):
        body = fitting.ljust(size)
        assert send(*request("POST", QUERY, body))[0] == status
        halves = [body[: size // 2], body[size // 2 :]]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
        assert send(*request("POST", QUERY, chunks, headers=chunked))[0] == status


def test_a_body_that_is_announced_as_far_too_long_is_not_waited_for(send: Callable[..., tuple[int, bytes]]) -> None:
    announced = (AUTH, JSON, b"Content-Length: 100000000")
    status, body = send(*request("POST", QUERY, b"{}", headers=announced))
    assert (status, json.loads(body)) == (413, {"reason": "the body must have at most 1048576 bytes"})


def test_a_body_that_ends_early_does_no_harm(send: Callable[..., tuple[int, bytes]], shared_url: str) -> None:
    head, _ = request("POST", "/annotation_queues", headers=(AUTH, JSON, b"Content-Length: 1000"))
    address = urlsplit(shared_url)
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(head + b'{"project_id":')
    assert send(*request("POST", QUERY, b'{"project_id": "acme/chatbot"}'))[0] == 200


def test_a_body_that_never_ends_is_answered_and_cut_off(serve: Callable[..., str]) -> None:
    address = urlsplit(serve())
    head, _ = request("POST", QUERY, headers=(AUTH, JSON, b"Transfer-Encoding: chunked"))
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    received, sent = b"", 0
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head)
        try:
            while sent < 100 * MIB:
                connection.sendall(chunk)
                sent += len(chunk)
        except (ConnectionResetError, BrokenPipeError):
            pass
        try:
            received = connection.recv(MIB)
        except ConnectionResetError:
            received = b""  # the answer was sent, and lost with what we still sent
    assert sent < 50 * MIB
    assert not received or received.split()[1] == b"413"


@pytest.mark.parametrize(
    "path",
    [
        "/annotation_queues/a%2Fb",
        "/annotation_queues/%2e%2e%2fetc%2fpasswd",
        "/annotation_queues/q%2Fitems%2Fquery",
        "/annotation_queues%2Fquery",
        "/annotation_queues/%2F",
        "/annotation_queues/",
        "/annotation_queues/q/",
        "//annotation_queues/q",
        "/annotation_queues//items/query",
        "/annotation_queues/%00",
        "/annotation_queues/%ff",
        "/annotation_queues/%ED%A0%80",
        "/annotation_queues/%",
        "/annotation_queues/q%00/items/query",
        "/annotation_queues/../openapi.json",
        "/annotation_queues/' OR 1=1 --".replace(" ", "%20"),
        "/annotation_queues/" + "q" * 10_000,
        "/annotation_queues/q/items/i%2Fprogress",
        "/nope",
        "/",
    ],
    ids=lambda path: path[:40],
)
def test_a_path_that_leads_nowhere_is_not_found_or_has_no_such_method(
    send: Callable[..., tuple[int, bytes]], path: str
) -> None:
    for method, body in (("GET", b""), ("POST", b'{"project_id": "acme/chatbot"}')):
        status, answer = send(*request(method, f"{path}?project_id=acme/chatbot", body))
        assert status in (404, 405)
        assert set(json.loads(answer)) == {"reason"}
        assert b"\\u0000" not in answer


def test_an_encoded_slash_never_leads_to_another_operation(connect: Callable[..., httpx.Client]) -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, PROJECT)
        queue = queues.create("q", created_by="ann")
        (item,) = queues.add_items(queue.id, [NewItem(call_id="c")], added_by="ann").added
        client = connect(repository=repository)
        moving = {"project_id": PROJECT, "annotation_state": "completed"}
        for path in (f"{queue.id}%2Fitems%2F{item.id}%2Fprogress", f"{queue.id}/items/{item.id}%2fprogress"):
            assert client.post(f"/annotation_queues/{path}", json=moving).status_code == 404
        assert queues.progress(item.id) == ()
        assert client.post(f"/annotation_queues/{queue.id}/items/{item.id}/progress", json=moving).status_code == 200


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("", ["query", "project_id"]),
        ("?project_id=", ["query", "project_id"]),
        ("?project_id", ["query", "project_id"]),
        ("?project_id=%00", ["query", "project_id"]),
        ("?project_id=a&project_id=b", ["query", "project_id"]),
        ("?Project_id=a", ["query", "project_id"]),
    ],
)
def test_a_query_string_that_does_not_fit(
    connect: Callable[..., httpx.Client], shared_url: str, query: str, place: list[str]
) -> None:
    client = connect(url=shared_url)
    for method in ("GET", "DELETE"):
        answer = client.request(method, f"/annotation_queues/q{query}")
        assert (answer.status_code, [each["loc"] for each in answer.json()["detail"]]) == (422, [place])


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PROPFIND", "POSTT"])
def test_methods_that_there_are_not_are_named_with_those_that_there_are(
    connect: Callable[..., httpx.Client], shared_url: str, method: str
) -> None:
    answer = connect(url=shared_url).request(method, "/annotation_queues/q")
    assert (answer.status_code, answer.json()) == (405, {"reason": "this path has no such method"})
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
