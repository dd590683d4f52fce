"""How far annotators agree over categorical labels: shares in percent, Cohen's and Fleiss' kappa (extra ``agreement``)."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.values import check_id, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from annotation_queue.json_values import JsonValue

MOST_CATEGORIES: Final = 1_000
"""From so many distinct labels on they are no categories."""


@attrs.frozen(kw_only=True)
class PairAgreement:
    """How far two annotators agree on the items that both labelled.

    Args:
        annotators: The two, by id.
        items: How many items both labelled.
        agreed: On how many of them their labels are the same.
        kappa: Cohen's kappa; None where it is undefined: without items, or where there is but one label in all.
    """

    annotators: tuple[str, str]
    items: int
    agreed: int
    kappa: float | None

    @property
    def share(self) -> float | None:
        """The share of the items on which they agree, from 0 to 1; None without items."""
        return self.agreed / self.items if self.items else None


@attrs.frozen(kw_only=True)
class Agreement:
    """How far annotators agree on the items that all of them labelled.

    Args:
        annotators: Their ids, sorted.
        items: How many items all of them labelled.
        partly: How many items only some of them labelled; they count for the pairs alone.
        agreed: On how many of ``items`` all labels are the same.
        categories: Every label that was given, as JSON text, with its count; the most frequent first, then by text.
        kappa: Cohen's kappa of two annotators, Fleiss' of more; None where it is undefined, as for `PairAgreement`.
        pairs: Every two annotators, in the order of their ids.
        differing: Ids of the items on which two annotators or more differ, in the order in which they were given.
    """

    annotators: tuple[str, ...]
    items: int
    partly: int
    agreed: int
    categories: Mapping[str, int]
    kappa: float | None
    pairs: tuple[PairAgreement, ...]
    differing: tuple[str, ...]

    @property
    def share(self) -> float | None:
        """The share of the items on which all agree, from 0 to 1; None without items."""
        return self.agreed / self.items if self.items else None


def category(label: JsonValue) -> str:
    """Write a label as a category: labels are the same where their categories are equal.

    Args:
        label: Text, a number or a boolean.

    Returns:
        Its JSON text, in which 2.0 is 2.

    Raises:
        InvalidValue: It is an object, an array or null.

    >>> category("good"), category(2.0), category(True)
    ('"good"', '2', 'true')
    """
    if not isinstance(label, str | int | float):
        raise refuse("label", label, "text, a number or a boolean")
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return json.dumps(label, ensure_ascii=False)


def agreement(annotators: Iterable[str], labels: Iterable[tuple[str, Mapping[str, JsonValue]]]) -> Agreement:
    """Compare the labels of annotators.

    Args:
        annotators: Whose labels, two or more.
        labels: For each item its id, and the labels by annotator id; those of other annotators are passed over. It is read
            once; the memory grows with the distinct labels, and with the items only by their ids where labels differ.

    Returns:
        How far they agree.

    Raises:
        InvalidValue: There are fewer than two annotators, a label is no category, or there are more than 1,000 distinct ones.
        ModuleNotFoundError: The extra ``agreement`` is not installed.

    >>> found = agreement(["ann", "bob"], [("1", {"ann": "a", "bob": "a"}), ("2", {"ann": "a", "bob": "b"})])
    >>> found.share, found.kappa, found.differing
    (0.5, 0.0, ('2',))
    """
    who = sorted({check_id("annotators", each) for each in annotators})
    if len(who) < 2:  # noqa: PLR2004 - one agrees with nobody
        raise refuse("annotators", who, "two or more different annotators")
    tables: dict[tuple[str, str], Counter[tuple[str, str]]] = {pair: Counter() for pair in combinations(who, 2)}
    rows: Counter[tuple[str, ...]] = Counter()
    categories: Counter[str] = Counter()
    partly = 0
    differing: list[str] = []
    for item_id, given in labels:
        chosen = {each: category(given[each]) for each in who if each in given}
        categories.update(chosen.values())
        if len(categories) > MOST_CATEGORIES:
            expected = f"at most {MOST_CATEGORIES:,} distinct labels"
            raise refuse("labels", len(categories), expected)
        for pair in combinations(chosen, 2):
            tables[pair][chosen[pair[0]], chosen[pair[1]]] += 1
        if len(chosen) == len(who):
            rows[tuple(sorted(chosen.values()))] += 1
        elif chosen:
            partly += 1
        if len(set(chosen.values())) > 1:
            differing.append(item_id)
    pairs = tuple(_pair(pair, table) for pair, table in tables.items())
    two = pairs[0] if len(pairs) == 1 else None
    return Agreement(
        annotators=tuple(who),
        items=rows.total(),
        partly=partly,
        agreed=sum(count for row, count in rows.items() if row[0] == row[-1]),
        categories=dict(sorted(categories.items(), key=lambda entry: (-entry[1], entry[0]))),
        kappa=two.kappa if two else _fleiss(rows),
        pairs=pairs,
        differing=tuple(differing),
    )


def _pair(annotators: tuple[str, str], table: Counter[tuple[str, str]]) -> PairAgreement:
    names = sorted({name for pair in table for name in pair})
    kappa = None
    if len(names) > 1:
        counts = [[table[first, second] for second in names] for first in names]
        kappa = float(_inter_rater().cohens_kappa(counts, return_results=False))
    agreed = sum(count for (first, second), count in table.items() if first == second)
    return PairAgreement(annotators=annotators, items=table.total(), agreed=agreed, kappa=kappa)


def _fleiss(rows: Counter[tuple[str, ...]]) -> float | None:
    names = sorted({name for row in rows for name in row})
    if len(names) <= 1:
        return None
    import numpy as np  # noqa: PLC0415 - optional, and slow to import

    # One row for each item; the same ones are counted once and repeated.
    kinds = np.array([[row.count(name) for name in names] for row in rows])
    return float(_inter_rater().fleiss_kappa(np.repeat(kinds, list(rows.values()), axis=0)))


def _inter_rater() -> Any:  # noqa: ANN401 - statsmodels has no types
    from statsmodels.stats import inter_rater  # noqa: PLC0415 - optional, and slow to import

    return inter_rater
