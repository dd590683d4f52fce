"""How far annotators agree: shares in percent, Cohen's and Fleiss' kappa, Krippendorff's alpha (extra ``agreement``)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations, permutations
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from annotation_queue.entities import Entity
from annotation_queue.json_values import JsonValue
from annotation_queue.labels import LabelQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import COMPLETED
from annotation_queue.tables import html_table
from annotation_queue.values import check_id, refuse

__all__ = [
    "MOST_CATEGORIES",
    "Agreement",
    "Level",
    "PairAgreement",
    "agreement",
    "agreement_of",
    "category",
    "value_at",
]

Level: TypeAlias = Literal["nominal", "ordinal", "interval", "ratio"]
"""The level of measurement: what a difference between two labels means."""

MOST_CATEGORIES: Final = 1_000
"""From so many distinct labels on they are no categories."""


@attrs.frozen(kw_only=True)
class PairAgreement(Entity):
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
class Agreement(Entity):
    """How far annotators agree on the items that all of them labelled.

    Args:
        annotators: Their ids, sorted.
        items: How many items all of them labelled.
        partly: How many items only some of them labelled; they count for the pairs alone.
        agreed: On how many of ``items`` all labels are the same.
        categories: Every label that was given, as JSON text, with its count; the most frequent first, then by text.
        kappa: Cohen's kappa of two annotators, Fleiss' of more; None where it is undefined, as for `PairAgreement`.
        alpha: Krippendorff's alpha over every item that two or more of them labelled, so that labels may be missing; None
            where it is undefined, as for `PairAgreement`.
        pairs: Every two annotators, in the order of their ids.
        differing: Ids of the items on which two annotators or more differ, in the order in which they were given.
    """

    annotators: tuple[str, ...]
    items: int
    partly: int
    agreed: int
    categories: Mapping[str, int]
    kappa: float | None
    alpha: float | None
    pairs: tuple[PairAgreement, ...]
    differing: tuple[str, ...]

    @property
    def share(self) -> float | None:
        """The share of the items on which all agree, from 0 to 1; None without items."""
        return self.agreed / self.items if self.items else None

    def _repr_html_(self) -> str:
        """Show it in a notebook: everybody's agreement, then that of every two."""
        rows: list[tuple[object, ...]] = [("all", self.items, self.agreed, self.share, self.kappa, self.alpha)]
        rows += [
            (" and ".join(pair.annotators), pair.items, pair.agreed, pair.share, pair.kappa, None)
            for pair in self.pairs
        ]
        return html_table("agreement", ["", "items", "agreed", "share", "kappa", "alpha"], rows)


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


def agreement_of(
    queues: AnnotationQueues, queue_id: str, *, field: str | None = None, level: Level = "nominal"
) -> Agreement:
    """Compare the labels of everybody who completed an item of a queue.

    Args:
        queues: The queues.
        queue_id: The queue.
        field: The field of a label to compare; ``a.b`` is ``b`` within ``a``, and a label without it is passed over. None for
            the whole label.
        level: The level of measurement, for `Agreement.alpha`.

    Returns:
        How far they agree. It reads every label once, and keeps in memory what is compared of each.

    Raises:
        QueueNotFound: There is no such live queue in the project.
        InvalidValue: As for `agreement`.
        ModuleNotFoundError: The extra ``agreement`` is not installed.
    """
    by_item: dict[str, dict[str, JsonValue]] = {}
    query = LabelQuery(states=frozenset({COMPLETED}), include_payload=False)
    for label in queues.iter_labels(queue_id, query):
        value = value_at(label.progress.annotation, field)
        if value is not None:
            by_item.setdefault(label.progress.item_id, {})[label.progress.annotator_id] = value
    return agreement({who for given in by_item.values() for who in given}, by_item.items(), level=level)


def value_at(label: Any, field: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Find in a label what is compared.

    Args:
        label: Any JSON value.
        field: A name, or names joined by dots; None for the label itself.

    Returns:
        What stands there; None if nothing does.

    >>> value_at({"a": {"b": 1}}, "a.b"), value_at("good", None), value_at("good", "a")
    (1, 'good', None)
    """
    for name in () if field is None else field.split("."):
        label = label.get(name) if isinstance(label, dict) else None
    return label


def agreement(
    annotators: Iterable[str],
    labels: Iterable[tuple[str, Mapping[str, JsonValue]]],
    *,
    level: Level = "nominal",
) -> Agreement:
    """Compare the labels of annotators.

    Args:
        annotators: Whose labels, two or more.
        labels: For each item its id, and the labels by annotator id; those of other annotators are passed over. It is read
            once; the memory grows with the distinct labels, and with the items only by their ids where labels differ.
        level: The level of measurement, for `Agreement.alpha`: all but ``nominal`` take numbers only.

    Returns:
        How far they agree.

    Raises:
        InvalidValue: There are fewer than two annotators, a label is no category or, above ``nominal``, no number, or there are
            more than 1,000 distinct ones.
        ModuleNotFoundError: The extra ``agreement`` is not installed.

    >>> found = agreement(["ann", "bob"], [("1", {"ann": "a", "bob": "a"}), ("2", {"ann": "a", "bob": "b"})])
    >>> found.share, found.kappa, found.alpha, found.differing
    (0.5, 0.0, 0.0, ('2',))
    """
    if level not in get_args(Level):
        raise refuse("level", level, f"one of {', '.join(get_args(Level))}")
    who = sorted({check_id("annotators", each) for each in annotators})
    if len(who) < 2:  # noqa: PLR2004 - one agrees with nobody
        raise refuse("annotators", who, "two or more different annotators")
    tables: dict[tuple[str, str], Counter[tuple[str, str]]] = {pair: Counter() for pair in combinations(who, 2)}
    rows: Counter[tuple[str, ...]] = Counter()
    categories: Counter[str] = Counter()
    units: Counter[tuple[str, ...]] = Counter()
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
        units[tuple(sorted(chosen.values()))] += 1
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
        alpha=_alpha(units, level),
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


def _alpha(units: Counter[tuple[str, ...]], level: Level) -> float | None:
    """Krippendorff's alpha of units: the categories that one was given, by how many units were given just these.

    The library `krippendorff` gives the same, and the tests compare with it; but it keeps a square of all categories for each
    unit, which for a few hundred categories is more than a machine has. Here equal units are counted once; memory grows with
    the square of the categories alone.
    """
    values = {name: json.loads(name) for given in units for name in given}
    if level != "nominal":
        for value in values.values():
            if isinstance(value, str | bool):
                raise refuse("labels", value, f"numbers, for the level {level}")
    compared = {given: n for given, n in units.items() if len(given) > 1}
    names = sorted({name for given in compared for name in given}, key=lambda name: _sort_key(values[name]))
    if len(names) <= 1:
        return None
    import numpy as np  # noqa: PLC0415 - optional, and slow to import

    places = {name: place for place, name in enumerate(names)}
    observed = np.zeros((len(names), len(names)))
    for given, n in compared.items():
        for one, other in permutations(given, 2):
            observed[places[one], places[other]] += n / (len(given) - 1)
    totals = observed.sum(axis=0)
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    distances = _distances(
        level, np.array([0.0 if level == "nominal" else values[name] for name in names], dtype=float), totals
    )
    return float(1 - (observed * distances).sum() / (expected * distances).sum())


def _distances(level: Level, values: Any, totals: Any) -> Any:  # noqa: ANN401 - numpy's arrays
    """Say how far each two categories are apart, squared, as Krippendorff defines it for each level."""
    import numpy as np  # noqa: PLC0415 - optional, and slow to import

    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "ordinal":
        # As many labels lie between two ranks, with half of those at either end.
        ranks = np.cumsum(totals) - totals / 2
        return np.subtract.outer(ranks, ranks) ** 2
    differences = np.subtract.outer(values, values)
    if level == "interval":
        return differences**2
    sums = np.add.outer(values, values)
    return np.divide(differences, sums, out=np.zeros_like(sums), where=sums != 0) ** 2


def _sort_key(value: str | float) -> tuple[int, float, str]:
    # Numbers in their order; what comes between them and text matters to no level that takes both.
    return (2, 0.0, value) if isinstance(value, str) else (int(isinstance(value, bool)), float(value), "")


def _inter_rater() -> Any:  # noqa: ANN401 - statsmodels has no types
    from statsmodels.stats import inter_rater  # noqa: PLC0415 - optional, and slow to import

    return inter_rater
