"""Values that defy whoever looks at them: each is taken as what it is or refused as any other, with a message about it."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    InvalidValue,
    ItemFilter,
    ItemQuery,
    MemoryRepository,
    NewItem,
    SortBy,
)
from annotation_queue.json_values import copy_json, dump_json, load_json
from annotation_queue.values import describe
from helpers import hostile

if TYPE_CHECKING:
    from collections.abc import Callable


class Place:
    """A queue with an item and a claim, and every way by which a value gets in."""

    def __init__(self) -> None:
        self.queues = AnnotationQueues(MemoryRepository(), "project")
        self.queue_id = self.queues.create("queue", created_by="ann").id
        self.queues.add_items(self.queue_id, [NewItem(call_id="call")], added_by="ann")
        (self.claim,) = self.queues.claim_batch(self.queue_id, "bob", 1)


ENTRIES: dict[str, Callable[[Place, Any], object]] = {
    "a label": lambda place, value: place.queues.complete(place.claim, value),
    "a label among others": lambda place, value: place.queues.complete_batch([(place.claim, {"a": [value]})]),
    "a label without a claim": lambda place, value: place.queues.update_progress(
        place.claim.item.id, "carol", AnnotationState.COMPLETED, annotation=value
    ),
    "a reason": lambda place, value: place.queues.skip(place.claim, value),
    "a payload": lambda _place, value: NewItem(call_id="c", payload=value),
    "within a payload": lambda _place, value: NewItem(call_id="c", payload={"a": value}),
    "display fields": lambda _place, value: NewItem(call_id="c", display_fields=value),
    "a call id": lambda _place, value: NewItem(call_id=value),
    "a priority": lambda _place, value: NewItem(call_id="c", priority=value),
    "a time": lambda _place, value: NewItem(call_id="c", call_started_at=value),
    "a name": lambda place, value: place.queues.create(value, created_by="ann"),
    "a policy": lambda place, value: place.queues.create("q", created_by="ann", skip_policy=value),
    "an annotator": lambda place, value: place.queues.claim(place.queue_id, value),
    "a number of claims": lambda place, value: place.queues.claim_batch(place.queue_id, "bob", value),
    "a lease": lambda place, value: place.queues.claim(place.queue_id, "bob", lease=value),
    "a claim": lambda place, value: place.queues.complete(value),
    "whether to resume": lambda place, value: place.queues.claim(place.queue_id, "bob", resume=value),
    "whether it is paused": lambda place, value: place.queues.update(place.queue_id, is_paused=value),
    "whether it is finished": lambda _place, value: ItemFilter(finished=value),
    "a time of a filter": lambda _place, value: ItemFilter(updated_from=value),
    "a patch": lambda place, value: place.queues.update_items(place.queue_id, [], value),
    "a new priority": lambda place, value: place.queues.reprioritise(place.queue_id, {"item": value}),
    "an assignee": lambda _place, value: NewItem(call_id="c", assignees=[value]),
    "a limit": lambda _place, value: ItemQuery(limit=value),
    "a cursor": lambda _place, value: ItemQuery(cursor=value),
    "a filter": lambda _place, value: ItemFilter(call_id=value),
    "states": lambda _place, value: ItemFilter(annotation_states={value} if type(value) is str else [value]),
    "a sort field": lambda _place, value: SortBy(value),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_value_that_compares_as_an_array_does_is_refused_as_any_other(entry: str) -> None:
    with pytest.raises(InvalidValue, match="int 1" if entry in {"display fields", "a filter"} else "Array"):
        ENTRIES[entry](Place(), hostile.Array())


values = st.builds(
    hostile.ValueRecipe,
    base=st.sampled_from([object, hostile.Array, dict, list, str, int, float]),
    looks=st.dictionaries(
        st.sampled_from(hostile.VALUE_LOOKS), st.sampled_from(sorted(hostile.MISDEEDS)), min_size=1, max_size=3
    ),
)


@given(entry=st.sampled_from(sorted(set(ENTRIES) - {"display fields"})), recipe=values)
def test_a_hostile_value_is_taken_or_refused_and_nothing_else_gets_out(entry: str, recipe: hostile.ValueRecipe) -> None:
    place = Place()
    with suppress(InvalidValue):
        ENTRIES[entry](place, recipe.make())
    for progress in place.queues.progress(place.claim.item.id):
        dump_json("annotation", progress.annotation)


BASES = (object, dict, list, str, int, float)


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - {"display fields"}))
def test_every_way_in_takes_or_refuses_a_value_whatever_one_of_its_methods_does(entry: str) -> None:
    for base, look, misdeed in itertools.product(BASES, hostile.VALUE_LOOKS, hostile.MISDEEDS):
        place = Place()
        with suppress(InvalidValue):
            ENTRIES[entry](place, hostile.ValueRecipe(base=base, looks={look: misdeed}).make())
        for progress in place.queues.progress(place.claim.item.id):
            dump_json("annotation", progress.annotation)


@given(recipe=values)
def test_any_value_can_be_described(recipe: hostile.ValueRecipe) -> None:
    assert describe(recipe.make())


@given(recipe=values)
def test_a_copy_is_made_of_plain_values(recipe: hostile.ValueRecipe) -> None:
    try:
        copy = copy_json("label", {"a": [recipe.make()]})
    except InvalidValue:
        return
    assert copy == load_json(dump_json("label", copy))
    assert type(copy["a"][0]) in {dict, list, str, int, float}
