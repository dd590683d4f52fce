"""The order in which items last changed: no index has it, for which every change would have to write two more pages.

It is two orders, merged by `by_update`. Of the log that is read which is not superseded: the last entries of items that changed
at the time of this entry, if it is the greatest time up to there, so that these times never fall along the log. Its stretches
count them, so that those without any are passed over. All other items stand in an index of their own: those that nobody
touched, whose last change was no entry of the log, or for which some clock went back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sqlite import stretches as sqlite_stretches
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.repositories.sqlite.stretches import ALL, stretches, sum_of_stretches, whole_stretches
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sqlite.session import Session

TOLD: Final = SQL["told"]
"""The entries of the log that tell when an item last changed, with it."""
_NEAR: Final = 400
"""If fewer entries than this stand between two items of a page on average, all of them are read; else each is ranked alone."""


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
    ranks: Sequence[int] = ALL,
    join: Fragment = ("", ()),
    conditions: Sequence[Fragment] = (),
    at: bool = False,
    last: int | None = None,
    limit: int = MAX_INTEGER,
) -> list[Told]:
    """Read items whose last change the log tells.

    Args:
        session: The session.
        queue: The queue's number.
        start: The moment to begin behind, or only its time; None to begin at the first item.
        ups: Whether times and ids ascend.
        ranks: The ranks of the states that all wanted items are in.
        join: What is joined to ``work AS w``, with the values of its placeholders.
        conditions: Which items are wanted.
        at: Whether the item at ``start`` is wanted too.
        last: The last time that is wanted; None for all.
        limit: The greatest number of items to read.

    Returns:
        The items in order. The cost is that of the entries passed, superseded or not, in stretches that tell of items in these
        states; of one for each 1,024 entries elsewhere; and of the items that changed at the same moment as one that is read.
    """
    up, id_up = ups
    first = None if start is None else int(start[0])
    sooner, later = (first, last) if up else (last, first)
    low = 1 if sooner is None else first_later(session, queue, sooner - 1)
    high = session.log_end(queue).entries + 1 if later is None else first_later(session, queue, later)
    text = f"SELECT w.num, l.at, w.id FROM {TOLD} {join[0]} WHERE l.queue = ? AND l.num >= ? AND l.num < ? "
    text += "".join(f"AND {condition} " for condition, _ in conditions) + f"ORDER BY l.num {'ASC' if up else 'DESC'}"
    values = [value for _, some in conditions for value in some]
    size = sqlite_stretches.SIZE

    def rows(num: int) -> Iterable[tuple[int, int, str]]:
        ends = (queue, max(low, num * size), min(high, (num + 1) * size))
        return session.execute(text, (*join[1], *ends, *values))

    passed = stretches(session, queue, ranks, low, high, up=up)
    found: list[Told] = []
    read = chain.from_iterable(rows(stretch.num) for stretch in passed)
    for moment, group in groupby(
        (Told(num, Moment(micros, item_id)) for num, micros, item_id in read), key=attrgetter("key.at")
    ):
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


def count_told(session: Session, queue: int, low: int, high: int, ranks: Sequence[int] = ALL) -> int:
    """Count items whose last change some entries tell.

    Args:
        session: The session.
        queue: The queue's number.
        low: The number of the first entry.
        high: A number behind that of the last one.
        ranks: The ranks of the states that count.

    Returns:
        How many there are. The cost is that of the entries of one stretch, and one for each stretch.
    """
    if low >= high:
        return 0
    size = sqlite_stretches.SIZE
    first, last = low // size, high // size
    if first == last:
        return _count(session, queue, low, high, ranks)
    before, behind = (_inside(session, queue, num, ranks) for num in (low, high))
    return sum_of_stretches(session, queue, ranks, first, last) - before + behind


def _inside(session: Session, queue: int, num: int, ranks: Sequence[int]) -> int:
    """Count them among the entries before one that are in its stretch, or among the others there if these are fewer."""
    size = sqlite_stretches.SIZE
    stretch = num // size
    is_whole = stretch < whole_stretches(session.log_end(queue).entries)
    if is_whole and 2 * (num % size) > size:
        of_stretch = sum_of_stretches(session, queue, ranks, stretch, stretch + 1)
        return of_stretch - _count(session, queue, num, (stretch + 1) * size, ranks)
    return _count(session, queue, stretch * size, num, ranks)


def _count(session: Session, queue: int, low: int, high: int, ranks: Sequence[int]) -> int:
    """Count them entry by entry."""
    if low >= high:
        return 0
    wanted = "" if len(ranks) == len(ALL) else f"AND w.state IN ({', '.join('?' for _ in ranks)})"
    text = f"SELECT count(*) FROM {TOLD} WHERE l.queue = ? AND l.num >= ? AND l.num < ? {wanted}"
    (n,) = session.execute(text, (queue, low, high, *(ranks if wanted else ()))).fetchone()
    return int(n)


def told_ranks(session: Session, queue: int, moments: Sequence[Moment], ups: Sequence[bool]) -> list[int]:
    """Count for some moments the items before them whose last change the log tells.

    Args:
        session: The session.
        queue: The queue's number.
        moments: The moments, in this order.
        ups: Whether times and ids ascend.

    Returns:
        How many there are before each. The cost is that of the entries between them, or if these are many, for each of
        them that of the entries of one stretch and one for each stretch; and of the items that changed at the same moment.
    """
    if not moments:
        return []
    up, id_up = ups
    ends = sorted((moments[0].at, moments[-1].at))
    low, high = first_later(session, queue, ends[0] - 1), first_later(session, queue, ends[1])
    if len(moments) > 1 and high - low >= _NEAR * len(moments):
        return [told_ranks(session, queue, [moment], ups)[0] for moment in moments]
    end = session.log_end(queue).entries + 1
    before = count_told(session, queue, 1, low) if up else count_told(session, queue, high, end)
    rows = session.execute(
        f"SELECT l.at, w.id FROM {TOLD} WHERE l.queue = ? AND l.num >= ? AND l.num < ? ORDER BY l.num",
        (queue, low, high),
    ).fetchall()
    times = [micros for micros, _ in rows]
    tied: dict[int, list[str]] = {}
    ranks: list[int] = []
    for micros, item_id in moments:
        first, end = bisect_left(times, micros), bisect_right(times, micros)
        if micros not in tied:
            tied[micros] = sorted(other for _, other in rows[first:end])
        ids = tied[micros]
        sooner = bisect_left(ids, item_id) if id_up else len(ids) - bisect_right(ids, item_id)
        ranks.append(before + sooner + (first if up else len(rows) - end))
    return ranks


def boundary(session: Session, queue: int, num: int, *, up: bool) -> int:
    """Find a time that nothing in this stretch or after it, in that direction, comes before; and nothing passed after."""
    size = sqlite_stretches.SIZE
    text, place = ("latest", num * size) if up else ("latest_before", (num + 1) * size)
    (micros,) = session.execute(SQL[text], (queue, place)).fetchone()
    return int(micros)
