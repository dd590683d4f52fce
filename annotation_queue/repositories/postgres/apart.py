"""Storing changes in a schema that is distributed: one statement for each table, since Citus takes larger ones apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from annotation_queue.repositories.postgres.rows import integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annotation_queue.repositories.postgres.rows import StandingRow
    from annotation_queue.repositories.postgres.session import Session


class _Rest(NamedTuple):
    """The columns of ``rests_distributed``: a queue as it is once it is locked, and the number of the transaction."""

    queue: int
    revision: int | None
    tx: int


class _Locked(NamedTuple):
    """The columns of ``lock_distributed``: an item as it is once it is locked."""

    queue: int
    num: int
    revision: int
    id: str


def store_apart(session: Session, standings: Sequence[StandingRow], values: Mapping[str, Any]) -> int:
    """Do what the statement ``store`` does, inside a write transaction that is rolled back unless all of it was stored.

    Args:
        session: The session.
        standings: What the changes do to their items.
        values: The parameters of ``store``.

    Returns:
        How many items were stored; 0 if one of them, or a queue, is not as it was.
    """
    rests = [_Rest(*row) for row in session.rows("rests_distributed", values)]
    if {(row.queue, row.queue_revision) for row in standings} != {(rest.queue, rest.revision) for rest in rests}:
        return 0
    keys = {"queues": integers(rest.queue for rest in rests), "nums": integers(row.num for row in standings)}
    locked = {_Locked(*row) for row in session.rows("lock_distributed", keys)}
    if not locked.issuperset(_Locked(row.queue, row.num, row.revision, row.id) for row in standings):
        return 0
    given = {**values, "tx": rests[0].tx}
    # Reservations are brought up to date by what changes an item, from its progresses.
    session.rows("write_progresses_distributed", given)
    stored = len(session.rows("change_work_distributed", given))
    session.rows("tell_distributed", given)
    count_apart(session, given)
    return stored


def count_apart(session: Session, values: Mapping[str, Any]) -> None:
    """Do what the statement ``count`` does; ``values`` are its parameters."""
    session.rows("count_distributed", values)
    session.rows("open_distributed", values)


def keep_apart(session: Session, values: Mapping[str, Any]) -> int:
    """Do what the statement ``add_long_texts`` does; ``values`` are its parameters, and the result is its result."""
    session.rows("add_long_texts_distributed", values)
    return len(session.rows("keep_long_texts_distributed", values))
