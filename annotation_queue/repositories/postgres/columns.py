"""How PostgreSQL sorts items: the table from which a query reads what it sorts by, and the expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.repositories.postgres.indexes import IN_ORDER
from annotation_queue.repositories.postgres.texts import KEY_LENGTH
from annotation_queue.repositories.sql.orders import PERSPECTIVE, Column, terms_of

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from annotation_queue.repositories.sql.orders import Fragment, Term
    from annotation_queue.repositories.sql.paths import Index
    from annotation_queue.sorting import Order

_NAMES: Final = {"i": "items", "w": "work", "o": "calls"}
_TABLES: Final = {name: f"{table} AS {name}" for name, table in _NAMES.items()}
"""By their short names: what stays of an item, what annotating changes, and the queue's order."""
_JOINED: Final = "JOIN {0} AS {2} ON {2}.queue = {1}.queue AND {2}.num = {1}.num"
_LOOKED_UP: Final = (
    "JOIN LATERAL (SELECT * FROM {0} AS s WHERE s.queue = {1}.queue AND s.num = {1}.num OFFSET 0) AS {2} ON TRUE"
)
_OWN: Final = "LEFT JOIN progresses AS p ON p.queue = {0}.queue AND p.item = {0}.num AND p.annotator = ?"
_CHANGING: Final = frozenset({"updated_at", "annotation_state", "annotator_user_id"})
"""Fields that stand in ``work`` only."""
_BY_NUM: Final = ".num = "
"""What conditions say that leave the items of some numbers."""
_QUEUE_ORDER: Final = ("priority", "created_at", "id")
_ANNOTATORS: Final = {name: PERSPECTIVE[name] for name in ("annotation_state", "annotator_user_id")}


def _columns(table: str) -> dict[str, Column]:
    priority = f"{'w' if table == 'i' else table}.priority_down"
    return {
        "id": Column(f"{table}.id"),
        "call_id": Column("o.call_id" if table == "o" else "i.call_id"),
        "call_started_at": Column("i.call_started_at"),
        "call_ended_at": Column("i.call_ended_at"),
        "call_op_name": Column("i.call_op_name"),
        "call_trace_id": Column("i.call_trace_id"),
        "added_by": Column("i.added_by"),
        "created_by": Column("i.added_by"),
        "created_at": Column(f"{table}.created_at", f"-{table}.created_at", turn=int.__neg__),
        "updated_at": Column("w.updated_at"),
        "priority": Column(f"~{priority}", priority, turn=int.__invert__),
        "annotation_state": Column("w.state"),
        "annotator_user_id": Column("w.annotator"),
    }


_BY_TABLE: Final = {table: _columns(table) for table in _TABLES}
_TEXTS: Final = frozenset(
    {"id", "call_id", "call_op_name", "call_trace_id", "added_by", "created_by", "annotator_user_id"}
)


def full_text(column: str) -> str:
    """Write the text that a column holds, or of which it holds the key."""
    table = column.partition(".")[0]
    found = f"SELECT l.text FROM long_texts AS l WHERE l.queue = {table}.queue AND l.key = {column}"
    return f"(CASE WHEN length({column}) = {KEY_LENGTH} THEN ({found}) ELSE {column} END)"


@attrs.frozen
class Plan:
    """The table that a query reads, and its sort.

    Args:
        table: The short name of the table that it sorts by.
        terms: The order.
        looked_up: The short name of the table that is looked up for each item in turn if it is needed besides; empty if the
            server may choose. Of tables that it has not looked at yet it believes anything.
    """

    table: str
    terms: tuple[Term, ...]
    looked_up: str = ""

    def select(self, what: str, queue: int, annotator: str | None, conditions: list[Fragment]) -> Fragment:
        """Write a SELECT over the live items of a queue that joins only what it needs.

        Args:
            what: What to select.
            queue: The queue's number.
            annotator: The key of the annotator whose perspective is asked for.
            conditions: Which items are wanted.
        """
        texts = " ".join([what, *(term.text for term in self.terms), *(text for text, _ in conditions)])
        tables = {name for name in _TABLES if f"{name}." in texts} | {self.table}
        own: Fragment = (_OWN.format(self.table), (annotator,)) if "p." in texts else ("", ())
        wanted: list[Fragment] = [(f"{name}.queue = ?", (queue,)) for name in sorted(tables)]
        # Of a table that the server has not looked at yet it believes that any index of live items finds a number as soon as
        # the key does: where one is sought, the condition is written as none of them has it.
        is_live = "i.deleted_at + 0 IS NULL" if _BY_NUM in texts else "i.deleted_at IS NULL"
        wanted += [(is_live, ())] if "i" in tables else []
        wanted += conditions
        where = " AND ".join(text for text, _ in wanted)
        return f"SELECT {what} FROM {self._source(tables)} {own[0]} WHERE {where}", own[1] + tuple(
            v for _, some in wanted for v in some
        )

    def _source(self, tables: AbstractSet[str]) -> str:
        """Write how tables are joined."""
        if len(tables) == 1:
            return _TABLES[self.table]
        first = "o" if "o" in tables else "i"
        source = _TABLES[first]
        for name in sorted(tables - {first}):
            join = _LOOKED_UP if name == self.looked_up else _JOINED
            source = f"{source} {join.format(_NAMES[name], first, name)}"
        return source


def plan_of(order: Order, *, own: bool, one_state: bool, has_long: bool) -> Plan:
    """Decide from which table to read an order.

    Args:
        order: The order.
        own: Whether it is one annotator's view.
        one_state: Whether the items wanted are those in one aggregate state.
        has_long: Whether the queue holds keys of long texts, which do not sort like the texts.

    Returns:
        The plan. The orders that the documentation lists have an index, whole or for the most part, unless the queue holds long
        texts.
    """
    fields = tuple(by.field for by in order.sort_by)
    changing = _CHANGING - _ANNOTATORS.keys() if own else _CHANGING
    in_order = fields == _QUEUE_ORDER
    table = "w" if not changing.isdisjoint(fields) or (one_state and in_order) else "o" if in_order else "i"
    columns = _BY_TABLE[table] | (_ANNOTATORS if own else {})
    if has_long:
        texts = _TEXTS - _ANNOTATORS.keys() if own else _TEXTS
        columns |= {name: attrs.evolve(columns[name], up=full_text(columns[name].up)) for name in texts}
    terms = terms_of(order, columns)
    # Downwards along the index of the negated column, rather than upwards along none.
    return Plan(
        table,
        tuple(
            attrs.evolve(term, text=term.column.down, ascending=False) if term.text.startswith("~") else term
            for term in terms
        ),
    )


def plan_along(index: Index, *, looked_up: str = "") -> Plan:
    """Give the plan that reads the table which has an index, in no order; the arguments are those of `Plan`."""
    return Plan("o" if index is IN_ORDER else "i", (), looked_up)
