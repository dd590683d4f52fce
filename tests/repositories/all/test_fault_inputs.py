"""Hostile inputs that are large or many: the same answer or the same error on every repository, and nothing half written."""

from __future__ import annotations

import itertools
import random
import string
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationState,
    InvalidCursor,
    InvalidQuery,
    InvalidValue,
    ItemFilter,
    ItemQuery,
    NewItem,
    QueueNotFound,
    QueueQuery,
    SortBy,
)
from annotation_queue.cursors import encode_cursor
from annotation_queue.sorting import QUEUE_SORT_FIELDS, SORT_FIELDS
from helpers.faults import LEASE, Scene, all_of, plain, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import AnnotationQueues, Repository
    from helpers.clocks import Clock

MANY, FEW = 70_000, 2_500
HUGE = "a" * (100 << 20)
COMPLETED = AnnotationState.COMPLETED
BAD_LIMITS: list[Any] = [-1, 2**63, -(2**63) - 1, True, 1.5, "1", float("nan")]
ODD_NAMES = [
    *(
        "%",
        "_",
        "\\",
        "'",
        '"',
        "''",
        "\\'",
        "%_%",
        "a%b",
        "a_b",
        "a\\b",
        "a'b",
        "[a]",
        "*",
        "?",
        "a*",
        "--",
        ";",
        "/* */",
    ),
    *(
        "'; DROP TABLE queues; --",
        '"; DROP TABLE items; --',
        "$1",
        ":a",
        "?1",
        "@a",
        "%s",
        "%(a)s",
        "{}",
        "\\x00",
        "\n",
        "\t",
    ),
    *("ß", "ẞ", "İ", "é", "e\u0301", "ﬁ", "\u200b", "\ufeff", "\U0010ffff", "😀", "\u202egnp"),
]


@pytest.fixture
def queues(repository: Repository, clock: Clock) -> AnnotationQueues:
    """The service over each repository."""
    return service(repository, clock, "id")


@pytest.fixture
def scene(queues: AnnotationQueues) -> Scene:
    """Something that bad input could spoil."""
    return set_up(queues, needed=2)


@pytest.mark.parametrize("bad", BAD_LIMITS, ids=repr)
@pytest.mark.parametrize("field", ["limit", "offset"])
def test_a_limit_and_an_offset_that_are_none_are_refused_by_name(field: str, bad: object) -> None:
    arguments: dict[str, Any] = {field: bad}
    for kind in (ItemQuery, QueueQuery):
        with pytest.raises(InvalidQuery) as refused:
            kind(**arguments)
        assert refused.value.field == field
        assert str(refused.value).startswith(f"{field}: expected ")


@pytest.mark.parametrize("bad", BAD_LIMITS, ids=repr)
def test_a_limit_of_claims_that_is_none_is_refused_by_name(queues: AnnotationQueues, scene: Scene, bad: Any) -> None:  # noqa: ANN401 - what must be refused
    before = plain(all_of(queues))
    with pytest.raises(InvalidValue, match=r"^limit: expected "):
        queues.claim_batch(scene.queue_id, "eve", bad)
    assert plain(all_of(queues)) == before


@pytest.mark.parametrize("beyond", [3, 4, 10**6, 2**31, 2**63 - 1])
def test_a_page_past_the_end_is_empty_and_the_greatest_limit_is_none(
    queues: AnnotationQueues, scene: Scene, beyond: int
) -> None:
    for sort_by in ((), (SortBy("call_id"),), (SortBy("annotation_state"),)):
        query = ItemQuery(sort_by=sort_by, offset=beyond, limit=beyond, include_position=True, include_total=True)
        page = queues.query_items(scene.queue_id, query)
        assert (page.items, page.next_cursor, page.total) == ((), None, 3)
    assert queues.query_items(scene.queue_id, ItemQuery(limit=beyond)).items == queues.query_items(scene.queue_id).items
    assert queues.query(QueueQuery(offset=beyond, limit=beyond)).queues == ()
    assert len(queues.query(QueueQuery(limit=beyond)).queues) == 1
    assert queues.query_items(scene.queue_id, ItemQuery(limit=0)).items == ()
    assert queues.claim_batch(scene.queue_id, "eve", 0) == ()
    assert len(queues.claim_batch(scene.queue_id, "eve", beyond)) == 3


@pytest.mark.slow
def test_70000_ids_at_once_are_taken_everywhere(queues: AnnotationQueues, scene: Scene) -> None:
    before = plain(all_of(queues))
    unknown = [f"unknown-{number}" for number in range(MANY)]
    assert queues.remove_items(scene.queue_id, unknown) == 0
    with pytest.raises(QueueNotFound):
        queues.stats(unknown)
    assert plain(all_of(queues)) == before
    assert len(queues.stats([scene.queue_id] * MANY)) == MANY
    large = queues.create("large", created_by="ann", lease=LEASE).id
    news = [NewItem(call_id=call) for call in unknown[:FEW]]
    added = queues.add_items(large, itertools.islice(itertools.cycle(news), MANY), added_by="ann")
    assert (len(added.added), added.duplicates) == (FEW, MANY - FEW)
    assert queues.remove_items(large, [*unknown, *(item.id for item in added.added), scene.item_ids[0]]) == FEW
    assert queues.stats([large])[0].total_items == 0
    assert plain(all_of(queues))[:1] == before


def test_an_empty_list_of_ids_does_nothing(queues: AnnotationQueues, scene: Scene) -> None:
    before = plain(all_of(queues))
    assert queues.remove_items(scene.queue_id, []) == 0
    assert queues.stats([]) == ()
    assert queues.add_items(scene.queue_id, [], added_by="ann").added == ()
    assert queues.complete_batch([]) == ()
    assert plain(all_of(queues)) == before


TAKES_TEXT: list[tuple[str, Callable[[AnnotationQueues, Scene], object]]] = [
    ("name", lambda queues, _: queues.create(HUGE, created_by="ann")),
    ("created_by", lambda queues, _: queues.create("new", created_by=HUGE)),
    ("description", lambda queues, it: queues.update(it.queue_id, description=HUGE)),
    ("scorer_refs[1]", lambda queues, it: queues.update(it.queue_id, scorer_refs=["a", HUGE])),
    ("queue_id", lambda queues, _: queues.delete(HUGE)),
    ("queue_ids[0]", lambda queues, _: queues.stats([HUGE])),
    ("call_id", lambda queues, it: queues.add_items(it.queue_id, [NewItem(call_id=HUGE)], added_by="ann")),
    ("added_by", lambda queues, it: queues.add_items(it.queue_id, [NewItem(call_id="a")], added_by=HUGE)),
    ("payload.text", lambda _, __: NewItem(call_id="a", payload={"text": HUGE})),
    ("display_fields[0]", lambda _, __: NewItem(call_id="a", display_fields=[HUGE])),
    ("which[0]", lambda queues, it: queues.remove_items(it.queue_id, [HUGE])),
    ("item_id", lambda queues, _: queues.history(HUGE)),
    ("annotator_id", lambda queues, it: queues.claim(it.queue_id, HUGE)),
    ("annotation.a[0]", lambda queues, it: queues.complete(it.claim, {"a": [HUGE]})),
    ("results[0].annotation", lambda queues, it: queues.complete_batch([(it.claim, HUGE)])),
    ("reason", lambda queues, it: queues.skip(it.claim, HUGE)),
    ("reason", lambda queues, it: queues.release(it.claim, HUGE)),
    ("annotation", lambda queues, it: queues.update_progress(it.item_ids[0], "eve", COMPLETED, annotation=HUGE)),
    ("name", lambda queues, _: queues.query(QueueQuery(name=HUGE))),
    ("call_op_name", lambda queues, it: queues.query_items(it.queue_id, _by(call_op_name=HUGE))),
    ("annotator_id", lambda queues, it: queues.query_items(it.queue_id, ItemQuery(annotator_id=HUGE))),
    ("cursor", lambda queues, it: queues.query_items(it.queue_id, ItemQuery(cursor=HUGE))),
]


def _by(**fields: Any) -> ItemQuery:  # noqa: ANN401 - what must be refused
    return ItemQuery(filter=ItemFilter(**fields))


@pytest.mark.slow
def test_text_of_100_mib_is_refused_by_name_wherever_text_is_taken(queues: AnnotationQueues, scene: Scene) -> None:
    before = plain(all_of(queues))
    for field, call in TAKES_TEXT:
        with pytest.raises(InvalidValue) as refused:
            call(queues, scene)
        assert refused.value.field == field
        assert len(str(refused.value)) < 300
    assert plain(all_of(queues)) == before


@pytest.mark.parametrize(
    "field",
    [
        *(
            "id; DROP TABLE items",
            '"x"',
            "x",
            "'x'",
            "id ",
            "ID",
            "",
            "*",
            "1",
            "rowid",
            "payload",
            "id--",
            "i\0d",
            "id,name",
        )
    ],
)
def test_no_text_but_the_names_of_fields_sorts(queues: AnnotationQueues, scene: Scene, field: str) -> None:
    before = plain(all_of(queues))
    for call in (
        lambda: queues.query_items(scene.queue_id, ItemQuery(sort_by=[SortBy(field)])),
        lambda: queues.query(QueueQuery(sort_by=[SortBy(field)])),
        lambda: SortBy("id", f"asc; {field}"),
    ):
        with pytest.raises(InvalidQuery):
            call()
    assert plain(all_of(queues)) == before
    assert field not in SORT_FIELDS | QUEUE_SORT_FIELDS


def test_odd_names_are_stored_and_found_as_they_are_and_nothing_else_is(queues: AnnotationQueues, scene: Scene) -> None:
    for name in ODD_NAMES:
        queues.create(name, created_by=name, description=name, scorer_refs=[name])
        news = [
            NewItem(call_id=name, call_op_name=name, call_trace_id=name, display_fields=[name], payload={name: name})
        ]
        queues.add_items(scene.queue_id, news, added_by=name)
    for name in ODD_NAMES:
        folded = [each for each in [*ODD_NAMES, "queue"] if _folded(name) in _folded(each)]
        found = [queue.name for queue in queues.query(QueueQuery(name=name)).queues]
        assert sorted(found) == sorted(folded)
        for query in (_by(call_id=name), _by(call_op_name=name), _by(call_trace_id=name), _by(added_by=name)):
            assert [item.call_id for item in queues.query_items(scene.queue_id, query).items] == [name]
        (item,) = queues.query_items(scene.queue_id, _by(call_id=name)).items
        queues.update_progress(item.id, name, COMPLETED, annotation={name: name}, reason=name)
        (progress,) = queues.progress(item.id)
        assert (progress.annotator_id, progress.annotation, progress.reason) == (name, {name: name}, name)
        assert item.payload == {name: name}
        own = ItemQuery(annotator_id=name, filter=ItemFilter(annotation_states={COMPLETED}))
        assert [each.call_id for each in queues.query_items(scene.queue_id, own).items] == [name]
    assert set(queues.stats([scene.queue_id])[0].by_annotator) == {*ODD_NAMES, "bob", "hal"}


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def mutated(cursor: str, dice: random.Random) -> str:
    """Change a cursor somewhere."""
    letters = string.ascii_letters + string.digits + "-_"
    place, other = dice.randrange(len(cursor)), dice.randrange(len(cursor))
    start, end = sorted((place, other))
    changes: list[Callable[[], str]] = [
        lambda: cursor[:place] + dice.choice(letters + "=+/. \0é") + cursor[place + 1 :],
        lambda: cursor[:start] + cursor[end:],
        lambda: cursor[:start] + cursor[start:end][::-1] + cursor[end:],
        lambda: cursor[:place] + dice.choice(letters) + cursor[place:],
        lambda: cursor + dice.choice(letters + "="),
        lambda: cursor[end:] + cursor[:end],
        cursor.swapcase,
        lambda: "".join(dice.choices(letters, k=len(cursor))),
    ]
    return dice.choice(changes)()


@pytest.mark.slow
def test_10000_mutated_cursors_are_refused_and_write_nothing(queues: AnnotationQueues, scene: Scene) -> None:
    queues.create("second", created_by="ann")
    dice = random.Random(19)  # noqa: S311 - mutations, not a secret
    before = plain(all_of(queues))
    by_items = queues.query_items(scene.queue_id, ItemQuery(limit=1)).next_cursor
    by_queues = queues.query(QueueQuery(limit=1)).next_cursor
    assert by_items is not None
    assert by_queues is not None
    asks: list[Callable[[str], object]] = [
        lambda bad: queues.query(QueueQuery(cursor=bad)),
        lambda bad: queues.query_items(scene.queue_id, ItemQuery(cursor=bad)),
    ]
    for number in range(10_000):
        cursor = mutated(by_items if number % 2 else by_queues, dice)
        if cursor in {by_items, by_queues}:
            continue
        with pytest.raises(InvalidCursor) as refused:
            asks[number % 2](cursor)
        assert refused.value.field == "cursor"
    assert plain(all_of(queues)) == before


@pytest.mark.parametrize("micros", [-(2**63), -62_135_596_800_000_001, 253_402_300_800_000_000, 2**63 - 1])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_a_forged_cursor_with_a_time_that_nothing_can_have_is_refused(
    queues: AnnotationQueues, scene: Scene, micros: int, direction: str
) -> None:
    names = [["call_ended_at", direction], ["id", "asc"]]
    cursor = encode_cursor([micros, "id"], ("items", "project", scene.queue_id, None, names))
    with pytest.raises(InvalidCursor):
        queues.query_items(scene.queue_id, ItemQuery(sort_by=[SortBy("call_ended_at", direction)], cursor=cursor))
    fitting = encode_cursor([0, "id"], ("items", "project", scene.queue_id, None, names))
    page = queues.query_items(scene.queue_id, ItemQuery(sort_by=[SortBy("call_ended_at", direction)], cursor=fitting))
    assert len(page.items) == 3
