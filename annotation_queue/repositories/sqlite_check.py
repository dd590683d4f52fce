"""Recounting what is kept beside what it is derived from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from annotation_queue.errors import AnnotationQueueError
from annotation_queue.records import standing, tally
from annotation_queue.repositories.sql_rows import ALWAYS_MICROS, STATES, micros_or_none, queue_of
from annotation_queue.repositories.sqlite_session import SQL
from annotation_queue.states import UNSTARTED, fold, make_transition
from annotation_queue.values import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.repositories.sqlite_session import Session


def problems(session: Session) -> Iterator[str]:
    """Find what is wrong with a file.

    Args:
        session: A session inside a read snapshot.

    Yields:
        A sentence for each thing that differs from its recount. The cost is linear in all that is stored.
    """
    for (line,) in session.execute(SQL["integrity"]).fetchall():
        if line != "ok":
            yield f"SQLite finds the file damaged: {line}"
    for table, *_ in session.execute(SQL["foreign_keys"]).fetchall():
        yield f"a row of {table} refers to a row that is not there"
    for (num,) in session.execute(SQL["live_without_work"]).fetchall():
        yield f"item number {num} is live and has no row in work, or is deleted and has one"
    for num, revision in session.execute(SQL["all_queues"]).fetchall():
        queue = queue_of(session.execute(SQL["queue_by_num"], (num,)).fetchone())
        yield from _queue_problems(session, (num, revision, queue))


def _queue_problems(session: Session, queue: tuple[int, int, AnnotationQueue]) -> Iterator[str]:
    counted: Counter[tuple[str | None, str]] = Counter()
    earliest = None
    for (num,) in session.execute(SQL["live_nums"], (queue[0],)).fetchall():
        record = session.record_by_num(num, queue)
        derived = standing(record.progresses, queue[2])
        counted.update(tally(derived, record.progresses))
        state, annotator, *counted_so = session.execute(SQL["kept_standing"], (num,)).fetchone()
        kept = (STATES[state], session.text_or_none(annotator), *counted_so)
        claimable_at = micros_or_none(derived.claimable_at)
        if kept != (derived.state, derived.annotator_id, derived.completed, derived.skipped, claimable_at):
            yield f"item {record.item_id!r} keeps a standing that its progresses do not give: {kept}, not {derived}"
        if claimable_at is not None and claimable_at > ALWAYS_MICROS:
            earliest = claimable_at if earliest is None else min(earliest, claimable_at)
        yield from _history_problems(session, num, record.item_id)
    kept_counts = {key: n for key, n in session.counts(queue[0]).items() if n}
    if kept_counts != counted:
        yield f"queue {queue[2].id!r} counts {kept_counts} instead of {dict(counted)}"
    next_expiry = session.execute(SQL["next_expiry"], (queue[0],)).fetchone()
    if earliest is not None and (next_expiry is None or next_expiry[0] > earliest):
        yield f"queue {queue[2].id!r} expects its next expired lease after the lease of one of its items ends"


def _history_problems(session: Session, num: int, item_id: str) -> Iterator[str]:
    rows = session.execute(SQL["transitions"], (num,)).fetchall()
    history = [
        make_transition(item_id, session.text(annotator), STATES[before], STATES[after], from_micros(at), reason)
        for annotator, before, after, at, reason in rows
    ]
    try:
        states = fold(history)
    except (ValueError, AnnotationQueueError) as error:
        yield str(error)
        return
    stored = {progress.annotator_id: progress.state for progress in session.progresses(num, item_id)}
    if {who: state for who, state in states.items() if state is not UNSTARTED} != {
        who: state for who, state in stored.items() if state is not UNSTARTED
    }:
        yield f"the history of item {item_id!r} leads to {states} and its progresses are {stored}"
