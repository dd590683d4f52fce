"""The query compiler: filters, orders, seeks and positions as SQL, from one table of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from annotation_queue.sorting import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.sorting import Order, SortValue

Fragment: TypeAlias = tuple[str, tuple[object, ...]]
"""SQL text and the values of its placeholders. The text is joined from this module's constants only."""


@attrs.frozen
class Column:
    """How a field is sorted in SQL.

    Args:
        up: An expression whose ascending order is the field's ascending order.
        down: An expression whose ascending order is the field's descending order; empty for text, which cannot be negated.
        needs: The join that the expressions need; empty for none.
        turn: Turns a sort value into a value of ``down``, or of ``up`` if there is no ``down``; None if it is one already.
    """

    up: str
    down: str = ""
    needs: str = ""
    turn: Callable[[Any], Any] | None = None


ITEMS: Final = "JOIN items AS i ON i.num = w.num"
OP: Final = "JOIN op_names AS o ON o.num = w.op"
ADDED_BY: Final = "JOIN texts AS b ON b.num = w.added_by"
ANNOTATOR: Final = "LEFT JOIN texts AS a ON a.num = w.annotator"
OWN: Final = "LEFT JOIN progresses AS p ON p.item = w.num AND p.annotator = ?"

_SHARED: Final = {
    "id": Column("w.id"),
    "call_id": Column("i.call_id", needs=ITEMS),
    "call_started_at": Column("w.call_started_at", "-w.call_started_at", turn=int.__neg__),
    "call_ended_at": Column("i.call_ended_at", "-i.call_ended_at", ITEMS, int.__neg__),
    "call_op_name": Column("o.text", needs=OP),
    "call_trace_id": Column("i.call_trace_id", needs=ITEMS),
    "added_by": Column("b.text", needs=ADDED_BY),
    "created_by": Column("b.text", needs=ADDED_BY),
    "created_at": Column("w.created_at", "-w.created_at", turn=int.__neg__),
    "updated_at": Column("w.updated_at", "-w.updated_at", turn=int.__neg__),
    "priority": Column("~w.priority_down", "w.priority_down", turn=int.__invert__),
}
AGGREGATE: Final = _SHARED | {
    "annotation_state": Column("w.state", "-w.state", turn=int.__neg__),
    "annotator_user_id": Column("a.text", needs=ANNOTATOR),
}
"""The columns of the aggregate view."""
PERSPECTIVE: Final = _SHARED | {
    "annotation_state": Column("coalesce(p.state, 0)", "-coalesce(p.state, 0)", OWN, int.__neg__),
    # In one annotator's view there is only one id, on the items that have one.
    "annotator_user_id": Column("CASE WHEN p.state > 0 THEN '' END", needs=OWN, turn=lambda _: ""),
}
"""The columns of one annotator's view."""
CONSTANT: Final = frozenset({"project_id", "queue_id", "deleted_at"})
"""Fields that are the same for every live item of a queue, so that they sort nothing."""


@attrs.frozen
class Term:
    """One part of an ORDER BY.

    Args:
        field: The field that it sorts by.
        column: Its column.
        text: The expression that is sorted.
        ascending: Whether it is sorted upwards.
        nullable: Whether it may be NULL; NULL comes last.
    """

    field: str
    column: Column
    text: str
    ascending: bool
    nullable: bool

    def value(self, value: SortValue) -> SortValue:
        """Turn a sort value into one that compares with the expression."""
        turned = self.text == self.column.down or not self.column.down
        if value is None or self.column.turn is None or not turned:
            return value
        return self.column.turn(value)  # type: ignore[no-any-return]


def terms_of(order: Order, columns: dict[str, Column]) -> tuple[Term, ...]:
    """Compile an order, without the fields that sort nothing."""
    terms: list[Term] = []
    for by, each in zip(order.sort_by, order.fields, strict=True):
        if by.field in CONSTANT:
            continue
        column = columns[by.field]
        downwards = by.direction is Direction.DESC
        text = column.down if downwards and column.down else column.up
        terms.append(Term(by.field, column, text, text == column.down or not downwards, each.nullable))
    return tuple(terms)


def values_of(order: Order, terms: Sequence[Term], values: Sequence[SortValue]) -> tuple[SortValue, ...]:
    """Pick and turn the sort values of an entity so that they compare with the terms."""
    by_field = {each.name: value for each, value in zip(order.fields, values, strict=True)}
    return tuple(term.value(by_field[term.field]) for term in terms)


def order_by(terms: Sequence[Term]) -> str:
    """Write the ORDER BY of an order."""
    parts = []
    for term in terms:
        direction = "" if term.ascending else " DESC"
        parts.append(f"{term.text}{direction}{' NULLS LAST' if term.nullable else ''}")
    return ", ".join(parts)


def beyond(terms: Sequence[Term], values: Sequence[SortValue], *, after: bool, inclusive: bool = False) -> Fragment:
    """Write the condition that a row comes after, or before, given sort values.

    Args:
        terms: The order.
        values: What to compare with, as `values_of` gives it.
        after: Whether rows after it are wanted, else rows before it.
        inclusive: Whether a row with these very values is wanted too.

    Returns:
        The condition. If the order allows it, that is one comparison of row values, which an index can seek.
    """
    if all(term.ascending and not term.nullable for term in terms):
        row = ", ".join(term.text for term in terms)
        marks = ", ".join("?" for _ in terms)
        sign = (">" if after else "<") + ("=" if inclusive else "")
        return (f"({row}) {sign} ({marks})", tuple(values)) if len(terms) > 1 else (f"{row} {sign} ?", tuple(values))
    condition: Fragment = ("TRUE" if inclusive else "FALSE", ())
    for term, value in zip(reversed(terms), reversed(values), strict=True):
        condition = _or(_strictly(term, value, after=after), _and(_equal(term, value), condition))
    if terms[0].nullable:
        return condition
    # It says no more than the rest, but an index can seek it.
    return _and((f"{terms[0].text} {'>' if after == terms[0].ascending else '<'}= ?", (values[0],)), condition)


def _equal(term: Term, value: SortValue) -> Fragment:
    return (f"{term.text} IS NULL", ()) if value is None else (f"{term.text} = ?", (value,))


def _strictly(term: Term, value: SortValue, *, after: bool) -> Fragment:
    if value is None:
        return ("FALSE", ()) if after else (f"{term.text} IS NOT NULL", ())
    sign = ">" if after == term.ascending else "<"
    if after and term.nullable:
        return f"({term.text} {sign} ? OR {term.text} IS NULL)", (value,)
    return f"{term.text} {sign} ?", (value,)


def _or(first: Fragment, second: Fragment) -> Fragment:
    return f"({first[0]} OR {second[0]})", first[1] + second[1]


def _and(first: Fragment, second: Fragment) -> Fragment:
    return f"({first[0]} AND {second[0]})", first[1] + second[1]
