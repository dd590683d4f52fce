"""What the model stores, in plain dictionaries, and the rules it applies to them by brute force."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, TypeAlias

import attrs

from annotation_queue.errors import (
    InvalidCursor,
    InvalidLabel,
    InvalidTransition,
    InvalidValue,
    ItemNotFound,
    QueueNotFound,
)
from annotation_queue.items import QueueItem, QueueStats
from annotation_queue.json_values import JsonValue
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState, SkipPolicy, Transition

Row: TypeAlias = dict[str, Any]

_STANDARD: Final = {
    "unstarted": {"in_progress", "completed", "skipped"},
    "in_progress": {"unstarted", "in_progress", "completed", "skipped"},
    "completed": {"completed"},
    "skipped": {"skipped"},
}
MOVES: Final[dict[str, dict[str, set[str]]]] = {
    "standard": _STANDARD,
    "strict": {**_STANDARD, "unstarted": {"in_progress"}, "completed": set(), "skipped": set()},
    "reopenable": {**_STANDARD, "completed": {"completed", "in_progress"}, "skipped": {"skipped", "in_progress"}},
}
"""By name of the workflow and state before: the states after; the same state stands for drafts and revisions."""

_STATES: Final = ["unstarted", "in_progress", "completed", "skipped"]
_JSON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def is_live(row: Row, project_id: str) -> bool:
    """Tell whether a queue belongs to a project and is not deleted."""
    return row["project_id"] == project_id and row["deleted_at"] is None


@attrs.define
class Tables:
    """What the models of all projects share, and the rules that hold for it.

    Args:
        queues: Every queue's fields by id, deleted ones too.
        items: Every item's fields by id but those of the view, in the order of adding; those removed are not here.
        removed: The fields of the removed items, by id, in the order of removal.
        progresses: By item id and annotator id.
        histories: Transitions by item id, oldest first.
        logs: Transitions by queue id, in the order in which they were made; None for what was erased.
        places: By item id and annotator id, how long the queue's log was when the progress had last changed.
        cursors: What a cursor stands for.
    """

    queues: dict[str, Row] = attrs.field(factory=dict)
    items: dict[str, Row] = attrs.field(factory=dict)
    removed: dict[str, Row] = attrs.field(factory=dict)
    progresses: dict[str, dict[str, Row]] = attrs.field(factory=dict)
    histories: dict[str, list[Transition]] = attrs.field(factory=dict)
    logs: dict[str, list[Transition | None]] = attrs.field(factory=dict)
    places: dict[tuple[str, str], int] = attrs.field(factory=dict)
    cursors: dict[str, tuple[object, Any]] = attrs.field(factory=dict)

    def is_claimable(self, queue: Row, item: Row, annotator_id: str, at: datetime) -> bool:
        """Tell whether an annotator may claim an item at an instant."""
        progresses = self.progresses[item["id"]]
        live = [
            who for who, own in progresses.items() if own["state"] == "in_progress" and own["lease_expires_at"] > at
        ]
        own_state = progresses[annotator_id]["state"] if annotator_id in progresses else "unstarted"
        return (
            not queue["is_paused"]
            and not self.is_for_others(item, annotator_id)
            and not self.is_finished(queue, item)
            and own_state not in {"completed", "skipped"}
            and annotator_id not in live
            and self.annotations(queue, item) + len(live) < queue["annotations_per_item"]
        )

    def is_for_others(self, item: Row, annotator_id: str) -> bool:
        """Tell whether an item is reserved, and not for this annotator."""
        return len(item["assignees"]) > 0 and annotator_id not in item["assignees"]

    def annotations(self, queue: Row, item: Row) -> int:
        """Count what uses up an item's required annotations."""
        counting = {"completed", "skipped"} if queue["skip_policy"] == SkipPolicy.FINAL else {"completed"}
        return sum(own["state"] in counting for own in self.progresses[item["id"]].values())

    def is_finished(self, queue: Row, item: Row) -> bool:
        """Tell whether an item needs nothing more."""
        return bool(self.annotations(queue, item) >= queue["annotations_per_item"])

    def stats(self, queue: Row) -> QueueStats:
        """Count what a queue holds."""
        items = self.live_items(queue)
        by_state = dict.fromkeys(AnnotationState, 0)
        by_annotator: dict[str, dict[AnnotationState, int]] = {}
        settled = finished = 0
        for item in items:
            progresses = self.progresses[item["id"]]
            by_state[self.seen(item, None)["annotation_state"]] += 1
            settled += any(own["state"] in {"completed", "skipped"} for own in progresses.values())
            finished += self.is_finished(queue, item)
            for annotator_id, own in progresses.items():
                if own["state"] != "unstarted":
                    counts = by_annotator.setdefault(annotator_id, {})
                    counts[own["state"]] = counts.get(own["state"], 0) + 1
        return QueueStats(
            queue_id=queue["id"],
            total_items=len(items),
            by_state=by_state,
            settled_items=settled,
            finished_items=finished,
            by_annotator=by_annotator,
        )

    def queue(self, project_id: str, queue_id: str) -> Row:
        """Find a live queue of a project."""
        row = self.queues.get(queue_id)
        if row is None or not is_live(row, project_id):
            raise QueueNotFound(queue_id)
        return row

    def item(self, project_id: str, item_id: str, queue_id: str | None = None) -> Row:
        """Find a live item of a project, in that queue where one is named."""
        if queue_id is not None:
            self.queue(project_id, queue_id)
        row = self.items.get(item_id) or self.removed.get(item_id)
        if row is None or row["project_id"] != project_id or queue_id not in {None, row["queue_id"]}:
            raise ItemNotFound(item_id)
        self.queue(project_id, row["queue_id"])
        if row["deleted_at"] is not None:
            raise ItemNotFound(item_id)
        return row

    def live_items(self, queue: Row) -> list[Row]:
        """List a queue's items in the order of adding."""
        return [row for row in self.items.values() if row["queue_id"] == queue["id"]]

    def in_queue_order(self, queue: Row) -> list[Row]:
        """List a queue's items in the order of claims."""
        return sort_rows(self.live_items(queue), [("priority", False), ("created_at", True)])

    def seen(self, item: Row, annotator_id: str | None) -> Row:
        """Show an item's fields in a view."""
        shown = [
            (own["step"], who, own["state"])
            for who, own in self.progresses[item["id"]].items()
            if own["state"] != "unstarted" and annotator_id in {None, who}
        ]
        _, who, state = max(shown, default=(0, None, AnnotationState.UNSTARTED))
        return {**item, "annotation_state": state, "annotator_user_id": who}

    def matches(self, queue: Row, row: Row, item_filter: ItemFilter) -> bool:
        """Tell whether the fields of an item in a view are what a filter asks for."""
        wanted = attrs.asdict(item_filter, recurse=False)
        states, finished = wanted.pop("annotation_states"), wanted.pop("finished")
        assignee = wanted.pop("assignee")
        first, behind = wanted.pop("updated_from"), wanted.pop("updated_until")
        return (
            all(is_one_of(row[field], value) for field, value in wanted.items())
            and is_one_of(row["annotation_state"], states)
            and (assignee is None or assignee in row["assignees"])
            and finished in {None, self.is_finished(queue, row)}
            and (first is None or first <= row["updated_at"])
            and (behind is None or row["updated_at"] < behind)
        )

    def show(self, item: Row, annotator_id: str | None) -> QueueItem:
        """Show an item in a view."""
        return QueueItem(**self.seen(item, annotator_id))

    def move(
        self,
        item: Row,
        annotator_id: str,
        to_state: AnnotationState,
        workflow: str,
        *,
        at: datetime,
        ends: datetime | None = None,
        annotation: JsonValue = None,
        reason: str | None = None,
        actor_id: str | None = None,
        override: bool = False,
    ) -> None:
        """Move or revise an annotator's progress, and write it into the log; a draft is not written there."""
        clears = override and to_state == "unstarted"
        if clears and annotation is not None:
            raise InvalidValue("annotation", "a label", "none: it is cleared")
        before = self.progresses[item["id"]].get(annotator_id) or untouched(item["id"], annotator_id, at)
        from_state = before["state"]
        is_revision = from_state == to_state
        if is_revision and (clears or not says_more(before, annotation, reason)):
            return
        if not override and to_state not in MOVES[workflow][from_state]:
            raise InvalidTransition(from_state, to_state, workflow)
        label = before["annotation"] if annotation is None else copy.deepcopy(annotation)
        reason = before["reason"] if is_revision and reason is None else reason
        if is_revision and to_state == "in_progress":
            self.progresses[item["id"]][annotator_id] = {**before, "annotation": label, "reason": reason}
            return
        schema = self.queues[item["queue_id"]]["label_schema"]
        if to_state == "completed" and schema is not None and not fits(schema, label):
            raise InvalidLabel("annotation", "another", "one of the schema")
        starts = to_state == "in_progress"
        settles_without_a_claim = to_state in {"completed", "skipped"} and (override or from_state == "unstarted")
        self.log(
            Transition(
                item_id=item["id"],
                annotator_id=annotator_id,
                from_state=from_state,
                to_state=to_state,
                at=at,
                reason=reason,
                annotation=label if to_state == "completed" else None,
                actor_id=actor_id,
            ),
            item,
        )
        self.progresses[item["id"]][annotator_id] = {
            **before,
            "state": to_state,
            "token": before["token"] + (1 if starts or settles_without_a_claim else 0),
            "lease_expires_at": ends if starts else None,
            "annotation": None if clears else label,
            "reason": None if clears else reason,
            "updated_at": at,
            "started_at": at if starts else before["started_at"],
            "step": len(self.histories[item["id"]]),
        }

    def log(self, transition: Transition, item: Row) -> None:
        """Write a transition into the log of its item's queue."""
        log = self.logs.setdefault(item["queue_id"], [])
        log.append(transition)
        self.histories[item["id"]].append(transition)
        self.places[item["id"], transition.annotator_id] = len(log)
        item["updated_at"] = max(item["updated_at"], transition.at)

    def kept(self) -> Tables:
        """Make a copy to `restore` later."""
        return Tables(
            queues={queue_id: {**row} for queue_id, row in self.queues.items()},
            items={item_id: {**row} for item_id, row in self.items.items()},
            removed={**self.removed},
            progresses={
                item_id: {who: {**own} for who, own in progresses.items()}
                for item_id, progresses in self.progresses.items()
            },
            histories={item_id: [*history] for item_id, history in self.histories.items()},
            logs={queue_id: [*log] for queue_id, log in self.logs.items()},
            places={**self.places},
            cursors={**self.cursors},
        )

    def restore(self, before: Tables) -> None:
        """Put everything back to what a copy holds."""
        for name in attrs.fields_dict(Tables):
            setattr(self, name, getattr(before, name))

    def page(
        self,
        matching: list[Row],
        sort: list[tuple[str, bool]],
        query: ItemQuery | QueueQuery,
        scope: tuple[object, ...],
    ) -> tuple[list[Row], str | None]:
        """Cut a page out of what matches; a cursor is a name for the last row shown, as it was then."""
        names = [name for name, _ in sort]
        # No two rows have the same id, so what stands behind it orders nothing.
        complete = sort[: names.index("id") + 1] if "id" in names else [*sort, ("id", True)]
        bound = (scope, complete)
        rows = sort_rows(matching, complete)
        if query.cursor is not None:
            made_for, last = self.cursors.get(query.cursor, (None, {}))
            if made_for != bound:
                raise InvalidCursor("cursor", "a foreign one", "one of this query")
            # The sort is stable, so the mark comes after the row it was made from, if that is still in place.
            marked = sort_rows([*matching, last], complete)
            rows = marked[next(index for index, row in enumerate(marked) if row is last) + 1 :]
        rows = rows[query.offset :]
        shown = rows if query.limit is None else rows[: query.limit]
        if not shown or len(shown) == len(rows):
            return shown, None
        cursor = f"cursor {len(self.cursors)}"
        self.cursors[cursor] = (bound, {name: shown[-1][name] for name, _ in complete})
        return shown, cursor


def untouched(item_id: str, annotator_id: str, at: datetime) -> Row:
    """Make the fields of a progress that nobody has stored yet."""
    return {
        "item_id": item_id,
        "annotator_id": annotator_id,
        "state": AnnotationState.UNSTARTED,
        "token": 0,
        "lease_expires_at": None,
        "annotation": None,
        "reason": None,
        "created_at": at,
        "updated_at": at,
        "started_at": None,
        "step": 0,
    }


def says_more(before: Row, annotation: JsonValue, reason: str | None) -> bool:
    """Tell whether a label or a reason that is given is another one than before; equal is what has the same text as JSON."""
    given, there = (json.dumps(each, sort_keys=True) for each in (annotation, before["annotation"]))
    return (annotation is not None and given != there) or (reason is not None and reason != before["reason"])


def fits(schema: Row, label: JsonValue) -> bool:
    """Tell whether a label satisfies a schema, which may say nothing but the type."""
    is_bool = isinstance(label, bool)
    return isinstance(label, _JSON_TYPES[schema["type"]]) and is_bool is (schema["type"] == "boolean")


def is_one_of(value: object, wanted: object) -> bool:
    """Tell whether a value is the one that is wanted, or one of those that are; None wants nothing."""
    return wanted is None or (value == wanted if isinstance(wanted, str) else value in wanted)  # type: ignore[operator]  # a set


def named(sort_by: Iterable[SortBy]) -> list[tuple[str, bool]]:
    """List fields to sort by, each with whether it ascends."""
    return [(by.field, by.direction == "asc") for by in sort_by]


def sort_rows(rows: list[Row], sort: list[tuple[str, bool]]) -> list[Row]:
    """Sort by one field after the other, the least significant first; each sort keeps the order of what is equal."""
    rows = sorted(rows, key=lambda row: row["id"])
    for name, ascends in reversed(sort):
        present = [row for row in rows if row[name] is not None]
        absent = [row for row in rows if row[name] is None]

        def value(row: Row, name: str = name) -> Any:  # noqa: ANN401 - fields have several types
            return _STATES.index(row[name]) if name == "annotation_state" else row[name]

        rows = sorted(present, key=value, reverse=not ascends) + absent
    return rows


def folded(text: str) -> str:
    """Fold a name for the search that ignores case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
