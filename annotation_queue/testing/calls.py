"""Every call of the service, made of small arguments that a random generator can choose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from annotation_queue.docstrings import shown_whole
from annotation_queue.items import ItemPatch, NewItem
from annotation_queue.json_values import JsonValue
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState, SkipPolicy
from annotation_queue.testing.arguments import CALL_IDS, RIGHT
from annotation_queue.testing.claim_calls import ClaimCalls
from annotation_queue.testing.comparison import PROJECTS, Interrupted, Walk
from annotation_queue.testing.examples import FILTERS, QUEUE_SORTS, SCHEMAS, SHAPES, SORTS

_CHANGES: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "the limit": {"limit": 3},
    "the filter": {"filter": FILTERS[2]},
    "the order": {"sort_by": SORTS[5]},
    "the perspective": {"annotator_id": "a stranger"},
    "the states": {"states": frozenset({"skipped"})},
    "the direction": {"newest_first": True},
}
"""What is asked otherwise when a walk goes on."""

_MADE_BY_THE_SERVICE: Final = frozenset({"id", "project_id", "created_at", "updated_at", "deleted_at"})


@shown_whole
class Calls(ClaimCalls):
    """A bench whose calls choose ids, claims and cursors by index. Each method raises what `ask` raises."""

    # Queues

    def create(
        self, project: str, name: str, needed: int, policy: SkipPolicy, lease: timedelta, *, id_is_taken: bool
    ) -> None:
        """Make a queue, or try to with an id that is taken."""
        self.ids.begin_call()
        if id_is_taken and self.tables.queues:
            self.ids.taken = next(iter(self.tables.queues))
        self.ask(
            lambda service: service.create(
                name,
                created_by="ann",
                description=name,
                scorer_refs=(name,),
                annotations_per_item=needed,
                skip_policy=policy,
                lease=lease,
            ),
            project,
        )

    def create_again(self, queue: int, aim: str, changed: str) -> None:
        """Make a queue under an id that is given: one that is there, maybe with other fields, or a new one."""
        project, queue_id = self._queue(queue, aim)
        self.ids.begin_call()
        row = self.tables.queues.get(queue_id, {"name": "x", "created_by": "ann"})
        given = {key: value for key, value in row.items() if key not in _MADE_BY_THE_SERVICE}
        if changed == "the name":
            given["name"] = "another"
        if changed == "the schema":
            given["label_schema"] = SCHEMAS[-1]
        if changed == "the id":
            queue_id = f"given {len(self.tables.queues)}"
        self.ask(lambda service: service.create(queue_id=queue_id, **given), project)

    def get_or_create(self, project: str, name: str, needed: int) -> None:
        """Find the queue of a name, or make it."""
        self.ids.begin_call()
        self.ask(lambda service: service.get_or_create(name, created_by="ann", annotations_per_item=needed), project)

    def prescribe(self, queue: int, aim: str, schema: dict[str, Any] | None) -> None:
        """Give a queue a schema of labels, or take it away."""
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.update(queue_id, label_schema=schema), project)

    def query(
        self, project: str, name: str | None, sort_by: tuple[SortBy, ...], limit: int | None, offset: int
    ) -> None:
        """Read a page of queues."""
        query = QueueQuery(name=name, sort_by=sort_by, limit=limit, offset=offset)
        self.ask(lambda service: service.query(query), project)
        self._remember(project, None, query)

    def update(self, queue: int, aim: str, name: str | None, needed: int | None, policy: SkipPolicy | None) -> None:
        """Change a queue, or nothing."""
        given = {"name": name, "annotations_per_item": needed, "skip_policy": policy}
        if name is not None:
            given["scorer_refs"] = [name]  # type: ignore[assignment]  # any iterable is accepted
        changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.update(queue_id, **changes), project)

    def delete(self, queue: int, aim: str) -> None:
        """Delete a queue."""
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.delete(queue_id), project)

    def look(self, what: str, queue: int, item: int, aim: str) -> None:
        """Read something plainly."""
        project, queue_id = self._queue(queue, aim)
        if what == "queue":
            self.ask(lambda service: service.get(queue_id), project)
        elif what == "statistics":
            self.ask(lambda service: service.stats([*[*self.tables.queues][:1], queue_id, queue_id]), project)
        elif what == "items":
            self.ask(lambda service: service.query_items(queue_id), project)
        elif what == "changes":
            self.ask(lambda service: service.changes(queue_id), project)
        else:
            project, item_id = self._item(item, aim)
            if what == "item":
                self.ask(lambda service: service.get_item(item_id), project)
            elif what == "progress":
                self.ask(lambda service: service.progress(item_id), project)
            else:
                self.ask(lambda service: service.history(item_id), project)

    # Items

    def add_items(self, queue: int, aim: str, *, first: int, count: int, shape: int, added_by: str, end: str) -> None:
        """Add items out of a one-shot generator, the last a repetition, ending well or not."""
        project, queue_id = self._queue(queue, aim)
        self.ids.begin_call()
        known = [*self.tables.items, *self.tables.removed]
        if end == "a taken id" and known:
            self.ids.taken = known[first % len(known)]

        def generate() -> Iterator[NewItem]:
            for number in (*range(count), *range(min(count, 1))):
                call_id = CALL_IDS[(first + number) % len(CALL_IDS)]
                yield NewItem(call_id=call_id, **SHAPES[(shape + number) % len(SHAPES)])
            if end == "an interruption":
                raise Interrupted

        self.ask(lambda service: service.add_items(queue_id, generate(), added_by=added_by), project)

    def get_item(
        self, item: int, aim: str, queue: int | None, annotator: str | None, *, include_position: bool
    ) -> None:
        """Read an item in a view."""
        project, item_id = self._item(item, aim)
        queue_id = None if queue is None else self._queue(queue, RIGHT)[1]
        self.ask(
            lambda service: service.get_item(
                item_id, queue_id=queue_id, annotator_id=annotator, include_position=include_position
            ),
            project,
        )

    def query_items(
        self,
        queue: int,
        aim: str,
        *,
        item_filter: ItemFilter,
        item: int | None,
        sort_by: tuple[SortBy, ...],
        limit: int | None,
        offset: int,
        annotator: str | None,
        include_position: bool,
        include_total: bool,
        include_payload: bool,
        by_walking: bool,
    ) -> None:
        """Read a page of items, or walk over it."""
        project, queue_id = self._queue(queue, aim)
        if item is not None:
            item_filter = attrs.evolve(item_filter, id=self._item(item, RIGHT)[1])
        query = ItemQuery(
            filter=item_filter,
            sort_by=sort_by,
            limit=limit,
            offset=offset,
            include_position=include_position,
            include_total=include_total,
            annotator_id=annotator,
            include_payload=include_payload,
        )
        if by_walking:
            # As if every payload were large.
            walked = attrs.evolve(query, max_bytes=1)
            self.ask(lambda service: tuple(service.iter_items(queue_id, walked)), project)
        else:
            self.ask(lambda service: service.query_items(queue_id, query), project)
            self._remember(project, queue_id, query)

    def go_on(self, walk: int, changed: str) -> None:
        """Use a cursor, once more maybe, for the same query or for one that is changed."""
        if not self.walks:
            return
        chosen = self.walks[walk % len(self.walks)]
        project = PROJECTS[chosen.project == PROJECTS[0]] if changed == "the project" else chosen.project
        spoil = "A" if changed == "the cursor" else ""
        cursors = {name: f"{cursor}{spoil}" for name, cursor in chosen.cursors.items()}
        queue_id = chosen.queue_id
        if chosen.query is None:
            self._follow_on(project, chosen, cursors, changed)
            return
        known = attrs.fields_dict(type(chosen.query))
        changes = {field: value for field, value in _CHANGES.get(changed, {}).items() if field in known}
        if changed == "the order" and isinstance(chosen.query, QueueQuery):
            changes = {"sort_by": QUEUE_SORTS[3]}
        if "offset" in known:
            changes["offset"] = 0
        queries: dict[str, Any] = {
            name: attrs.evolve(chosen.query, **{"cursor": cursor, **changes}) for name, cursor in cursors.items()
        }
        read = "labels" if isinstance(chosen.query, LabelQuery) else "query_items"
        if queue_id is None:
            self.ask_sides(lambda side: side.services(project, "standard").query(queries[side.name]))
        else:
            self.ask_sides(lambda side: getattr(side.services(project, "standard"), read)(queue_id, queries[side.name]))
        self._remember(project, queue_id, queries[self.sides[0].name])

    def _follow_on(self, project: str, walk: Walk, cursors: Mapping[str, str], changed: str) -> None:
        """Read the changes after a cursor."""
        queue_id, limit = walk.queue_id or "", 3 if changed == "the limit" else 2
        if changed == "the order":
            queue_id = self._queue(len(self.tables.queues), RIGHT)[1]
        self.ask_sides(
            lambda side: side.services(project, "standard").changes(queue_id, after=cursors[side.name], limit=limit)
        )
        self._remember(project, queue_id, None)

    def remove_items(self, queue: int, aim: str, *, item: int, count: int, item_filter: ItemFilter | None) -> None:
        """Delete items: some that are, maybe, not in the queue, one twice, and one that never was; or by a filter."""
        project, queue_id = self._queue(queue, aim)
        which = self._which(item, count, item_filter)
        self.ask(lambda service: service.remove_items(queue_id, which), project)

    def update_items(
        self, queue: int, aim: str, *, item: int, count: int, item_filter: ItemFilter | None, patch: dict[str, Any]
    ) -> None:
        """Change items, chosen as by `remove_items`."""
        project, queue_id = self._queue(queue, aim)
        which = self._which(item, count, item_filter)
        self.ask(lambda service: service.update_items(queue_id, which, ItemPatch(**patch)), project)

    def reprioritise(self, queue: int, aim: str, *, item: int, count: int, first: int, step: int) -> None:
        """Give items priorities, each its own, and one that never was."""
        project, queue_id = self._queue(queue, aim)
        item_ids = [self._item(item + number, RIGHT)[1] for number in range(count)]
        priorities = {item_id: first + step * number for number, item_id in enumerate((*item_ids, "missing"))}
        self.ask(lambda service: service.reprioritise(queue_id, priorities), project)

    def _which(self, item: int, count: int, item_filter: ItemFilter | None) -> tuple[str, ...] | ItemFilter:
        if item_filter is not None:
            return item_filter
        item_ids = [self._item(item + number, RIGHT)[1] for number in range(count)]
        return (*item_ids, item_ids[0], "missing")

    def restore_items(self, queue: int, aim: str, *, item: int, count: int) -> None:
        """Bring items back: the newest removed ones, one that may be there, one twice, and one that never was."""
        project, queue_id = self._queue(queue, aim)
        item_ids = [*[*self.tables.removed][-count:], self._item(item, RIGHT)[1]]
        self.ask(lambda service: service.restore_items(queue_id, (*item_ids, item_ids[0], "missing")), project)

    def restore(self, queue: int, aim: str) -> None:
        """Bring a queue back, deleted or not."""
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.restore(queue_id), project)

    def purge(self, project: str, ago: timedelta) -> None:
        """Erase what was removed some time ago."""
        removed_before = self.clock.now - ago
        self.ask(lambda service: service.purge(removed_before=removed_before), project)

    def pause(self, queue: int, aim: str, *, is_paused: bool) -> None:
        """Pause a queue, or end its pause."""
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.update(queue_id, is_paused=is_paused), project)

    # Progress

    def update_progress(
        self,
        item: int,
        aim: str,
        *,
        queue: int | None,
        annotator: str,
        state: AnnotationState,
        workflow: str,
        annotation: JsonValue,
        reason: str | None,
        actor: str | None = None,
        override: bool = False,
    ) -> None:
        """Move or revise a progress directly; an override is made by somebody."""
        project, item_id = self._item(item, aim)
        queue_id = None if queue is None else self._queue(queue, RIGHT)[1]
        if override and actor is None:
            actor = "a supervisor"
        self.ask(
            lambda service: service.update_progress(
                item_id,
                annotator,
                state,
                queue_id=queue_id,
                annotation=annotation,
                reason=reason,
                actor_id=actor,
                override=override,
            ),
            project,
            workflow,
        )

    def reset(
        self,
        queue: int,
        aim: str,
        *,
        item: int,
        count: int,
        item_filter: ItemFilter | None,
        annotator: str | None,
        actor: str,
        reason: str | None,
    ) -> None:
        """Put progresses back: on items by their ids, one of them twice and one that never was, or by a filter."""
        project, queue_id = self._queue(queue, aim)
        which = self._which(item, count, item_filter)
        self.ask(
            lambda service: service.reset(queue_id, which, actor_id=actor, annotator_id=annotator, reason=reason),
            project,
        )

    # Labels and the log

    def labels(
        self,
        queue: int,
        aim: str,
        *,
        item_filter: ItemFilter,
        annotator: str | None,
        states: Collection[str],
        newest_first: bool,
        limit: int | None,
        include_payload: bool,
        by_walking: bool,
    ) -> None:
        """Read a page of labels, or walk over it."""
        project, queue_id = self._queue(queue, aim)
        query = LabelQuery(
            filter=item_filter,
            annotator_id=annotator,
            states=states,  # type: ignore[arg-type]  # texts stand for states
            newest_first=newest_first,
            limit=limit,
            include_payload=include_payload,
        )
        if by_walking:
            self.ask(lambda service: tuple(service.iter_labels(queue_id, query)), project)
        else:
            self.ask(lambda service: service.labels(queue_id, query), project)
            self._remember(project, queue_id, query)

    def changes(self, queue: int, aim: str, limit: int) -> None:
        """Read the first page of a queue's log."""
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.changes(queue_id, limit=limit), project)
        self._remember(project, queue_id, None)

    def throughput(self, queue: int, aim: str, window: timedelta) -> None:
        """Read how fast a queue is being worked on."""
        project, queue_id = self._queue(queue, aim)
        self.ask(lambda service: service.throughput(queue_id, window=window), project)
