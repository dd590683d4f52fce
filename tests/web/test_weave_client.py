"""Weave's own client, over real HTTP: its nine operations, synchronous and asynchronous, and what it makes of refusals."""

from __future__ import annotations

import asyncio
import importlib
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, LabelQuery, MemoryRepository, NewItem
from annotation_queue.wire import weave_messages
from helpers.servers import OTHER, PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What the client's code warns about, on Pythons newer than it, is not ours.
pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("default")]

STARTED = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Weave:
    """One of the client's two shapes behind one face: each operation by its name."""

    def __init__(self, client: Any, runner: asyncio.Runner | None) -> None:  # noqa: ANN401 - has no types here
        self._client = client
        self._runner = runner

    def __call__(self, operation: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as above
        of_queues = not operation.startswith("feedback.")
        called = attrgetter(operation)(self._client.annotation_queues if of_queues else self._client)
        options.setdefault("project_id", PROJECT)
        if self._runner is None:
            got = called(*arguments, **options)
            return list(got) if operation == "query" else got

        async def wait() -> object:
            got = await called(*arguments, **options)
            return [each async for each in got] if operation == "query" else got

        return self._runner.run(wait())

    def close(self) -> None:
        closing = self._client.close()
        if self._runner is not None:
            self._runner.run(closing)
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def weave(
    request: pytest.FixtureRequest,
    serve: Callable[..., str],
    weave_sdk: Any,  # noqa: ANN401 - has no types here
) -> Iterator[Callable[..., Weave]]:
    """Connect Weave's client to an app, as the user with this key."""
    connected: list[Weave] = []

    def connect(key: str = "ann-key", url: str = "", **options: Any) -> Weave:  # noqa: ANN401 - those of create_app
        is_async = request.param == "async"
        kind = weave_sdk.AsyncWeaveTrace if is_async else weave_sdk.WeaveTrace
        client = kind(base_url=url or serve(**options), username="api", password=key, _strict_response_validation=True)
        connected.append(Weave(client, asyncio.Runner() if is_async else None))
        return connected[-1]

    yield connect
    for each in connected:
        each.close()


def test_a_rater_hands_in_a_label_and_sees_it_again(weave: Callable[..., Weave], serve: Callable[..., str]) -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, PROJECT)
        queue = queues.create("Triage", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id="call-1")], added_by="ann")
        call = weave(url=serve(repository=repository))
        told = {
            "weave_ref": f"weave:///{PROJECT}/call/call-1",
            "queue_id": queue.id,
            "feedback_type": "wandb.annotation.stars",
            "annotation_ref": f"weave:///{PROJECT}/object/stars:abc",
        }
        made = call("feedback.create", payload={"value": 4}, **told)
        (label,) = queues.iter_labels(queue.id, LabelQuery(states={AnnotationState.IN_PROGRESS}))
        assert (label.progress.annotation, label.progress.annotator_id) == ({"stars": 4}, "ann")
        condition = {"$eq": [{"$getField": "queue_id"}, {"$literal": queue.id}]}
        shown = call("feedback.query", query={"$expr": condition})
        (row,) = shown.result
        assert (row["id"], row["payload"], row["wb_user_id"]) == (made.id, {"value": 4}, "ann")
        assert shown.total_count == 1


def test_all_nine_operations_do_their_work(weave: Callable[..., Weave]) -> None:
    call = weave()
    before = datetime.now(UTC)
    refs = ["weave:///acme/chatbot/object/quality:1"]
    queue_id = call("create", name="Triage", scorer_refs=refs, description="What went wrong?", wb_user_id="mallory").id

    queue = call("read", queue_id).queue
    assert (queue.id, queue.project_id, queue.name, queue.description) == (
        queue_id,
        PROJECT,
        "Triage",
        "What went wrong?",
    )
    assert (queue.scorer_refs, queue.created_by, queue.deleted_at) == (refs, "ann", None)
    assert before <= queue.created_at == queue.updated_at <= datetime.now(UTC)

    added = call("items.add", queue_id, call_ids=["c-1", "c-2", "c-3"], display_fields=["inputs.q", "output"])
    assert (added.added_count, added.duplicates) == (3, 0)
    added = call("items.add", queue_id, call_ids=["c-3", "c-4", "c-4"], display_fields=[])
    assert (added.added_count, added.duplicates) == (1, 2)

    items = call("items.query", queue_id, include_position=True).items
    assert [(each.call_id, each.position_in_queue) for each in items] == [
        ("c-1", 1),
        ("c-2", 2),
        ("c-3", 3),
        ("c-4", 4),
    ]
    first = items[0]
    assert (first.queue_id, first.project_id, first.display_fields) == (queue_id, PROJECT, ["inputs.q", "output"])
    assert (first.added_by, first.created_by, first.annotation_state) == ("ann", "ann", "unstarted")

    for state in ("in_progress", "in_progress", "completed", "completed"):
        item = call("items.update_progress", first.id, queue_id=queue_id, annotation_state=state).item
        assert (item.id, item.annotation_state, item.annotator_user_id) == (first.id, state, "ann")
    assert item.updated_at > first.updated_at
    call("items.update_progress", items[1].id, queue_id=queue_id, annotation_state="skipped")

    done = call(
        "items.query",
        queue_id,
        filter={"annotation_states": ["completed", "skipped"]},
        sort_by=[{"field": "call_id", "direction": "desc"}],
        limit=1,
        offset=0,
        include_position=True,
    ).items
    assert [(each.call_id, each.position_in_queue) for each in done] == [("c-2", 3)]

    (stats,) = call("stats", queue_ids=[queue_id]).stats
    assert (stats.queue_id, stats.total_items, stats.completed_items) == (queue_id, 4, 2)

    changed = call("update", queue_id, name="Triage 2", description=None).queue
    assert (changed.name, changed.description, changed.scorer_refs) == ("Triage 2", "What went wrong?", refs)

    other_id = call("create", name="other", scorer_refs=[]).id
    assert [each.id for each in call("query")] == [other_id, queue_id]
    assert [each.name for each in call("query", name="TRIAGE")] == ["Triage 2"]
    by_name = call("query", sort_by=[{"field": "name", "direction": "asc"}], limit=1, offset=1)
    assert [each.id for each in by_name] == [other_id]

    deleted = call("delete", queue_id).queue
    assert (deleted.id, deleted.deleted_at) == (queue_id, deleted.updated_at)
    assert [each.id for each in call("query")] == [other_id]


def test_refusals_are_the_errors_that_the_client_knows(weave: Callable[..., Weave], weave_sdk: Any) -> None:  # noqa: ANN401
    call = weave()
    queue_id = call("create", name="q", scorer_refs=[]).id
    call("items.add", queue_id, call_ids=["c"], display_fields=[])
    (item,) = call("items.query", queue_id).items

    with pytest.raises(weave_sdk.NotFoundError) as not_found:
        call("read", "nope")
    assert not_found.value.body == {"reason": "no queue 'nope' in this project"}
    with pytest.raises(weave_sdk.BadRequestError):
        call("items.update_progress", "nope", queue_id=queue_id, annotation_state="completed")
    with pytest.raises(weave_sdk.UnprocessableEntityError) as unfit:
        call("items.query", queue_id, limit=True)
    assert unfit.value.body == {
        "detail": [{"loc": ["body", "limit"], "msg": "expected an integer, got bool True", "type": "int_type"}]
    }
    with pytest.raises(weave_sdk.BadRequestError) as refused:
        call("items.update_progress", item.id, queue_id=queue_id, annotation_state="unstarted")
    assert refused.value.body == {
        "reason": "annotation_state: expected one of in_progress, completed, skipped, got str 'unstarted'"
    }
    call("items.update_progress", item.id, queue_id=queue_id, annotation_state="completed")
    for state in ("in_progress", "skipped"):
        with pytest.raises(weave_sdk.BadRequestError):
            call("items.update_progress", item.id, queue_id=queue_id, annotation_state=state)
    with pytest.raises(weave_sdk.PermissionDeniedError):
        call("read", queue_id, project_id=OTHER)


def test_a_key_that_is_not_known_is_an_authentication_error(weave: Callable[..., Weave], weave_sdk: Any) -> None:  # noqa: ANN401
    with pytest.raises(weave_sdk.AuthenticationError):
        weave("nobody's key")("query")


def test_a_client_that_asks_too_often_waits_as_long_as_it_is_told(weave: Callable[..., Weave]) -> None:
    call = weave(rate_limit="2/second")
    assert [call("create", name=str(n), scorer_refs=[]).id for n in range(3)] == [
        each.id for each in reversed(call("query"))
    ]


def test_calls_are_looked_up_and_those_that_do_not_exist_are_left_out(weave: Callable[..., Weave]) -> None:
    def look_up(project_id: str, call_ids: Sequence[str]) -> Iterator[NewItem]:
        assert project_id == PROJECT
        for call_id in call_ids:
            if call_id != "gone":
                ended = STARTED + timedelta(seconds=2)
                yield NewItem(
                    call_id=call_id,
                    call_started_at=STARTED,
                    call_ended_at=ended,
                    call_op_name="answer",
                    call_trace_id=f"t-{call_id}",
                    display_fields=["never shown"],
                )

    call = weave(resolve_calls=look_up)
    queue_id = call("create", name="q", scorer_refs=[]).id
    added = call("items.add", queue_id, call_ids=["a", "gone", "b"], display_fields=["output"])
    assert (added.added_count, added.duplicates) == (2, 0)
    for condition, found in (
        ({"call_trace_id": "t-b"}, ["b"]),
        ({"call_op_name": "answer"}, ["a", "b"]),
        ({"added_by": "ann", "call_id": "a"}, ["a"]),
        ({"added_by": "bob"}, []),
        ({"annotation_states": []}, ["a", "b"]),
        (None, ["a", "b"]),
    ):
        items = call("items.query", queue_id, filter=condition).items
        assert [each.call_id for each in items] == found
    (item,) = call("items.query", queue_id, filter={"call_id": "a"}).items
    assert (item.call_started_at, item.call_ended_at) == (STARTED, STARTED + timedelta(seconds=2))
    assert item.display_fields == ["output"]


def test_two_users_on_one_queue_see_each_other_and_keep_their_own_states(
    weave: Callable[..., Weave], serve: Callable[..., str]
) -> None:
    repository = MemoryRepository()
    url = serve(repository=repository)
    ann, bob = weave("ann-key", url), weave("bob-key", url)
    queue_id = ann("create", name="q", scorer_refs=[]).id
    ann("items.add", queue_id, call_ids=["c-1", "c-2"], display_fields=[])
    first, second = ann("items.query", queue_id).items

    def move(who: Weave, item: Any, state: str) -> tuple[str, str | None]:  # noqa: ANN401 - has no types here
        moved = who("items.update_progress", item.id, queue_id=queue_id, annotation_state=state).item
        return moved.annotation_state, moved.annotator_user_id

    assert move(ann, first, "in_progress") == ("in_progress", "ann")
    assert move(bob, first, "in_progress") == ("in_progress", "bob")
    assert move(ann, first, "completed") == ("completed", "ann")
    assert move(bob, first, "in_progress") == ("in_progress", "bob")
    assert move(bob, first, "skipped") == ("skipped", "bob")
    assert move(ann, first, "completed") == ("completed", "ann")
    assert move(bob, second, "completed") == ("completed", "bob")

    states = [(each.annotation_state, each.annotator_user_id) for each in ann("items.query", queue_id).items]
    assert states == [("skipped", "bob"), ("completed", "bob")]
    (stats,) = bob("stats", queue_ids=[queue_id]).stats
    assert (stats.total_items, stats.completed_items) == (2, 2)
    queues = AnnotationQueues(repository, PROJECT)
    assert [(each.annotator_id, each.state) for each in queues.progress(first.id)] == [
        ("ann", "completed"),
        ("bob", "skipped"),
    ]
    assert [each.annotator_id for each in queues.progress(second.id)] == ["bob"]
    repository.close()


def test_a_long_list_of_queues_streams_whole(weave: Callable[..., Weave]) -> None:
    call = weave(max_limit=7)
    made = [call("create", name=f"é {n}", scorer_refs=[]).id for n in range(30)]
    assert [each.id for each in call("query")] == made[::-1]
    assert [each.id for each in call("query", limit=20, offset=5)] == made[::-1][5:25]


# What an operation takes and what it answers, by the client's module and class.
TAKEN = {
    "annotation_queue_create_params.AnnotationQueueCreateParams": weave_messages.CreateBody,
    "annotation_queue_query_params.AnnotationQueueQueryParams": weave_messages.QueuesQueryBody,
    "annotation_queue_query_params.SortBy": weave_messages.QueueSortBy,
    "annotation_queue_read_params.AnnotationQueueReadParams": weave_messages.ProjectQuery,
    "annotation_queue_update_params.AnnotationQueueUpdateParams": weave_messages.UpdateBody,
    "annotation_queue_delete_params.AnnotationQueueDeleteParams": weave_messages.ProjectQuery,
    "annotation_queue_stats_params.AnnotationQueueStatsParams": weave_messages.StatsBody,
    "annotation_queues.item_add_params.ItemAddParams": weave_messages.AddCallsBody,
    "annotation_queues.item_query_params.ItemQueryParams": weave_messages.ItemsQueryBody,
    "annotation_queues.item_query_params.Filter": weave_messages.ItemsFilter,
    "annotation_queues.item_query_params.SortBy": weave_messages.ItemSortBy,
    "annotation_queues.item_update_progress_params.ItemUpdateProgressParams": weave_messages.ProgressBody,
}
ANSWERED = {
    "annotation_queue_create_response.AnnotationQueueCreateResponse": weave_messages.CreateRes,
    "annotation_queue_schema.AnnotationQueueSchema": weave_messages.Queue,
    "annotation_queue_read_response.AnnotationQueueReadResponse": weave_messages.QueueRes,
    "annotation_queue_update_response.AnnotationQueueUpdateResponse": weave_messages.QueueRes,
    "annotation_queue_delete_response.AnnotationQueueDeleteResponse": weave_messages.QueueRes,
    "annotation_queue_stats_response.AnnotationQueueStatsResponse": weave_messages.StatsRes,
    "annotation_queue_stats_response.Stat": weave_messages.QueueStats,
    "annotation_queues.item_add_response.ItemAddResponse": weave_messages.AddCallsRes,
    "annotation_queues.item_query_response.ItemQueryResponse": weave_messages.ItemsQueryRes,
    "annotation_queues.item_query_response.Item": weave_messages.Item,
    "annotation_queues.item_update_progress_response.ItemUpdateProgressResponse": weave_messages.ProgressRes,
    "annotation_queues.item_update_progress_response.Item": weave_messages.Item,
}


def client_type(sdk: Any, name: str) -> Any:  # noqa: ANN401 - has no types here
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(f"{sdk.__name__}.types.{module}"), kind)


@pytest.mark.parametrize("name", TAKEN)
def test_the_client_can_send_every_field_that_is_taken_and_no_other(weave_sdk: Any, name: str) -> None:  # noqa: ANN401
    fields = attrs.fields(TAKEN[name])
    kind = client_type(weave_sdk, name)
    assert set(kind.__annotations__) - {"queue_id"} == {field.name for field in fields}
    sent = {field for field, told in kind.__annotations__.items() if "Required[" in str(told)}
    assert sent - {"queue_id"} == {field.name for field in fields if field.default is attrs.NOTHING}


@pytest.mark.parametrize("name", ANSWERED)
def test_the_client_knows_every_field_that_is_answered_and_no_other(weave_sdk: Any, name: str) -> None:  # noqa: ANN401
    fields = attrs.fields(ANSWERED[name])
    known = client_type(weave_sdk, name).model_fields
    assert set(known) == {field.name for field in fields}
    always = {field for field, told in known.items() if told.is_required()}
    assert always == {field.name for field in fields if field.default is attrs.NOTHING}
