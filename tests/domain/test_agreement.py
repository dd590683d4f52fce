"""Agreement between annotators, against numbers that others have published or that are known by hand."""

from __future__ import annotations

from itertools import combinations, count
from typing import TYPE_CHECKING, get_args

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import AnnotationQueues, AnnotationState, InvalidValue, MemoryRepository, NewItem
from annotation_queue.agreement import MOST_CATEGORIES, Level, agreement, agreement_of, category

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from annotation_queue import JsonValue


def numbered(rows: Iterable[Mapping[str, JsonValue]]) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    return zip(map(str, count(1)), rows, strict=False)


def test_cohens_kappa_is_that_of_the_textbook_example() -> None:
    # Two readers of 50 grant proposals, as in the article on Cohen's kappa in Wikipedia: 20 + 15 agree, kappa 0.4.
    rows = [
        {"ann": first, "bob": second}
        for first, second, times in (("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15))
        for _ in range(times)
    ]
    found = agreement(["bob", "ann"], numbered(rows))
    assert found.annotators == ("ann", "bob")
    assert (found.items, found.agreed, found.share) == (50, 35, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.categories == {'"yes"': 55, '"no"': 45}
    assert found.differing == tuple(str(n) for n in range(21, 36))
    (pair,) = found.pairs
    assert (pair.items, pair.agreed, pair.share, pair.kappa) == (50, 35, 0.7, found.kappa)


def test_fleiss_kappa_is_that_of_the_textbook_example() -> None:
    # Fourteen raters, ten subjects, five categories: the example of Fleiss (1971) as in Wikipedia, kappa 0.210.
    table = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    raters = [f"rater-{n:02}" for n in range(14)]
    rows: list[dict[str, JsonValue]] = []
    for line in table:
        given = [number for number, times in enumerate(line, 1) for _ in range(times)]
        rows.append(dict(zip(raters, given, strict=True)))
    found = agreement(raters, numbered(rows))
    assert (found.items, found.agreed) == (10, 1)
    assert found.kappa == pytest.approx(0.210, abs=0.0005)
    assert [pair.annotators for pair in found.pairs] == list(combinations(raters, 2))
    assert found.categories == {"2": 28, "3": 39, "4": 21, "5": 32, "1": 20}
    assert list(found.categories) == ["3", "5", "2", "4", "1"]


def test_an_item_that_only_some_labelled_counts_for_their_pairs_alone() -> None:
    rows = [
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "b": 2},
        {"b": 2, "c": 2, "stranger": 9},
        {"c": 1},
        {"stranger": 1},
    ]
    found = agreement("abc", numbered(rows))
    assert (found.items, found.partly, found.agreed) == (1, 3, 1)
    assert {pair.annotators: (pair.items, pair.agreed) for pair in found.pairs} == {
        ("a", "b"): (2, 1),
        ("a", "c"): (1, 1),
        ("b", "c"): (2, 2),
    }
    assert found.differing == ("2",)
    assert found.categories == {"1": 5, "2": 3}


def test_kappa_is_undefined_where_there_is_but_one_label_or_no_item() -> None:
    always = [{"a": "x", "b": "x", "c": "x"}] * 3
    assert agreement("ab", numbered(always)).kappa is None
    assert agreement("abc", numbered(always)).kappa is None
    nothing = agreement("ab", ())
    assert (nothing.items, nothing.share, nothing.kappa, nothing.pairs[0].share) == (0, None, None, None)


def test_those_who_never_agree_are_below_chance() -> None:
    rows = [{"a": "x", "b": "y"}, {"a": "y", "b": "x"}]
    assert agreement("ab", numbered(rows)).kappa == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(1, 1.0, True), (True, 1, False), ("1", 1, False), (0.5, 0.5, True), (False, 0, False), ("ä", "ä", True)],
)
def test_labels_are_the_same_as_json_values_are(one: JsonValue, other: JsonValue, *, same: bool) -> None:
    assert (category(one) == category(other)) is same


@pytest.mark.parametrize("label", [None, {"label": "x"}, ["x"]])
def test_what_is_no_category_is_refused(label: JsonValue) -> None:
    with pytest.raises(InvalidValue, match="label: expected text, a number or a boolean"):
        agreement("ab", [("1", {"a": "x", "b": label})])


def test_more_labels_than_categories_can_be_are_refused() -> None:
    few = ({"a": n, "b": 0} for n in range(MOST_CATEGORIES))
    assert len(agreement("ab", numbered(few)).categories) == MOST_CATEGORIES
    many = ({"a": n, "b": 0} for n in range(MOST_CATEGORIES + 1))
    with pytest.raises(InvalidValue, match=r"labels: expected at most 1,000 distinct"):
        agreement("ab", numbered(many))


@pytest.mark.parametrize("annotators", [[], ["a"], ["a", "a"]])
def test_one_annotator_agrees_with_nobody(annotators: list[str]) -> None:
    with pytest.raises(InvalidValue, match="two or more different annotators"):
        agreement(annotators, [])


# Four raters and twelve units, with missing labels: the example of Krippendorff, "Computing Krippendorff's
# Alpha-Reliability" (2011), section E.
MISSING = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
RATERS = ("A", "B", "C", "D")


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_krippendorffs_alpha_is_that_of_his_example_with_missing_labels(level: Level, alpha: float) -> None:
    rows: list[dict[str, JsonValue]] = [
        {rater: label for rater, label in zip(RATERS, unit, strict=True) if label is not None}
        for unit in zip(*MISSING, strict=True)
    ]
    found = agreement(RATERS, numbered(rows), level=level)
    assert found.alpha == pytest.approx(alpha, abs=0.0005)
    # That of one and the same table, whatever else was asked for.
    assert found.kappa == agreement(RATERS, numbered(rows)).kappa


numbers = st.sampled_from([1, 2, 2.5, 4, 7])


@given(
    st.lists(st.lists(st.none() | numbers, min_size=4, max_size=4), min_size=2, max_size=12),
    st.sampled_from(get_args(Level)),
)
def test_alpha_is_that_of_the_library_for_any_labels(units: list[list[float | None]], level: Level) -> None:
    rows = [{who: label for who, label in zip(RATERS, unit, strict=True) if label is not None} for unit in units]
    found = agreement(RATERS, numbered(rows), level=level).alpha
    compared = [[np.nan if label is None else label for label in unit] for unit in units if 4 - unit.count(None) > 1]
    if found is None:
        assert len({label for unit in compared for label in unit if not np.isnan(label)}) <= 1
        return
    theirs = krippendorff.alpha(np.array(compared).T, level_of_measurement=level)
    assert found == pytest.approx(theirs, abs=1e-9)


def test_alpha_is_undefined_with_one_label_in_all_or_no_item_that_two_labelled() -> None:
    assert agreement("ab", numbered([{"a": "x", "b": "x"}])).alpha is None
    assert agreement("ab", numbered([{"a": "x"}, {"b": "y"}])).alpha is None


def test_labels_that_are_no_numbers_have_no_distances() -> None:
    rows: list[dict[str, JsonValue]] = [{"a": 1, "b": "x"}]
    assert agreement("ab", numbered(rows)).alpha is not None
    for level in ("ordinal", "interval", "ratio"):
        with pytest.raises(InvalidValue, match=f"labels: expected numbers, for the level {level}, got str 'x'"):
            agreement("ab", numbered(rows), level=level)
    with pytest.raises(InvalidValue, match="level: expected one of nominal, ordinal, interval, ratio"):
        agreement("ab", (), level="cardinal")  # type: ignore[arg-type]


def test_the_agreement_of_a_queue_compares_a_field_of_the_labels_that_stand_now() -> None:
    queues = AnnotationQueues(MemoryRepository(), "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    added = queues.add_items(queue.id, [NewItem(call_id=f"{n}") for n in range(4)], added_by="ann").added
    for item, labels in zip(added, (("x", "x"), ("y", "y"), ("x", "y"), ("x", None)), strict=True):
        for annotator_id, label in zip(("ann", "bob"), labels, strict=True):
            queues.update_progress(item.id, annotator_id, AnnotationState.COMPLETED, annotation={"is": {"of": label}})
    found = agreement_of(queues, queue.id, field="is.of")
    assert (found.annotators, found.items, found.partly, found.agreed) == (("ann", "bob"), 3, 1, 2)
    assert found.differing == (added[2].id,)
    # A correction counts, and what it corrected does not.
    queues.update_progress(added[2].id, "bob", AnnotationState.COMPLETED, annotation={"is": {"of": "x"}})
    assert agreement_of(queues, queue.id, field="is.of").differing == ()
    with pytest.raises(InvalidValue, match="two or more different annotators"):
        agreement_of(queues, queue.id, field="is.not")
