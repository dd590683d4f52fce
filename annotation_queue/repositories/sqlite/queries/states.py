"""Items in states that few items are in: what lists them sooner than reading queue order past all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from annotation_queue.counters import live_and_unfinished
from annotation_queue.repositories.sql.orders import Fragment
from annotation_queue.repositories.sql.paths import OrderPath
from annotation_queue.repositories.sql.rows import RANKS, STATES
from annotation_queue.repositories.sqlite.indexes import IN_ORDER
from annotation_queue.repositories.sqlite.queries.scans import Scan
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import COMPLETED, SETTLING, UNSTARTED
from annotation_queue.values import MAX_INTEGER

_SETTLED: Final = frozenset(RANKS[state] for state in SETTLING)
_SORT: Final = 12
"""How many entries of queue order are read in the time that it takes to look one item up by its number and sort it in."""


def in_states(ranks: Sequence[int]) -> Fragment:
    """Write the condition that an item is in one of some states; of settled ones the index of queue order tells."""
    settled = [rank for rank in ranks if rank in _SETTLED]
    others = [rank for rank in ranks if rank not in _SETTLED]
    if len(others) == len(STATES) - len(_SETTLED):
        settled, others = [0, *settled], []
    parts = [f"w.settled_as IN ({', '.join('?' for _ in settled)})"] if settled else []
    parts += [f"w.settled_as = 0 AND w.state IN ({', '.join('?' for _ in others)})"] if others else []
    return f"({' OR '.join(parts)})", (*settled, *others)


class RareStates:
    """The items of a queue in states that few items are in.

    In progress and skipped ones are listed as such. An unstarted one is among the unfinished ones, and a completed one in the
    log: where either is long, the blocks of queue order that have any are read instead.

    Args:
        session: The session.
        queue: The queue's number.
        ranks: The ranks of the states.
    """

    def __init__(self, session: Session, queue: int, ranks: Sequence[int]) -> None:
        self._session = session
        self._queue = queue
        self._ranks = ranks
        counts = ", ".join(["count(*)", *(f"count(nullif({STATES[rank]}, 0))" for rank in ranks)])
        n, *having = session.execute(f"SELECT {counts} FROM counters WHERE queue = ? AND kind = 2", (queue,)).fetchone()
        entries = session.live(queue) / max(1, n)
        self._along: Final[dict[int, float]] = {
            rank: blocks * entries for rank, blocks in zip(ranks, having, strict=True)
        }
        """For each state, how many entries of queue order the blocks have in which any item is in it."""

    def are_found_sooner(self, wanted: int, passed: int) -> bool:
        """Tell whether listing and sorting all of them costs less than reading queue order past the others.

        Args:
            wanted: How many they are.
            passed: How many of them are read along queue order.
        """
        along = sum(self._along[rank] for rank in self._ranks) * passed / max(1, wanted)
        return sum(map(self._apart, self._ranks)) + _SORT * wanted < along

    def nums(self) -> list[int]:
        """List their numbers, each once and in no order. The cost is linear in what is read to find them, whichever is less."""
        session, queue = self._session, self._queue
        apart = [rank for rank in self._ranks if self._apart(rank) <= self._along[rank]]
        found: dict[int, None] = {}
        for rank in apart:
            listed = session.execute(SQL[f"nums_{STATES[rank]}"], {"queue": queue})
            found |= dict.fromkeys(num for (num,) in listed)
        others = [rank for rank in self._ranks if rank not in apart]
        if others:
            counted = " + ".join(STATES[rank] for rank in others)
            scan = Scan(session, queue, ("", ()), (in_states(others),), counted)
            order = OrderPath(IN_ORDER, (), (True,) * len(IN_ORDER.columns))
            found |= dict.fromkeys(scan.nums(order, None, at=True, limit=MAX_INTEGER, offset=0))
        return [*found]

    def _apart(self, rank: int) -> int:
        """Say how many others are passed where items in a state are listed."""
        if rank == RANKS[COMPLETED]:
            return self._session.log_end(self._queue).entries
        if rank == RANKS[UNSTARTED]:
            _live, unfinished = live_and_unfinished(self._session.counts(self._queue))
            return unfinished
        return 0
