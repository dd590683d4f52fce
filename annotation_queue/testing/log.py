"""What the model reads of a queue's log: labels, changes and the pace, by brute force."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from statistics import median
from typing import TYPE_CHECKING, cast

from annotation_queue.changes import ChangePage, Throughput
from annotation_queue.errors import InvalidCursor
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.states import Progress, Transition

if TYPE_CHECKING:
    from annotation_queue.testing.tables import Row, Tables


def labels(tables: Tables, queue: Row, query: LabelQuery) -> LabelPage:
    """Read a page of labels; the place of each is how long the log was when its progress had last changed."""
    bound = ("labels", queue["id"], query.annotator_id, query.states, query.newest_first)
    found = sorted(
        (
            (tables.places[item["id"], who], item, own)
            for item in tables.live_items(queue)
            for who, own in tables.progresses[item["id"]].items()
            if own["state"] in query.states
            and query.annotator_id in {None, who}
            and tables.matches(queue, tables.seen(item, None), query.filter)
        ),
        key=lambda each: each[0],
        reverse=query.newest_first,
    )
    if query.cursor is not None:
        last = _marked(tables, "cursor", query.cursor, bound)
        found = [each for each in found if (each[0] < last if query.newest_first else each[0] > last)]
    shown = found if query.limit is None else found[: query.limit]
    return LabelPage(
        labels=tuple(
            Label(
                item=tables.show(item if query.include_payload else {**item, "payload": None}, None),
                progress=Progress(**own),
            )
            for _, item, own in shown
        ),
        next_cursor=_mark(tables, bound, shown[-1][0]) if shown and len(shown) < len(found) else None,
    )


def changes(tables: Tables, queue: Row, after: str | None, limit: int) -> ChangePage:
    """Read a page of the log; a cursor stands for how much of it was shown."""
    bound = ("changes", queue["id"])
    start = 0 if after is None else _marked(tables, "after", after, bound)
    left = [(place, each) for place, each in enumerate(tables.logs.get(queue["id"], []), 1) if place > start and each]
    shown = left[:limit]
    end = shown[-1][0] if shown else start
    return ChangePage(transitions=tuple(each for _, each in shown), cursor=_mark(tables, bound, end))


def throughput(tables: Tables, queue: Row, window: timedelta, at: datetime) -> Throughput:
    """Count what was settled within the window, and say how long the rest takes at that rate."""
    began: dict[tuple[str, str], datetime] = {}
    settled: list[tuple[Transition, datetime | None]] = []
    for each in filter(None, tables.logs.get(queue["id"], [])):
        key = each.item_id, each.annotator_id
        if each.to_state == "in_progress":
            began[key] = each.at
        settles = each.to_state in {"completed", "skipped"} and each.to_state != each.from_state
        if settles and at - each.at < window:
            settled.append((each, began.get(key)))
    seconds = [
        (each.at - start).total_seconds()
        for each, start in settled
        if start is not None and each.to_state == "completed"
    ]
    left = sum(not tables.is_finished(queue, item) for item in tables.live_items(queue))
    eta = None
    if settled:
        microseconds = Fraction(
            window // timedelta(microseconds=1) * left * queue["annotations_per_item"], len(settled)
        )
        eta = timedelta(microseconds=round(microseconds))
    return Throughput(
        settled=len(settled),
        by_annotator=dict(sorted(Counter(each.annotator_id for each, _ in settled).items())),
        per_hour=len(settled) / (window / timedelta(hours=1)),
        median_seconds=median(seconds) if seconds else None,
        left=left,
        eta=eta,
    )


def _mark(tables: Tables, bound: object, place: int) -> str:
    cursor = f"cursor {len(tables.cursors)}"
    tables.cursors[cursor] = (bound, place)
    return cursor


def _marked(tables: Tables, argument: str, cursor: str, bound: object) -> int:
    made_for, place = tables.cursors.get(cursor, (None, 0))
    if made_for != bound:
        raise InvalidCursor(argument, "a foreign one", "one of this query")
    return cast("int", place)
