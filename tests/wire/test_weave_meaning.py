"""What Weave's operations mean, above all where that is not what the library's own mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    REOPENABLE,
    AnnotationQueues,
    AnnotationState,
    InvalidTransition,
    NewItem,
    QueueNotFound,
)
from annotation_queue.wire import weave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from helpers.clocks import Clock

PROJECT = {"project_id": "project"}


def ask(queues: AnnotationQueues, queue_id: str, **asked: Any) -> list[str]:  # noqa: ANN401 - fields of the body
    body = weave.read(weave.ItemsQueryBody, PROJECT | asked)
    return [each.call_id for each in weave.query_items(queues, queue_id, body).items]


def move(queues: AnnotationQueues, item_id: str, state: str, annotator: str = "bob", queue_id: str = "") -> weave.Item:
    body = weave.read(weave.ProgressBody, PROJECT | {"annotation_state": state})
    queue_id = queue_id or queues.get_item(item_id).queue_id
    return weave.update_progress(queues, queue_id, item_id, body, annotator_id=annotator).item


@pytest.fixture
def queue_id(queues: AnnotationQueues) -> str:
    """A queue with the calls low, high and low-2, in this order of adding."""
    made = queues.create("q", created_by="ann")
    new = [NewItem(call_id="low"), NewItem(call_id="high", priority=9, call_op_name="op"), NewItem(call_id="low-2")]
    queues.add_items(made.id, new, added_by="ann")
    return made.id


@pytest.fixture
def item_id(queues: AnnotationQueues, queue_id: str) -> str:
    """The item of the call low."""
    return queues.query_items(queue_id).items[1].id


def test_items_come_the_oldest_first_and_not_by_priority(queues: AnnotationQueues, queue_id: str) -> None:
    assert ask(queues, queue_id) == ["low", "high", "low-2"]
    assert ask(queues, queue_id, sort_by=[]) == ["low", "high", "low-2"]
    assert [each.call_id for each in queues.query_items(queue_id).items] == ["high", "low", "low-2"]


def test_a_field_that_is_named_again_changes_nothing(queues: AnnotationQueues, queue_id: str) -> None:
    twice = [{"field": "call_id", "direction": "desc"}, {"field": "call_id", "direction": "asc"}]
    assert ask(queues, queue_id, sort_by=twice) == ["low-2", "low", "high"]
    body = weave.read(weave.QueuesQueryBody, PROJECT | {"sort_by": [{"field": "name", "direction": "asc"}] * 2})
    assert [len(page) for page in weave.query(queues, body)] == [1]


def test_no_states_filter_nothing(queues: AnnotationQueues, queue_id: str) -> None:
    assert len(ask(queues, queue_id, filter={"annotation_states": []})) == 3
    assert ask(queues, queue_id, filter={"annotation_states": ["completed"]}) == []
    assert len(ask(queues, queue_id, filter={"annotation_states": ["completed", "unstarted", "unstarted"]})) == 3


def test_the_position_is_that_in_the_whole_queue_whatever_the_filter(queues: AnnotationQueues, queue_id: str) -> None:
    for condition in ({"call_id": "low-2"}, {"call_id": "low-2", "annotation_states": ["unstarted"]}):
        body = weave.read(weave.ItemsQueryBody, PROJECT | {"filter": condition, "include_position": True})
        (item,) = weave.query_items(queues, queue_id, body).items
        assert item.position_in_queue == 3


def test_without_a_limit_all_items_are_answered_whatever_the_maximum(queues: AnnotationQueues, queue_id: str) -> None:
    queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(1_500)], added_by="ann")
    body = weave.read(weave.ItemsQueryBody, PROJECT | {"include_position": True})
    for most in (None, 2):
        found = weave.query_items(queues, queue_id, body, max_limit=most).items
        assert [each.position_in_queue for each in found] == list(range(1, 1_504))
    body = weave.read(weave.ItemsQueryBody, PROJECT | {"limit": 1_200, "offset": 2})
    found = weave.query_items(queues, queue_id, body).items
    assert [each.call_id for each in found] == ["low-2", *(str(n) for n in range(1_199))]


def test_a_limit_beyond_the_maximum_is_refused_if_the_backend_has_one(queues: AnnotationQueues, queue_id: str) -> None:
    body = weave.read(weave.ItemsQueryBody, PROJECT | {"limit": 3})
    with pytest.raises(weave.BadMessage, match=r"body.limit: expected an integer from 0 to 2, got int 3"):
        weave.query_items(queues, queue_id, body, max_limit=2)
    stats = weave.read(weave.StatsBody, PROJECT | {"queue_ids": [queue_id] * 3})
    assert len(weave.stats(queues, stats, max_limit=3).stats) == 3
    with pytest.raises(weave.BadMessage, match=r"body.queue_ids: expected at most 2 ids, got 3"):
        weave.stats(queues, stats, max_limit=2)


def test_the_state_of_an_item_is_that_of_whoever_changed_theirs_last(
    queues: AnnotationQueues, queue_id: str, item_id: str, clock: Clock
) -> None:
    move(queues, item_id, "completed", "bob")
    clock.move(1)
    move(queues, item_id, "in_progress", "ann")
    body = weave.read(weave.ItemsQueryBody, PROJECT | {"filter": {"id": item_id}})
    (seen,) = weave.query_items(queues, queue_id, body).items
    assert (seen.annotation_state, seen.annotator_user_id) == ("in_progress", "ann")
    again = move(queues, item_id, "completed", "bob")
    assert (again.annotation_state, again.annotator_user_id) == ("completed", "bob")


# from -> where an annotator may go; to the same state again is allowed and changes nothing.
MOVES = {
    None: {"in_progress", "completed", "skipped"},
    "in_progress": {"in_progress", "completed", "skipped"},
    "completed": {"completed"},
    "skipped": {"skipped"},
}


@pytest.mark.parametrize("before", MOVES)
@pytest.mark.parametrize("after", ["unstarted", "in_progress", "completed", "skipped", "nope", "", "Completed"])
def test_an_annotator_makes_the_published_moves_and_no_others(
    queues: AnnotationQueues, item_id: str, before: str | None, after: str
) -> None:
    if before is not None:
        move(queues, item_id, before)
    history = queues.history(item_id)
    if after in MOVES[before]:
        assert move(queues, item_id, after).annotation_state == after
        assert len(queues.history(item_id)) == len(history) + (after != before)
    else:
        with pytest.raises((weave.Refused, InvalidTransition)) as refused:
            move(queues, item_id, after)
        assert weave.refusal(refused.value)[0] == 400
        assert queues.history(item_id) == history


@pytest.mark.parametrize("finished", ["completed", "skipped"])
def test_nobody_starts_twice_also_where_the_workflow_lets_them(
    make_queues: Callable[..., AnnotationQueues], item_id: str, finished: str
) -> None:
    queues = make_queues(workflow=REOPENABLE)
    move(queues, item_id, finished)
    with pytest.raises(weave.Refused, match=f"this annotator's state on the item is {finished}"):
        move(queues, item_id, "in_progress")


def test_what_was_given_back_can_be_started_again_and_finished(queues: AnnotationQueues, item_id: str) -> None:
    move(queues, item_id, "in_progress")
    queues.update_progress(item_id, "bob", AnnotationState.UNSTARTED)
    assert move(queues, item_id, "in_progress").annotation_state == "in_progress"
    assert move(queues, item_id, "completed").annotation_state == "completed"


def test_an_item_of_another_queue_is_refused_whatever_its_state(queues: AnnotationQueues, item_id: str) -> None:
    other = queues.create("other", created_by="ann").id
    move(queues, item_id, "completed")
    for state in ("in_progress", "completed", "skipped"):
        with pytest.raises(weave.Refused, match="no item"):
            move(queues, item_id, state, queue_id=other)
        with pytest.raises(weave.Refused, match="no queue"):
            move(queues, item_id, state, queue_id="nope")
    assert weave.refusal(weave.Refused("no item"))[0] == 400


def test_statistics_count_what_anybody_finished(queues: AnnotationQueues, queue_id: str) -> None:
    first, second, third = (each.id for each in queues.query_items(queue_id).items)
    move(queues, first, "completed", "ann")
    move(queues, first, "in_progress", "bob")
    move(queues, second, "skipped", "bob")
    move(queues, third, "in_progress", "ann")
    body = weave.read(weave.StatsBody, PROJECT | {"queue_ids": [queue_id]})
    (stats,) = weave.stats(queues, body).stats
    assert (stats.total_items, stats.completed_items) == (3, 2)
    assert weave.stats(queues, weave.read(weave.StatsBody, PROJECT | {"queue_ids": []})).stats == ()


def test_a_queue_that_is_not_there_counts_nothing(queues: AnnotationQueues, queue_id: str) -> None:
    gone = queues.create("gone", created_by="ann").id
    queues.add_items(gone, [NewItem(call_id="a")], added_by="ann")
    queues.delete(gone)
    for asked in (["nope"], ["nope", queue_id], [queue_id, "nope", queue_id, gone, "nope"]):
        body = weave.read(weave.StatsBody, PROJECT | {"queue_ids": asked})
        found = [(each.queue_id, each.total_items, each.completed_items) for each in weave.stats(queues, body).stats]
        assert found == [(each, 3 if each == queue_id else 0, 0) for each in asked]


def test_a_part_of_the_name_finds_queues_and_has_no_wildcards(queues: AnnotationQueues) -> None:
    for name in ("100% Straße", "100 straßen", "a_b", "axb"):
        queues.create(name, created_by="ann")

    def names(part: str | None) -> list[str]:
        body = weave.read(weave.QueuesQueryBody, PROJECT | {"name": part})
        return sorted(each.name for page in weave.query(queues, body, page=1) for each in page)

    assert names("STRASSE") == ["100 straßen", "100% Straße"]
    assert names("0%") == ["100% Straße"]
    assert names("A_B") == ["a_b"]
    assert len(names("")) == len(names(None)) == 4


def test_queues_are_read_page_after_page_up_to_the_limit(queues: AnnotationQueues, clock: Clock) -> None:
    for n in range(10):
        clock.move(1)
        queues.create(str(n), created_by="ann")

    def pages(**asked: int) -> list[list[str]]:
        body = weave.read(weave.QueuesQueryBody, PROJECT | asked)
        return [[each.name for each in page] for page in weave.query(queues, body, page=4)]

    assert pages() == [["9", "8", "7", "6"], ["5", "4", "3", "2"], ["1", "0"]]
    assert pages(offset=3, limit=5) == [["6", "5", "4", "3"], ["2"]]
    assert pages(limit=0) == [[]]
    assert pages(offset=10) == [[]]


def test_what_is_null_or_left_out_of_an_update_stays(queues: AnnotationQueues, queue_id: str, clock: Clock) -> None:
    before = weave.get(queues, queue_id).queue
    clock.move(1)
    for body in ({}, {"name": None, "description": None, "scorer_refs": None}):
        assert weave.update(queues, queue_id, weave.read(weave.UpdateBody, PROJECT | body)).queue == before
    emptied = {"name": "", "description": "", "scorer_refs": []}
    after = weave.update(queues, queue_id, weave.read(weave.UpdateBody, PROJECT | emptied)).queue
    assert (after.name, after.description, after.scorer_refs) == ("", "", ())
    assert after.updated_at > before.updated_at


def test_no_call_is_looked_up_for_a_queue_that_is_not_there(queues: AnnotationQueues) -> None:
    def never(_project_id: str, _call_ids: Sequence[str]) -> Iterable[NewItem]:
        raise AssertionError

    body = weave.read(weave.AddCallsBody, PROJECT | {"call_ids": ["c"], "display_fields": []})
    with pytest.raises(QueueNotFound):
        weave.add_calls(queues, "nope", body, user_id="ann", resolve_calls=never)


def test_a_small_request_does_not_fill_the_storage(queues: AnnotationQueues, queue_id: str) -> None:
    call_ids = [str(n) for n in range(50_000)]
    for shown in (["x" * 10_000], ["é" * 700], [""] * 50_000):
        body = weave.read(weave.AddCallsBody, PROJECT | {"call_ids": call_ids, "display_fields": shown})
        with pytest.raises(
            weave.BadMessage, match=r"body.display_fields: expected fewer, to be stored with each of 50,000 calls"
        ):
            weave.add_calls(queues, queue_id, body, user_id="ann")
    assert len(ask(queues, queue_id)) == 3
