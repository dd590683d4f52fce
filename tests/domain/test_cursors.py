"""Cursors that were changed or forged are refused, whatever repository is asked."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from annotation_queue import AnnotationQueue, InvalidCursor, ItemQuery
from annotation_queue.cursors import decode_cursor, encode_cursor, seal
from annotation_queue.testing.contracts.cursors import FORGED
from helpers.faults import FAST

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUEUE = AnnotationQueue(id="q", project_id="p", name="Triage", created_at=NOON, created_by="ann", updated_at=NOON)
BINDING = ("items", "p", "q", None, [["priority", "desc"], ["created_at", "asc"], ["id", "asc"]])
CURSOR = encode_cursor([0, 1_767_268_800_000_000, "id-000001"], BINDING)
LETTERS = string.ascii_letters + string.digits + "-_"


@settings(max_examples=200 if FAST else 3_000)
@given(
    place=st.integers(0, len(CURSOR)),
    cut=st.integers(0, 8),
    patch=st.text(st.sampled_from(LETTERS), max_size=8) | st.text(max_size=8),
)
def test_no_mutated_cursor_is_read(place: int, cut: int, patch: str) -> None:
    assert ItemQuery(cursor=CURSOR).after(QUEUE) == (0, 1_767_268_800_000_000, "id-000001")
    changed = CURSOR[:place] + patch + CURSOR[place + cut :]
    assume(changed != CURSOR)
    with pytest.raises(InvalidCursor):
        decode_cursor(changed, BINDING)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0, 0],
        [0, 0, "id", 0],
        ["0", 0, "id"],
        [0, "0", "id"],
        [0, 0, 0],
        [0, 0, None],
        [None, 0, "id"],
        [True, 0, "id"],
        [2**63, 0, "id"],
        [0, -(2**63) - 1, "id"],
        [0, 0, "a\0"],
        [0, 0, "\ud800"],
    ],
    ids=repr,
)
def test_a_forged_cursor_whose_values_no_item_can_have_is_refused(values: list[int | str | None]) -> None:
    with pytest.raises(InvalidCursor):
        ItemQuery(cursor=encode_cursor(values, BINDING)).after(QUEUE)


@pytest.mark.parametrize("body", FORGED.values(), ids=FORGED)
def test_a_forged_cursor_that_carries_no_sort_values_is_refused_in_few_words(body: bytes) -> None:
    with pytest.raises(InvalidCursor) as refused:
        ItemQuery(cursor=seal(body, BINDING)).after(QUEUE)
    assert refused.value.field == "cursor"
    assert len(str(refused.value)) < 300


@given(body=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_bytes_a_forged_cursor_carries_it_is_read_or_refused(body: bytes) -> None:
    try:
        values = ItemQuery(cursor=seal(body, BINDING)).after(QUEUE)
    except InvalidCursor:
        return
    assert values == tuple(json.loads(body))
