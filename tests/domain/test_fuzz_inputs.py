"""Random cursors and random lines of input: an answer or an error of ours, and the same one on every repository."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from annotation_queue import (
    InvalidCursor,
    ItemPage,
    ItemQuery,
    MemoryRepository,
    QueuePage,
    QueueQuery,
    SortBy,
    SQLiteRepository,
)
from annotation_queue.cli.jsonl import BadLine, Shape, parse_record
from annotation_queue.cursors import encode_cursor
from helpers.clocks import Clock
from helpers.faults import NIGHTLY, Scene, outcome, plain, service, set_up
from helpers.lines import lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue import AnnotationQueues

CURSORS, LINES = (40_000, 80_000) if NIGHTLY else (300, 500)
"""How many are tried; by night that takes more than five minutes."""
ORDERS: list[tuple[SortBy, ...]] = [(), (SortBy("call_id"),), (SortBy("call_ended_at", "desc"), SortBy("priority"))]
NAMES: list[list[list[str]]] = [
    [["priority", "desc"], ["created_at", "asc"], ["id", "asc"]],
    [["call_id", "asc"], ["id", "asc"]],
    [["call_ended_at", "desc"], ["priority", "asc"], ["id", "asc"]],
]
"""The orders in full."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[AnnotationQueues, Scene]]]:
    """The same scene on each repository."""
    with ExitStack() as opened:
        path = tmp_path_factory.mktemp("fuzz") / "queues.db"
        repositories: list[MemoryRepository | SQLiteRepository] = [
            opened.enter_context(MemoryRepository()),
            opened.enter_context(SQLiteRepository(path, synchronous="OFF")),
        ]
        clock = Clock()
        services = [service(repository, clock, "id") for repository in repositories]
        scenes = [(queues, set_up(queues, needed=2)) for queues in services]
        for queues in services:
            queues.create("lines", created_by="ann")
        yield scenes
        assert [repository.check() for repository in repositories] == [(), ()]


_ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_INTEGER = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-2, -1, 0, 1, 1_767_268_800_000_000])
_TEXT = st.text(max_size=5) | st.sampled_from(["x", "y", "z", "id-000003"])
_FITTING = [(_INTEGER, _INTEGER, _TEXT), (_TEXT, _TEXT), (st.none() | _INTEGER, _INTEGER, _TEXT)]
"""For each order what its cursors carry."""


@st.composite
def cursors(draw: st.DrawFn, order: int, annotator_id: str | None) -> str:
    """Make cursors: any text, forged ones whose digest is right, and forged ones that were changed."""
    kind = draw(st.sampled_from(["any", "forged", "forged", "changed"]))
    if kind == "any":
        return draw(st.text(max_size=60) | st.text("ABCDEFabcdef0123456789-_=", max_size=200))
    values = draw(st.lists(_ANY, max_size=4) if draw(st.booleans()) else st.tuples(*_FITTING[order]).map(list))
    cursor = encode_cursor(values, ("items", "project", "id-000001", annotator_id, NAMES[order]))
    if kind == "forged":
        return cursor
    place, end = sorted((draw(st.integers(0, len(cursor))), draw(st.integers(0, len(cursor)))))
    return cursor[:place] + draw(st.text(max_size=4)) + cursor[end:]


@pytest.mark.slow
@settings(max_examples=CURSORS)
@given(data=st.data(), order=st.integers(0, 2), annotator_id=st.sampled_from([None, "bob"]))
def test_a_random_cursor_goes_on_from_somewhere_or_is_refused_on_every_repository_alike(
    both: list[tuple[AnnotationQueues, Scene]], data: st.DataObject, order: int, annotator_id: str | None
) -> None:
    cursor = data.draw(cursors(order, annotator_id))
    answers = []
    for queues, scene in both:

        def ask(queues: AnnotationQueues, it: Scene) -> ItemPage:
            query = ItemQuery(sort_by=ORDERS[order], cursor=cursor, annotator_id=annotator_id, limit=2)
            return queues.query_items(it.queue_id, query)

        answers.append(outcome(ask, queues, scene))
        by_queues = outcome(lambda queues, _: queues.query(QueueQuery(cursor=cursor)), queues, scene)
        # No forged one is one of queues.
        assert isinstance(by_queues, InvalidCursor)
    assert all(isinstance(answer, ItemPage | QueuePage | InvalidCursor) for answer in answers)
    assert plain(answers[0]) == plain(answers[1])


@pytest.mark.slow
@settings(max_examples=LINES)
@given(line=lines())
@example(line=b'{"id": "a", "id": "b"}')
@example(line=b'{"id": ' + b"9" * 5_000 + b"}")
@example(line=b"[" * 100_000)
@example(line=b'\xef\xbb\xbf{"id": 1}')
@example(line=b'{"id": 1}\r\n')
@example(line=b'{"id": 1}\x0b')
@example(line='{"id": 1}\u00a0'.encode())
@example(line=b'{"a\\u001b[2J\\n": 9223372036854775808, "id": 1}')
@example(line=b'{"' + b"a" * 1_000 + b'": {"b": 9223372036854775808}, "id": 1}')
def test_a_random_line_is_a_record_that_every_repository_stores_as_it_is_or_is_refused_in_one_line(
    both: list[tuple[AnnotationQueues, Scene]], line: bytes
) -> None:
    try:
        new = parse_record(1, line, Shape("id")).item
    except BadLine as refused:
        message = str(refused)
        assert message
        assert "\n" not in message
        assert len(message) < 500
        return
    record = json.loads(line)
    # Equal and of the same types, where 1 == 1.0 == True would not tell.
    assert repr(new.payload) == repr(record)
    assert new.call_id == str(record["id"])
    assert isinstance(record["id"], str | int)
    stored = []
    for queues, _ in both:
        (queue,) = queues.query(QueueQuery(name="lines")).queues
        (item,) = queues.add_items(queue.id, [new], added_by="ann").added
        read = queues.get_item(item.id)
        assert repr(read.payload) == repr(record)
        stored.append(plain([item, read]))
        assert queues.remove_items(queue.id, [item.id]) == 1
    assert stored[0] == stored[1]
