"""Stretches: of how many items the last change is told in each part of a log, so that nobody counts them entry by entry.

A stretch is counted once its last entry is there, and from then on loses an item whenever that changes again. The newest one is
not counted: a change of an item that changed a moment ago, as most are, has nothing to keep.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sql.rows import STATES
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from annotation_queue.repositories.sqlite.session import Session

SIZE: Final = 1_024
"""How many entries of a log a stretch has. Its number is that of any of them divided by this."""
ALL: Final = tuple(range(len(STATES)))
"""The ranks of all states."""


class Telling(NamedTuple):
    """An entry that told when an item last changed.

    Args:
        num: Its number.
        rank: The rank of the item's aggregate state at that time.
    """

    num: int
    rank: int


def whole_stretches(entries: int) -> int:
    """Say how many stretches of a log of so many entries are counted: those below that number."""
    return (entries + 1) // SIZE


def count_appended(session: Session, queue: int, entries_before: int, untold: Iterable[Telling]) -> None:
    """Keep the counts of a log that was appended to.

    Args:
        session: The session, inside a write transaction in which the items and the log have changed already.
        queue: The queue's number.
        entries_before: How many entries it had before.
        untold: What told before of the items that changed.

    The cost is that of the stretches of ``untold`` but the newest, and of all entries in those that are whole now: in the long
    run one for each that is appended.
    """
    whole = whole_stretches(entries_before)
    # Mostly there are none.
    counted = [(telling.num // SIZE, telling.rank) for telling in untold if telling.num < whole * SIZE]
    if counted:
        for (num, rank), n in Counter(counted).items():
            session.execute(SQL["take_from_stretch"], (*(n * (rank == each) for each in ALL), queue, num))
    for num in range(whole, whole_stretches(session.log_end(queue).entries)):
        place = {"queue": queue, "num": num, "low": num * SIZE, "high": (num + 1) * SIZE}
        session.execute(SQL["add_stretch"], place)
        session.execute(SQL["count_labels_of_stretch"], {**place, "n": 1})


def count_untold(session: Session, queue: int, nums: str) -> None:
    """Count live items no more whose last change no log will tell. It is called before they change.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        nums: The numbers of the items, as a JSON list.
    """
    session.execute(SQL["take_from_stretches"], {"queue": queue, "nums": nums, "size": SIZE})


def count_labels(session: Session, queue: int, nums: str, *, n: int, entries: int) -> None:
    """Count the labels of some items in whatever stretches they are, or count them no more.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        nums: The numbers of the items, as a JSON list.
        n: 1 when the items have become live or have changed, -1 before they change or are removed.
        entries: How many entries the log had when its stretches were counted last.
    """
    whole = whole_stretches(entries)
    if whole:
        asked = {"queue": queue, "nums": nums, "n": n, "size": SIZE, "whole": whole}
        session.execute(SQL["count_labels_of_items"], asked)


class Stretch(NamedTuple):
    """A stretch of a log.

    Args:
        num: Its number.
        n: How many items it tells of that are in wanted states; None for the newest one, which is not counted.
    """

    num: int
    n: int | None


def stretches(
    session: Session, queue: int, ranks: Sequence[int], low: int, high: int, *, up: bool = True
) -> Iterator[Stretch]:
    """List the stretches of some entries, without those that are known to tell of no items in wanted states.

    Args:
        session: The session.
        queue: The queue's number.
        ranks: The ranks of the wanted states.
        low: The number of the first entry.
        high: A number behind that of the last entry.
        up: Whether to go upwards.

    Yields:
        The stretches in that direction.
    """
    whole = whole_stretches(session.log_end(queue).entries)
    newest = [Stretch(whole, None)] if low < high and whole * SIZE < high else []
    text = (
        f"SELECT num, {_columns(ranks)} FROM counters WHERE queue = ? AND kind = 3 "
        f"AND num >= ? AND num < ? AND item = 0 AND {_columns(ranks)} > 0 ORDER BY num {'ASC' if up else 'DESC'}"
    )
    counted = session.execute(text, (queue, low // SIZE, -(-high // SIZE)))
    parts = [map(Stretch._make, counted), newest]
    return chain.from_iterable(parts if up else reversed(parts))


def sum_of_stretches(session: Session, queue: int, ranks: Sequence[int], first: int, end: int | None = None) -> int:
    """Sum up what the stretches from one on to before another, or to the last that is counted, tell of in some states."""
    most = MAX_INTEGER if end is None else end
    text = (
        f"SELECT coalesce(sum({_columns(ranks)}), 0) FROM counters WHERE queue = ? AND kind = 3 AND num >= ? AND num < ? "
        "AND item = 0"
    )
    (n,) = session.execute(text, (queue, first, most)).fetchone()
    return int(n)


def _columns(ranks: Sequence[int]) -> str:
    return " + ".join(STATES[rank] for rank in ranks)
