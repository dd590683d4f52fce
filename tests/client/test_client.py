"""The client of another machine: the methods and signatures of the service, its errors, and what a connection can do."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    ClaimLost,
    Conflict,
    InvalidCursor,
    InvalidLabel,
    InvalidQuery,
    InvalidTransition,
    InvalidValue,
    ItemFilter,
    ItemNotFound,
    ItemPatch,
    ItemQuery,
    LabelQuery,
    MemoryRepository,
    NewItem,
    OutcomeUnknown,
    QueueNotFound,
    SQLiteRepository,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    Unavailable,
)
from annotation_queue.client import AsyncRemoteQueues, RemoteQueues, RequestRefused
from annotation_queue.web import create_app
from annotation_queue.wire.v1.errors import KINDS, read_error, write_error
from helpers.servers import NO_TLS, OTHER, PROJECT, authenticate, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHODS = {
    name: method
    for name, method in inspect.getmembers(AnnotationQueues, inspect.isfunction)
    # It is about a repository, and there is none here.
    if not name.startswith("_") and name != "using"
}


@pytest.fixture
def repository() -> Iterator[MemoryRepository]:
    with MemoryRepository() as made:
        yield made


@pytest.fixture
def url(repository: MemoryRepository) -> Iterator[str]:
    with serving(create_app(repository, authenticate=authenticate)) as made:
        yield made


@pytest.fixture
def ann(url: str) -> Iterator[RemoteQueues]:
    with RemoteQueues(url, PROJECT, token="ann-key") as made:
        yield made


@pytest.mark.parametrize("name", METHODS)
def test_the_clients_have_the_methods_of_the_service_with_its_signatures(name: str) -> None:
    wanted = inspect.signature(METHODS[name])
    assert inspect.signature(getattr(RemoteQueues, name)) == wanted
    own = inspect.signature(getattr(AsyncRemoteQueues, name))
    assert own.parameters == wanted.parameters
    assert getattr(AsyncRemoteQueues, name).__doc__


def test_the_clients_have_no_method_that_the_service_has_not() -> None:
    beside = {"close", "aclose"}
    for kind in (RemoteQueues, AsyncRemoteQueues):
        public = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        assert public - beside == set(METHODS)


def test_a_worker_labels_a_queue_from_another_machine(ann: RemoteQueues, repository: MemoryRepository) -> None:
    queue = ann.create("Reviews", created_by="ann", label_schema={"type": "integer"})
    new = [NewItem(call_id=str(n), payload={"text": "é\u2028" * n}, priority=n) for n in range(5)]
    assert [each.call_id for each in ann.add_items(queue.id, iter(new), added_by="ann").added] == list("01234")
    while claim := ann.claim(queue.id, "ann"):
        claim = ann.save_draft(claim, "a draft")
        assert ann.claim(queue.id, "ann", resume=True) == ann.holds(queue.id, "ann")[0]
        assert ann.complete(claim, len(str(claim.item.payload))).annotation_state is AnnotationState.COMPLETED
    assert isinstance(claim, Unavailable)
    assert claim.reason == "finished"
    local = AnnotationQueues(repository, PROJECT)
    assert tuple(ann.iter_labels(queue.id)) == tuple(local.iter_labels(queue.id))
    assert ann.stats([queue.id]) == local.stats([queue.id])
    assert ann.changes(queue.id) == local.changes(queue.id)
    assert ann.throughput(queue.id).settled == 5


def test_a_listing_of_many_pages_is_whole_and_a_walk_holds_one_of_them(
    ann: RemoteQueues, repository: MemoryRepository
) -> None:
    local = AnnotationQueues(repository, PROJECT)
    queue = local.create("q", created_by="ann")
    local.add_items(queue.id, (NewItem(call_id=str(n)) for n in range(2_300)), added_by="ann")
    query = ItemQuery(include_position=True, include_total=True, offset=3)
    assert ann.query_items(queue.id, query) == local.query_items(queue.id, query)
    part = ItemQuery(limit=1_100)
    page = ann.query_items(queue.id, part)
    assert page == local.query_items(queue.id, part)
    rest = ItemQuery(limit=None, cursor=page.next_cursor)
    assert ann.query_items(queue.id, rest) == local.query_items(queue.id, rest)
    assert list(ann.iter_items(queue.id, ItemQuery(limit=1_200))) == list(
        local.iter_items(queue.id, ItemQuery(limit=1_200))
    )


def test_coroutines_ask_the_same(url: str, repository: MemoryRepository) -> None:
    async def work() -> list[Any]:
        async with AsyncRemoteQueues(url, PROJECT, token="ann-key") as queues:
            queue = await queues.create("q", created_by="ann")
            await queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(700)], added_by="ann")
            claims = await asyncio.gather(*(queues.claim(queue.id, "ann") for _ in range(8)))
            assert len({each.item.id for each in claims if each}) == 8
            await asyncio.gather(*(queues.complete(each, {"n": 1}) for each in claims if each))
            with pytest.raises(QueueNotFound):
                await queues.get("nope")
            labels = [each async for each in queues.iter_labels(queue.id, LabelQuery(limit=5))]
            assert len(labels) == 5
            return [each async for each in queues.iter_items(queue.id)]

    found = asyncio.run(work())
    local = AnnotationQueues(repository, PROJECT)
    assert found == list(local.iter_items(found[0].queue_id))


def test_every_error_comes_back_as_the_same_class_with_the_same_data() -> None:
    made = {
        "field": "name",
        "kind": "int 7",
        "expected": "text",
        "from_state": "completed",
        "to_state": "skipped",
        "workflow": "standard",
        "queue_id": "q",
        "item_id": "i",
        "annotator_id": "é",
        "token": 3,
        "what": "/home/ann/labels.db: INSERT",
        "found": 2,
        "supported": 1,
    }
    for kind in KINDS.values():
        names = [each for each in inspect.signature(kind.__init__).parameters if each in made]
        error = kind(**{name: made[name] for name in names})
        again = read_error(json.loads(json.dumps(write_error(error))))
        assert type(again) is kind
        told = {name: getattr(again, name) for name in names}
        if isinstance(error, OSError):  # of the storage: nothing of it is told
            assert "labels.db" not in str(write_error(error))
        else:
            assert told == {name: made[name] for name in names}
            assert str(again) == str(error)


def test_errors_of_the_service_are_raised_as_it_raises_them(ann: RemoteQueues) -> None:
    queue = ann.create("q", created_by="ann", label_schema={"type": "integer"})
    (item,) = ann.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    claim = ann.claim(queue.id, "ann")
    assert claim
    with pytest.raises(InvalidLabel) as unfit:
        ann.complete(claim, "text")
    assert unfit.value.field.startswith("annotation")
    ann.complete(claim, 1)
    with pytest.raises(ClaimLost) as lost:
        ann.release(claim)
    assert (lost.value.item_id, lost.value.annotator_id, lost.value.token) == (item.id, "ann", claim.token)
    with pytest.raises(InvalidTransition, match="standard workflow has no move from completed to skipped"):
        ann.update_progress(item.id, "ann", AnnotationState.SKIPPED)
    with pytest.raises(ItemNotFound):
        ann.get_item("nope")
    with pytest.raises(InvalidCursor):
        ann.query_items(queue.id, ItemQuery(cursor="nope"))
    with pytest.raises(InvalidQuery):
        ann.query_items(queue.id, 7)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        ann.create("other", created_by="ann", queue_id=queue.id)
    with pytest.raises(InvalidValue, match="items: expected at most 16,777,216 bytes in one call"):
        ann.add_items(
            queue.id, [NewItem(call_id=str(n), payload={"x": "y" * 1_000_000}) for n in range(17)], added_by="ann"
        )


@pytest.mark.parametrize("queue_id", ["a/b", "..", ".", "a b?c#d", "é%2F", "query", "\\", "a//b", "/", "a\nb", " "])
def test_any_id_is_found_by_itself(ann: RemoteQueues, queue_id: str) -> None:
    made = ann.create("q", created_by="ann", queue_id=queue_id)
    assert ann.get(queue_id) == made
    ann.add_items(queue_id, [NewItem(call_id="a")], added_by="ann")
    assert len(ann.query_items(queue_id).items) == 1
    assert ann.delete(queue_id).deleted_at is not None


def test_nobody_asks_in_anothers_name(ann: RemoteQueues, url: str, repository: MemoryRepository) -> None:
    queue = ann.create("q", created_by="ann")
    items = ann.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(2)], added_by="ann").added
    with RemoteQueues(url, PROJECT, token="bob-key") as bob, RemoteQueues(url, PROJECT, token="carl-key") as carl:
        claim = bob.claim(queue.id, "bob")
        assert claim
        for ask in (
            lambda: ann.claim(queue.id, "bob"),
            lambda: ann.complete(claim, 1),
            lambda: ann.complete_batch([(claim, 1)]),
            lambda: ann.heartbeat_batch([claim.ref]),
            lambda: ann.create("q", created_by="bob"),
            lambda: ann.add_items(queue.id, [], added_by="bob"),
            lambda: ann.reset(queue.id, [items[0].id], actor_id="bob"),
            lambda: ann.update_progress(items[0].id, "ann", AnnotationState.SKIPPED, actor_id="bob"),
            lambda: carl.get(queue.id),
        ):
            with pytest.raises(RequestRefused) as refused:
                ask()
            assert refused.value.status == 403
        with pytest.raises(RequestRefused, match="401"), RemoteQueues(url, PROJECT, token="nobody's") as nobody:
            nobody.get(queue.id)
        with pytest.raises(QueueNotFound), RemoteQueues(url, OTHER, token="bob-key") as elsewhere:
            elsewhere.get(queue.id)
    # Who acts on what another did is in the history.
    ann.update_progress(items[1].id, "bob", AnnotationState.COMPLETED, annotation=1)
    ann.update_progress(items[1].id, "bob", AnnotationState.UNSTARTED, actor_id="ann", override=True)
    local = AnnotationQueues(repository, PROJECT)
    assert [(each.annotator_id, each.actor_id) for each in local.history(items[1].id)] == [("bob", "ann")] * 2


def test_a_key_makes_a_repeated_request_the_same(url: str, repository: MemoryRepository) -> None:
    headers = {"Authorization": "Bearer ann-key", "Idempotency-Key": "k-1"}
    asked: dict[str, Any] = {"params": {"project_id": PROJECT}, "headers": headers}
    with httpx.Client(verify=NO_TLS, base_url=url) as http:
        first, again = (http.post("/v1/queues", json={"name": "q"}, **asked).json() for _ in range(2))
        assert first == again
        assert http.post("/v1/queues", json={"name": "other"}, **asked).json()["error"] == "conflict"
        path = f"/v1/queues/{first['id']}/items"
        items = {"items": [{"call_id": str(n)} for n in range(3)] + [{"call_id": "0"}]}
        added = http.post(path, json=items, **asked).json()
        assert [each["call_id"] for each in added["added"]] == ["0", "1", "2"]
        assert added["duplicates"] == 1
        assert http.post(path, json=items, **asked).json() == added
        without = http.post(
            path, json=items, params=asked["params"], headers={"Authorization": "Bearer ann-key"}
        ).json()
        assert without == {"added": [], "duplicates": 4}
        others = asked | {"headers": headers | {"Authorization": "Bearer bob-key"}}
        assert http.post("/v1/queues", json={"name": "q"}, **others).json()["id"] != first["id"]
        for key in ("", "é".encode(), "x" * 256, "a b"):
            answer = http.post(
                "/v1/queues", json={"name": "q"}, **(asked | {"headers": headers | {"Idempotency-Key": key}})
            )
            assert answer.status_code == 422
    assert len(AnnotationQueues(repository, PROJECT).query().queues) == 2


def test_what_is_no_request_of_ours_is_refused_in_one_shape(url: str) -> None:
    with httpx.Client(verify=NO_TLS, base_url=f"{url}/v1", headers={"Authorization": "Bearer ann-key"}) as http:
        asked: dict[str, Any] = {"params": {"project_id": PROJECT}}
        for answer, status, error in (
            (http.get("/nope", **asked), 404, "no_such_path"),
            (http.put("/queues", json={}, **asked), 405, "method_not_allowed"),
            (http.get("/queues/q", headers={"Authorization": ""}, **asked), 401, "unauthorized"),
            (http.get("/queues/q"), 422, "invalid_value"),
            (http.get("/queues/q", params={"project_id": OTHER}), 403, "forbidden"),
            (http.get("/queues/q", params={"project_id": PROJECT, "nope": "1"}), 422, "invalid_value"),
            (
                http.post("/queues", content=b"{", headers={"Content-Type": "application/json"}, **asked),
                422,
                "invalid_value",
            ),
            (http.post("/queues", json=[], **asked), 422, "invalid_value"),
            (http.post("/queues", content=b"x=1", **asked), 415, "unsupported_media_type"),
            (http.post("/queues", json={"name": "q", "nope": 1}, **asked), 422, "invalid_value"),
            (http.post("/queues", json={}, **asked), 422, "invalid_value"),
            (http.post("/queues", json={"name": "y" * (17 << 20)}, **asked), 413, "too_large"),
            (http.post("/queues/query", json={"query": {"limit": "1"}}, **asked), 422, "invalid_value"),
            (http.post("/queues/q/claims", json={}, **asked), 404, "queue_not_found"),
        ):
            body = answer.json()
            assert (answer.status_code, body["error"]) == (status, error)
            assert body["message"]


@pytest.mark.parametrize(
    ("error", "status"), [(StorageBusy, 503), (StorageFull, 507), (OutcomeUnknown, 503), (StorageCorrupt, 500)]
)
def test_a_storage_that_fails_is_told_apart_and_nothing_of_it_is_told(error: type[StorageError], status: int) -> None:
    class Breaking(MemoryRepository):
        def get_queue(self, *_arguments: object) -> Any:  # noqa: ANN401 - never returns
            raise error("/home/ann/labels.db: INSERT")

    with Breaking() as repository, serving(create_app(repository, authenticate=authenticate)) as url:
        with RemoteQueues(url, PROJECT, token="ann-key") as queues, pytest.raises(error) as raised:
            queues.get("q")
        assert "labels.db" not in str(raised.value)
        headers = {"Authorization": "Bearer ann-key"}
        assert httpx.get(f"{url}/v1/queues/q", params={"project_id": PROJECT}, headers=headers).status_code == status


def test_a_server_that_is_not_there_is_busy_and_one_that_hangs_up_leaves_the_outcome_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with RemoteQueues(address, PROJECT, token="ann-key") as queues:
            with pytest.raises(OutcomeUnknown):
                queues.get("q")
            thread.join()
    with RemoteQueues(address, PROJECT, token="ann-key") as queues, pytest.raises(StorageBusy):
        queues.get("q")


def test_many_items_are_changed_by_ids_and_by_filters(ann: RemoteQueues) -> None:
    queue = ann.create("q", created_by="ann")
    items = ann.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(4)], added_by="ann").added
    assert ann.update_items(queue.id, ItemFilter(call_id={"0", "1"}), ItemPatch(priority=7, assignees=["bob"])) == 2
    assert ann.update_items(queue.id, [items[2].id], ItemPatch(payload=None, display_fields=("a",))) == 1
    assert ann.reprioritise(queue.id, {items[3].id: 9}) == 1
    assert [each.call_id for each in ann.query_items(queue.id).items] == ["3", "0", "1", "2"]
    assert ann.remove_items(queue.id, (each.id for each in items[:2])) == 2
    assert ann.restore_items(queue.id, [items[0].id]) == 1
    assert ann.get_item(items[0].id, include_position=True).position_in_queue == 2


@pytest.mark.slow(seconds=15)
def test_sixteen_clients_hand_in_ten_thousand_labels_and_each_is_there_once(tmp_path: Path) -> None:
    total, clients = 10_000, 16
    with SQLiteRepository(tmp_path / "labels.db", synchronous="OFF") as repository:
        local = AnnotationQueues(repository, PROJECT)
        queue = local.create("q", created_by="ann")
        local.add_items(queue.id, (NewItem(call_id=str(n)) for n in range(total)), added_by="ann")
        done: list[list[str]] = [[] for _ in range(clients)]
        with serving(create_app(repository, authenticate=authenticate)) as url:

            def work(mine: list[str], user: str) -> None:
                with RemoteQueues(url, PROJECT, token=f"{user}-key") as queues:
                    while claims := queues.claim_batch(queue.id, user, 50):
                        results = queues.complete_batch((claim, {"call": claim.item.call_id}) for claim in claims)
                        mine.extend(item.call_id for item in results if not isinstance(item, ClaimLost))

            threads = [threading.Thread(target=work, args=(mine, ("ann", "bob")[n % 2])) for n, mine in enumerate(done)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        handed_in = [call_id for mine in done for call_id in mine]
        assert sorted(handed_in, key=int) == [str(n) for n in range(total)]
        labels = {each.item.call_id: each.progress.annotation for each in local.iter_labels(queue.id)}
        assert labels == {str(n): {"call": str(n)} for n in range(total)}
        assert all(mine for mine in done)
        assert repository.check() == ()
