"""Labels in bulk: which ones a page shows, in the order in which their progresses last changed."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue.errors import InvalidCursor, QueueNotFound
from annotation_queue.items import AnnotationQueue, Claim, NewItem
from annotation_queue.labels import LabelQuery, text_of
from annotation_queue.query import ItemFilter
from annotation_queue.repository import ReadsLabelTexts
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.labels import Label, LabelText
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
ALL = frozenset(AnnotationState)


def told(labels: tuple[Label, ...] | list[Label]) -> list[str]:
    """Name labels by call and annotator."""
    return [f"{each.item.call_id} {each.progress.annotator_id}" for each in labels]


def pages(queues: AnnotationQueues, queue_id: str, query: LabelQuery) -> list[Label]:
    """Walk over labels a page at a time."""
    walked: list[Label] = []
    cursor = None
    for _ in range(1_000):
        page = queues.labels(queue_id, attrs.evolve(query, cursor=cursor))
        walked += page.labels
        cursor = page.next_cursor
        if cursor is None:
            return walked
        assert page.labels
    raise AssertionError("the walk does not end")


class LabelsContract(Contract):
    """Labels in bulk: which ones a page shows, in the order in which their progresses last changed."""

    @pytest.fixture
    def labelled(self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock) -> AnnotationQueue:
        """A queue with four items and labels of three annotators; clocks go on, stand still and go back meanwhile."""
        news = [NewItem(call_id=call, payload={"call": call}, call_op_name=call.upper()) for call in "abcd"]
        items = {item.call_id: item.id for item in queues.add_items(shared_queue.id, news, added_by="ann").added}
        for seconds, call, who, state in (
            (1, "c", "bob", COMPLETED),
            (1, "a", "eve", COMPLETED),
            (0, "b", "bob", SKIPPED),
            (-100, "a", "bob", COMPLETED),
            (1, "d", "é", IN_PROGRESS),
            (0, "c", "é", COMPLETED),
            (5, "d", "eve", COMPLETED),
            (1, "d", "é", UNSTARTED),
        ):
            clock.move(seconds)
            queues.update_progress(items[call], who, state, annotation=[call, who], reason=None)
        return shared_queue

    def test_labels_come_in_the_order_in_which_their_progresses_changed_with_their_items(
        self, queues: AnnotationQueues, labelled: AnnotationQueue
    ) -> None:
        page = queues.labels(labelled.id)
        assert told(page.labels) == ["c bob", "a eve", "b bob", "a bob", "c é", "d eve"]
        assert page.next_cursor is None
        for label in page.labels:
            assert label.item == queues.get_item(label.item.id)
            assert label.progress in queues.progress(label.item.id)
            assert label.progress.annotation == [label.item.call_id, label.progress.annotator_id]
        newest = queues.labels(labelled.id, LabelQuery(newest_first=True))
        assert newest.labels == page.labels[::-1]
        assert tuple(queues.iter_labels(labelled.id)) == page.labels

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"annotator_id": "bob"}, "c bob, b bob, a bob"),
            ({"annotator_id": "nobody"}, ""),
            ({"states": {COMPLETED}}, "c bob, a eve, a bob, c é, d eve"),
            ({"states": {"skipped"}}, "b bob"),
            ({"states": {UNSTARTED, IN_PROGRESS}}, "d é"),
            ({"states": set()}, ""),
            ({"states": ALL}, "c bob, a eve, b bob, a bob, c é, d eve, d é"),
            ({"filter": ItemFilter(call_id="a")}, "a eve, a bob"),
            ({"filter": ItemFilter(call_op_name="C"), "annotator_id": "é"}, "c é"),
            ({"filter": ItemFilter(annotation_states={SKIPPED})}, "b bob"),
            ({"filter": ItemFilter(annotation_states={SKIPPED}), "states": {COMPLETED}}, ""),
            ({"limit": 0}, ""),
            ({"limit": 2}, "c bob, a eve"),
            ({"limit": 6}, "c bob, a eve, b bob, a bob, c é, d eve"),
        ],
    )
    def test_a_page_shows_the_labels_that_were_asked_for(
        self, queues: AnnotationQueues, labelled: AnnotationQueue, query: dict[str, object], expected: str
    ) -> None:
        asked = LabelQuery(**query)  # type: ignore[arg-type]  # a table of arguments
        page = queues.labels(labelled.id, asked)
        assert ", ".join(told(page.labels)) == expected
        assert (page.next_cursor is not None) is (asked.limit == 2)
        assert told(list(queues.iter_labels(labelled.id, asked))) == told(page.labels)

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("chosen", [ItemFilter(), ItemFilter(call_id={"a", "c"})], ids=["all", "some"])
    def test_a_page_of_labels_without_payloads_has_all_the_rest(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, chosen: ItemFilter, *, newest_first: bool
    ) -> None:
        news = [NewItem(call_id=call_id, payload={"text": call_id}) for call_id in "abc"]
        for item in queues.add_items(shared_queue.id, news, added_by="ann").added:
            queues.update_progress(item.id, "bob", COMPLETED, annotation=item.call_id)
        query = LabelQuery(filter=chosen, newest_first=newest_first, limit=1, max_bytes=1)
        page = queues.labels(shared_queue.id, query)
        bare = queues.labels(shared_queue.id, attrs.evolve(query, include_payload=False))
        assert [label.item.payload for label in page.labels] == [{"text": "c" if newest_first else "a"}]
        assert bare.labels == tuple(
            attrs.evolve(label, item=attrs.evolve(label.item, payload=None)) for label in page.labels
        )
        # The one goes on where the other stopped.
        on = queues.labels(shared_queue.id, attrs.evolve(query, cursor=bare.next_cursor))
        assert all(label.item.payload for label in on.labels)
        walked = list(queues.iter_labels(shared_queue.id, LabelQuery(filter=chosen, include_payload=False)))
        assert [label.item.payload for label in walked] == [None] * (3 if chosen == ItemFilter() else 2)

    def test_a_revision_moves_a_label_to_the_end_and_a_draft_or_a_heartbeat_moves_none(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock
    ) -> None:
        queues.add_items(shared_queue.id, [NewItem(call_id=call) for call in "ab"], added_by="ann")
        claims = queues.claim_batch(shared_queue.id, "bob", 2)
        every = LabelQuery(states=ALL)
        queues.save_draft(claims[0], "draft")
        queues.heartbeat(claims[0])
        assert told(queues.labels(shared_queue.id, every).labels) == ["a bob", "b bob"]
        for claim in claims:
            queues.complete(claim, 1)
        assert told(queues.labels(shared_queue.id).labels) == ["a bob", "b bob"]
        clock.move(-10)
        queues.complete(claims[0], 2)
        assert told(queues.labels(shared_queue.id).labels) == ["b bob", "a bob"]
        assert [each.progress.annotation for each in queues.iter_labels(shared_queue.id)] == [1, 2]
        queues.complete(claims[1], 1)
        assert told(queues.labels(shared_queue.id).labels) == ["b bob", "a bob"]

    def test_a_label_is_gone_after_a_reset_and_so_are_those_of_a_removed_item(
        self, queues: AnnotationQueues, labelled: AnnotationQueue
    ) -> None:
        items = {item.call_id: item.id for item in queues.iter_items(labelled.id)}
        queues.reset(labelled.id, [items["a"]], actor_id="chief", annotator_id="eve")
        assert told(queues.labels(labelled.id).labels) == ["c bob", "b bob", "a bob", "c é", "d eve"]
        (back,) = [
            each for each in queues.iter_labels(labelled.id, LabelQuery(states={UNSTARTED})) if each.item.call_id == "a"
        ]
        assert (back.progress.annotation, back.progress.state) == (None, UNSTARTED)
        queues.remove_items(labelled.id, [items["c"]])
        assert told(queues.labels(labelled.id).labels) == ["b bob", "a bob", "d eve"]
        # Who adds the call again begins without labels.
        queues.add_items(labelled.id, [NewItem(call_id="c")], added_by="ann")
        assert told(queues.labels(labelled.id, LabelQuery(states=ALL)).labels) == [
            "b bob",
            "a bob",
            "d eve",
            "d é",
            "a eve",
        ]

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
    def test_a_walk_by_cursor_shows_every_label_once_and_in_order(
        self, queues: AnnotationQueues, labelled: AnnotationQueue, limit: int, *, newest_first: bool
    ) -> None:
        whole = queues.labels(labelled.id, LabelQuery(newest_first=newest_first)).labels
        walked = pages(queues, labelled.id, LabelQuery(newest_first=newest_first, limit=limit))
        assert tuple(walked) == whole

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_walk_shows_what_does_not_change_meanwhile_exactly_once_whatever_else_happens(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock, seed: int, *, newest_first: bool
    ) -> None:
        chance = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
        news = [NewItem(call_id=f"{number:02}") for number in range(24)]
        items = [item.id for item in queues.add_items(shared_queue.id, news, added_by="ann").added]
        order = chance.sample(items, len(items))
        for number, item_id in enumerate(order):
            clock.move(chance.choice([0, 1, -1]))
            queues.update_progress(item_id, "bob", COMPLETED, annotation=number)
        quiet = set(chance.sample(items, 12))
        restless = itertools.cycle([item_id for item_id in order if item_id not in quiet])
        walked: list[Label] = []
        cursor = None
        for turn in range(1_000):
            query = LabelQuery(limit=2, newest_first=newest_first, cursor=cursor)
            page = queues.labels(shared_queue.id, query)
            walked += page.labels
            cursor = page.next_cursor
            if cursor is None:
                break
            if turn < 15:
                item_id = next(restless)
                if turn % 5 == 4:
                    queues.remove_items(shared_queue.id, [item_id])
                elif any(item.id == item_id for item in queues.query_items(shared_queue.id).items):
                    queues.update_progress(item_id, "bob", COMPLETED, annotation=f"again {turn}")
                    queues.update_progress(item_id, "eve", COMPLETED)
        shown = [each.item.id for each in walked if each.item.id in quiet]
        assert shown == [item_id for item_id in order[:: -1 if newest_first else 1] if item_id in quiet]
        keys = [(each.item.id, each.progress.annotator_id, each.progress.step) for each in walked]
        assert len(keys) == len(set(keys))

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("max_bytes", [1, 30, 2**63 - 1])
    def test_a_page_of_labels_that_ends_by_its_bytes_has_one_and_goes_on(
        self, queues: AnnotationQueues, labelled: AnnotationQueue, max_bytes: int, *, newest_first: bool
    ) -> None:
        whole = queues.labels(labelled.id, LabelQuery(states=ALL, newest_first=newest_first)).labels
        assert len(whole) > 3
        for limit in (None, 2, len(whole)):
            query = LabelQuery(states=ALL, newest_first=newest_first, max_bytes=max_bytes, limit=limit)
            assert tuple(pages(queues, labelled.id, query)) == whole
        walked = queues.iter_labels(labelled.id, LabelQuery(states=ALL, newest_first=newest_first, max_bytes=max_bytes))
        assert tuple(walked) == whole

    def test_a_cursor_holds_for_its_queue_annotator_states_and_direction_only(
        self, queues: AnnotationQueues, labelled: AnnotationQueue
    ) -> None:
        other = queues.create("other", created_by="ann")
        cursor = queues.labels(labelled.id, LabelQuery(limit=1)).next_cursor
        assert cursor is not None
        for foreign in (
            LabelQuery(cursor=cursor, annotator_id="bob"),
            LabelQuery(cursor=cursor, states={COMPLETED}),
            LabelQuery(cursor=cursor, newest_first=True),
            LabelQuery(cursor=f"{cursor}A"),
            LabelQuery(cursor=cursor[:-1]),
        ):
            with pytest.raises(InvalidCursor):
                queues.labels(labelled.id, foreign)
        with pytest.raises(InvalidCursor):
            queues.labels(other.id, LabelQuery(cursor=cursor))
        items = queues.query_items(labelled.id).items
        assert told(queues.labels(labelled.id, LabelQuery(cursor=cursor)).labels)[0] == "a eve"
        only = LabelQuery(cursor=cursor, filter=ItemFilter(id=items[0].id))
        assert told(queues.labels(labelled.id, only).labels) == ["a eve", "a bob"]

    @pytest.mark.parametrize(
        "query",
        [
            LabelQuery(),
            LabelQuery(states=ALL, newest_first=True, limit=2),
            LabelQuery(states=ALL, max_bytes=1),
            LabelQuery(annotator_id="bob", filter=ItemFilter(call_id={"a", "b"}), limit=1),
            LabelQuery(filter=ItemFilter(call_op_name="C")),
            LabelQuery(filter=ItemFilter(id="unknown")),
            LabelQuery(states=set()),
            LabelQuery(limit=0),
        ],
        ids=["all", "newest first", "by bytes", "of one", "of an operation", "of no item", "of no state", "none"],
    )
    def test_labels_as_texts_are_those_that_are_read_as_entities(
        self, repository: Repository, queues: AnnotationQueues, labelled: AnnotationQueue, query: LabelQuery
    ) -> None:
        if not isinstance(repository, ReadsLabelTexts):
            pytest.skip("the repository does not read labels as texts")
        items = {item.call_id: item.id for item in queues.iter_items(labelled.id)}
        queues.update_progress(items["b"], "bob", SKIPPED, reason='he said "no"\n')
        queues.update_progress(items["a"], "bob", COMPLETED, annotation={"deep": ["\u2028", 1.5, None], "é": {}})
        queues.remove_items(labelled.id, [items["d"]])
        shown: list[LabelText] = []
        wanted: list[Label] = []
        cursor = None
        while True:
            texts = repository.label_texts(queues.project_id, labelled.id, attrs.evolve(query, cursor=cursor))
            # A cursor of either goes on in both.
            same = attrs.evolve(query, cursor=cursor, limit=len(texts.labels), max_bytes=None)
            page = queues.labels(labelled.id, same)
            shown += texts.labels
            wanted += page.labels
            assert len(page.labels) == len(texts.labels)
            if texts.next_cursor is None:
                break
            cursor = page.next_cursor
        assert [*map(text_of, wanted)] == shown
        walked = queues.iter_labels(labelled.id, attrs.evolve(query, limit=None if query.limit else query.limit))
        assert [*map(text_of, walked)] == shown

    def test_what_has_no_labels_has_no_texts_of_them(
        self, repository: Repository, queues: AnnotationQueues, labelled: AnnotationQueue
    ) -> None:
        if not isinstance(repository, ReadsLabelTexts):
            pytest.skip("the repository does not read labels as texts")
        cursor = queues.labels(labelled.id, LabelQuery(limit=1)).next_cursor
        with pytest.raises(InvalidCursor):
            repository.label_texts(queues.project_id, labelled.id, LabelQuery(cursor=cursor, newest_first=True))
        with pytest.raises(QueueNotFound):
            repository.label_texts("elsewhere", labelled.id, LabelQuery())
        queues.delete(labelled.id)
        with pytest.raises(QueueNotFound):
            repository.label_texts(queues.project_id, labelled.id, LabelQuery())

    def test_what_a_claim_labelled_is_read_with_its_token_and_times(
        self, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        started = clock.now
        at = clock.move(60)
        queues.complete(claim, {"deep": [1]})
        (label,) = queues.labels(queue.id).labels
        assert (label.progress.token, label.progress.started_at, label.progress.updated_at) == (1, started, at)
        assert (label.item.annotation_state, label.item.annotator_user_id) == (COMPLETED, "bob")
