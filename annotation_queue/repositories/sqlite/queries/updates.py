"""The order in which items last changed: no index has it, for which every change would have to write two more pages.

It is two orders, merged. Of the log that is read which is not superseded: the last entries of items that changed at the time of
this entry, if it is the greatest time up to there, so that these times never fall along the log. All other items stand in an
index of their own: those that nobody touched, whose last change was no entry of the log, or for which some clock went back.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sqlite.session import Session

TOLD: Final = "log AS l CROSS JOIN work AS w ON w.num = l.item AND w.last_entry = l.num AND w.is_told = 1"
"""The entries of the log that tell when an item last changed, with it."""


class Moment(NamedTuple):
    """A place in this order: when an item last changed, in microseconds, and its id."""

    at: int
    id: str


class Told(NamedTuple):
    """An item whose last change the log tells, by its number."""

    num: int
    key: Moment


def first_later(session: Session, queue: int, micros: int) -> int:
    """Find the number of the first entry up to which there is a time later than this one; one more than all if none is."""
    low, high = 1, session.log_end(queue).entries + 1
    while low < high:
        middle = (low + high) // 2
        found = session.execute(SQL["latest"], (queue, middle)).fetchone()
        # Behind the last one that was not erased, none is left.
        low, high = (middle + 1, high) if found is not None and found[0] <= micros else (low, middle)
    return low


def told(
    session: Session,
    queue: int,
    start: Sequence[int | str] | None,
    ups: Sequence[bool],
    *,
    join: Fragment,
    conditions: Sequence[Fragment],
    at: bool,
    limit: int,
) -> list[Told]:
    """Read items whose last change the log tells.

    Args:
        session: The session.
        queue: The queue's number.
        start: The moment to begin behind, or only its time; None to begin at the first item.
        ups: Whether times and ids ascend.
        join: What is joined to ``work AS w``, with the values of its placeholders.
        conditions: Which items are wanted.
        at: Whether the item at ``start`` is wanted too.
        limit: The greatest number of items to read.

    Returns:
        The items in order. The cost is that of the entries passed, superseded or not, and of the items that changed at the
        same moment as one of them.
    """
    up, id_up = ups
    bounds: list[Fragment] = [("l.queue = ?", (queue,))]
    if start is not None and up:
        bounds.append(("l.num >= ?", (first_later(session, queue, int(start[0]) - 1),)))
    elif start is not None:
        bounds.append(("l.num < ?", (first_later(session, queue, int(start[0])),)))
    where = " AND ".join(text for text, _ in (*bounds, *conditions))
    values = [*join[1], *(value for _, some in (*bounds, *conditions) for value in some)]
    rows = session.execute(
        f"SELECT w.num, l.at, w.id FROM {TOLD} {join[0]} WHERE {where} ORDER BY l.num {'ASC' if up else 'DESC'}", values
    )
    found: list[Told] = []
    for moment, group in groupby((Told(num, Moment(*key)) for num, *key in rows), key=attrgetter("key.at")):
        same = sorted(group, key=attrgetter("key.id"), reverse=not id_up)
        found += same if start is None or moment != start[0] else _behind(same, start, id_up=id_up, at=at)
        if len(found) >= limit:
            break
    return found[:limit]


def _behind(same: Sequence[Told], start: Sequence[int | str], *, id_up: bool, at: bool) -> Iterator[Told]:
    """Leave out what of one moment is not behind the start; without an id that is all of it."""
    if len(start) > 1:
        first = str(start[1])
        for each in same:
            if (at and each.key.id == first) or (each.key.id > first if id_up else each.key.id < first):
                yield each


def count_told(
    session: Session, queue: int, first: Sequence[int | str] | None, end: Sequence[int | str], ups: Sequence[bool]
) -> int:
    """Count items whose last change the log tells.

    Args:
        session: The session.
        queue: The queue's number.
        first: The moment from which on they are counted, itself too; None for the first item.
        end: The moment before which they are counted.
        ups: Whether times and ids ascend.

    Returns:
        How many there are. The cost is that of the entries in between.
    """
    up, id_up = ups
    later, later_id = ">" if up else "<", ">" if id_up else "<"
    sooner, sooner_id = "<" if up else ">", "<" if id_up else ">"
    low, high = (first, end) if up else (end, first)
    least = 1 if low is None else first_later(session, queue, int(low[0]) - 1)
    most = MAX_INTEGER if high is None else first_later(session, queue, int(high[0]))
    conditions: list[Fragment] = [("l.queue = ? AND l.num >= ? AND l.num < ?", (queue, least, most))]
    conditions.append((f"(l.at {sooner} ? OR (l.at = ? AND w.id {sooner_id} ?))", (end[0], *end)))
    if first is not None:
        conditions.append((f"(l.at {later} ? OR (l.at = ? AND w.id {later_id}= ?))", (first[0], *first)))
    where = " AND ".join(text for text, _ in conditions)
    values = [value for _, some in conditions for value in some]
    (n,) = session.execute(f"SELECT count(*) FROM {TOLD} WHERE {where}", values).fetchone()
    return int(n)
