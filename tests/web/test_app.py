"""The app as a server: what it answers when something breaks, where it can be mounted, and where its work runs."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from annotation_queue import (
    AnnotationQueues,
    Conflict,
    InvalidValue,
    MemoryRepository,
    NewItem,
    OutcomeUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageFull,
)
from annotation_queue.web import Principal, create_app
from annotation_queue.web.answers import _list
from helpers.servers import NO_TLS, PROJECT, authenticate, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue.web import Credentials

INSIDE = "/home/ann/labels.db: INSERT INTO items VALUES"
QUEUE = {"project_id": PROJECT, "name": "q", "scorer_refs": []}


class Breaking(MemoryRepository):
    """A repository that raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_queue(self, *_arguments: object) -> Any:  # noqa: ANN401 - never returns
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (StorageBusy(INSIDE), 503, "1"),
        (OutcomeUnknown(INSIDE), 503, "1"),
        (Conflict(INSIDE), 503, "1"),
        (StorageFull(INSIDE), 503, "1"),
        (StorageCorrupt(INSIDE), 500, None),
        (RuntimeError(INSIDE), 500, None),
        (KeyError(INSIDE), 500, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_breaks_inside_is_logged_and_not_told(
    connect: Callable[..., httpx.Client],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    retry: str | None,
) -> None:
    with Breaking(error) as repository, caplog.at_level(logging.ERROR, "annotation_queue.web"):
        answer = connect(repository=repository).get("/annotation_queues/q", params={"project_id": PROJECT})
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == retry
    assert list(answer.json()) == ["reason"]
    for hidden in ("labels.db", "INSERT", "Traceback", ".py", type(error).__name__):
        assert hidden not in answer.text + str(answer.headers)
    assert [(each.name, each.message) for each in caplog.records] == [
        ("annotation_queue.web", "GET /annotation_queues/{queue_id} failed")
    ]
    assert INSIDE in caplog.text


@pytest.mark.parametrize("broken", ["authenticate", "authorize", "resolve_calls"])
def test_what_breaks_in_the_backend_is_logged_and_not_told(
    connect: Callable[..., httpx.Client], caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*_arguments: object) -> Any:  # noqa: ANN401 - never returns
        raise RuntimeError(INSIDE)

    with MemoryRepository() as repository:
        queue = AnnotationQueues(repository, PROJECT).create("q", created_by="ann")
        client = connect(repository=repository, **{broken: fail})
        body = {"project_id": PROJECT, "call_ids": ["c"], "display_fields": []}
        answer = client.post(f"/annotation_queues/{queue.id}/items", json=body)
    assert (answer.status_code, answer.json()) == (500, {"reason": "the server failed"})
    assert INSIDE in caplog.text


def test_all_work_runs_in_worker_threads(serve: Callable[..., str], connect: Callable[..., httpx.Client]) -> None:
    # The event loop must stay free: while one request waits in each of the backend's functions, others are answered.
    waiting, go_on = threading.Event(), threading.Event()

    def wait(name: str) -> None:
        names.append(threading.current_thread().name)
        if name == stuck:
            waiting.set()
            assert go_on.wait(30)

    def known(credentials: Credentials) -> Principal | None:
        wait("authenticate")
        return authenticate(credentials)

    def allowed(_principal: Principal, _project_id: str, _action: str) -> bool:
        wait("authorize")
        return True

    def found(_project_id: str, call_ids: Sequence[str]) -> Iterator[NewItem]:
        wait("resolve_calls")
        return (NewItem(call_id=each) for each in call_ids)

    names: list[str] = []
    stuck = ""
    url = serve(authenticate=known, authorize=allowed, resolve_calls=found)
    ann, bob = connect("ann-key", url), connect("bob-key", url)
    queue_id = ann.post("/annotation_queues", json=QUEUE).json()["id"]
    for n, name in enumerate(["authenticate", "authorize", "resolve_calls"]):
        waiting.clear()
        go_on.clear()
        stuck = name
        body = {"project_id": PROJECT, "call_ids": [str(n)], "display_fields": []}
        adding = threading.Thread(
            target=ann.post, args=(f"/annotation_queues/{queue_id}/items",), kwargs={"json": body}
        )
        adding.start()
        assert waiting.wait(30)
        stuck = ""
        assert bob.post("/annotation_queues/query", json={"project_id": PROJECT}).status_code == 200
        go_on.set()
        adding.join()
    assert (
        len(bob.post(f"/annotation_queues/{queue_id}/items/query", json={"project_id": PROJECT}).json()["items"]) == 3
    )
    assert {each.partition(" ")[0] for each in names} == {"AnyIO"}


def test_a_stream_that_breaks_half_way_ends_without_its_end(connect: Callable[..., httpx.Client]) -> None:
    class Closing(MemoryRepository):
        """Fails at the third page."""

        pages = 0

        def query_queues(self, *arguments: Any) -> Any:  # noqa: ANN401 - those of the repository
            self.pages += 1
            if self.pages == 3:
                raise StorageBusy(INSIDE)
            return super().query_queues(*arguments)

    with Closing() as repository:
        queues = AnnotationQueues(repository, PROJECT)
        for n in range(9):
            queues.create(str(n), created_by="ann")
        client = connect(repository=repository, max_limit=3)
        lines: list[str] = []
        with (
            pytest.raises(httpx.RemoteProtocolError),
            client.stream("POST", "/annotation_queues/query", json={"project_id": PROJECT}) as answer,
        ):
            lines.extend(answer.iter_lines())
        assert len(lines) <= 6
        assert "labels.db" not in str(lines)


def test_the_first_queues_arrive_before_the_last_are_read(connect: Callable[..., httpx.Client]) -> None:
    arrived = threading.Event()

    class Waiting(MemoryRepository):
        """Reads the third page once the first two have arrived."""

        pages = 0

        def query_queues(self, *arguments: Any) -> Any:  # noqa: ANN401 - those of the repository
            self.pages += 1
            assert self.pages < 3 or arrived.wait(30)
            return super().query_queues(*arguments)

    with Waiting() as repository:
        queues = AnnotationQueues(repository, PROJECT)
        made = [queues.create(str(n), created_by="ann").id for n in range(9)]
        client = connect(repository=repository, max_limit=3)
        read: list[str] = []
        with client.stream("POST", "/annotation_queues/query", json={"project_id": PROJECT}) as answer:
            for line in answer.iter_lines():
                read.append(json.loads(line)["id"])
                if len(read) == 6:
                    arrived.set()
        assert read == made[::-1]


def test_a_stream_is_a_line_of_json_for_each_queue(client: httpx.Client) -> None:
    for name in ("a\nb", "c\u2028d", "é"):
        client.post("/annotation_queues", json=QUEUE | {"name": name})
    answer = client.post("/annotation_queues/query", json={"project_id": PROJECT})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content.endswith(b"}\n")
    read = [json.loads(line) for line in answer.content.split(b"\n")[:-1]]
    assert [each["name"] for each in read] == ["é", "c\u2028d", "a\nb"]
    nothing = client.post("/annotation_queues/query", json={"project_id": PROJECT, "name": "nope"})
    assert (nothing.status_code, nothing.content) == (200, b"")


def test_without_a_limit_every_item_is_answered_page_after_page(connect: Callable[..., httpx.Client]) -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, PROJECT)
        queue = queues.create("q", created_by="ann")
        queues.add_items(queue.id, (NewItem(call_id=str(n)) for n in range(1_500)), added_by="ann")
        path = f"/annotation_queues/{queue.id}/items/query"
        for options in ({}, {"max_limit": 7}):
            client = connect(repository=repository, **options)
            for limit in ({}, {"limit": None}):
                answer = client.post(path, json={"project_id": PROJECT} | limit)
                assert answer.headers["content-type"] == "application/json"
                assert [each["call_id"] for each in answer.json()["items"]] == [str(n) for n in range(1_500)]
        asked = {"project_id": PROJECT, "limit": 1_400}
        assert len(connect(repository=repository).post(path, json=asked).json()["items"]) == 1_400
        assert client.post(path, json=asked).status_code == 422
        assert client.post(path, json=asked | {"limit": 0}).json() == {"items": []}


def test_items_that_are_removed_between_two_pages_leave_no_gap_in_the_answer() -> None:
    cases: list[list[list[str]]] = [[["a"], [], ["b"]], [["a"], []], [[], []], [[]], [["a", "b"], ["c"]]]
    for pages in cases:
        assert json.loads(b"".join(_list(pages))) == {"items": [each for page in pages for each in page]}


def test_unknown_fields_are_refused_if_they_are_published_so_or_ignored_if_the_backend_is_not_strict(
    connect: Callable[..., httpx.Client],
) -> None:
    newer = QUEUE | {"colour": "red"}
    with MemoryRepository() as repository:
        queue = AnnotationQueues(repository, PROJECT).create("q", created_by="ann")
        path = f"/annotation_queues/{queue.id}/items/query"
        strict, lenient = connect(repository=repository), connect(repository=repository, strict=False)
        for conditions in ({"colour": "red", "call_id": None}, {}):
            asked = {"filter": conditions, "project_id": PROJECT}
            assert strict.post(path, json=asked).json() == {"items": []}
        fault = {"loc": ["body", "colour"], "msg": "there is no such field", "type": "extra_forbidden"}
        assert strict.post("/annotation_queues", json=newer).json() == {"detail": [fault]}
        assert lenient.post("/annotation_queues", json=newer).status_code == 200
        sort = {"sort_by": [{"field": "id", "direction": "asc", "colour": "red"}], "project_id": PROJECT}
        assert (strict.post(path, json=sort).status_code, lenient.post(path, json=sort).status_code) == (422, 200)
        assert lenient.post(path, json=sort | {"limit": "1"}).status_code == 422
        described = lenient.get("/openapi.json").json()["components"]["schemas"]
        assert [name for name, schema in described.items() if schema.get("additionalProperties") is False] == [
            each for each in described if each.startswith("V1") and described[each].get("additionalProperties") is False
        ]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("labels.example.com", 200),
        ("LABELS.example.com:8000", 200),
        ("a.example.org", 200),
        ("[::1]:8000", 200),
        ("example.org", 400),
        ("evil-example.org", 400),
        ("labels.example.com.evil.org", 400),
        ("127.0.0.1", 400),
        ("labels.example.com:80:80", 400),
    ],
)
def test_a_request_under_a_name_that_is_not_the_apps_is_refused(
    connect: Callable[..., httpx.Client], host: str, status: int
) -> None:
    client = connect(hosts=["Labels.example.com", "*.example.org", "[::1]"])
    answer = client.post("/annotation_queues", json=QUEUE, headers={"Host": host})
    assert answer.status_code == status
    assert client.get("/openapi.json", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("hosts", ["labels.example.com", ["http://a"], ["a:80"], [""], [7], ["*"]])
def test_hosts_that_are_no_names_are_refused(hosts: Any) -> None:  # noqa: ANN401 - nothing that fits
    with MemoryRepository() as repository, pytest.raises(InvalidValue, match="hosts"):
        create_app(repository, authenticate=authenticate, hosts=hosts)


@pytest.mark.parametrize("parent", ["starlette", "starlette, twice", "fastapi"])
def test_the_app_works_below_any_prefix(parent: str) -> None:
    with MemoryRepository() as repository:
        app = create_app(repository, authenticate=authenticate)
        if parent == "fastapi":
            outer: Any = FastAPI()
            outer.mount("/api/v2", app)
            prefix = "/api/v2"
        else:
            outer = Starlette(debug=True, routes=[Mount("/queues", app)])
            prefix = "/queues"
        if parent == "starlette, twice":
            outer, prefix = Starlette(routes=[Mount("/deep", outer)]), "/deep/queues"
        with (
            serving(outer) as url,
            httpx.Client(verify=NO_TLS, base_url=f"{url}{prefix}", auth=("api", "ann-key")) as client,
        ):
            queue_id = client.post("/annotation_queues", json=QUEUE).json()["id"]
            read = client.get(f"/annotation_queues/{queue_id}", params={"project_id": PROJECT})
            assert read.json()["queue"]["id"] == queue_id
            assert client.get("/openapi.json").json()["servers"] == [{"url": prefix}]
            assert client.get("/annotation_queues/a%2Fb", params={"project_id": PROJECT}).json() == {
                "reason": "there is no such path"
            }
            assert httpx.get(f"{url}/annotation_queues/{queue_id}").status_code == 404


def test_the_repository_stays_open_and_the_app_keeps_nothing(serve: Callable[..., str]) -> None:
    with MemoryRepository() as repository:
        for _ in range(2):
            url = serve(repository=repository)
            assert httpx.post(f"{url}/annotation_queues", json=QUEUE, auth=("api", "ann-key")).status_code == 200
        assert len(AnnotationQueues(repository, PROJECT).query().queues) == 2


def test_a_user_that_a_body_names_is_never_the_annotator(client: httpx.Client) -> None:
    queue_id = client.post("/annotation_queues", json=QUEUE | {"wb_user_id": "mallory"}).json()["id"]
    read = client.get(f"/annotation_queues/{queue_id}", params={"project_id": PROJECT})
    assert read.json()["queue"]["created_by"] == "ann"
    for name in ("wb_user_id", "annotator_id", "annotator_user_id"):
        body = {"project_id": PROJECT, "annotation_state": "completed", name: "mallory"}
        assert client.post(f"/annotation_queues/{queue_id}/items/i/progress", json=body).status_code == 422
        body = {"item_id": "i", "state": "completed", name: "mallory"}
        assert client.patch("/api/v1/annotations/queues/items", json=body).json() == {
            "reason": "no item 'i' in this project or queue"
        }
