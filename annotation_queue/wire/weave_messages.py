"""What W&B Weave's nine annotation-queue operations take and answer: the published fields, and no others."""

from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from annotation_queue.sorting import Direction
from annotation_queue.states import AnnotationState
from annotation_queue.wire.converter import Count, Id, open_message

ItemSortField: TypeAlias = Literal[
    "id",
    "project_id",
    "queue_id",
    "call_id",
    "call_started_at",
    "call_ended_at",
    "call_op_name",
    "call_trace_id",
    "added_by",
    "annotation_state",
    "annotator_user_id",
    "created_at",
    "created_by",
    "updated_at",
    "deleted_at",
    "priority",
]
"""By what items sort: `SORT_FIELDS`."""
QueueSortField: TypeAlias = Literal["id", "name", "created_at", "updated_at"]
"""By what queues sort: `QUEUE_SORT_FIELDS`."""


@open_message
@attrs.frozen(kw_only=True)
class ProjectQuery:
    """The query string of the operations that have no body.

    Args:
        project_id: The project.
    """

    project_id: Id


@attrs.frozen(kw_only=True)
class CreateBody:
    """A queue to make.

    Args:
        project_id: The project it shall belong to.
        name: Any text; need not be unique.
        description: Any text.
        scorer_refs: References to what the annotators shall fill in.
        wb_user_id: Is accepted and means nothing: a queue is made by whoever the credentials say.
    """

    project_id: Id
    name: str
    description: str = ""
    scorer_refs: tuple[str, ...]
    wb_user_id: str | None = None


@attrs.frozen(kw_only=True)
class CreateRes:
    """The queue that was made.

    Args:
        id: Its id.
    """

    id: str


@attrs.frozen(kw_only=True)
class QueueSortBy:
    """A field by which queues are sorted.

    Args:
        field: Its name.
        direction: Which way.
    """

    field: QueueSortField
    direction: Direction


@attrs.frozen(kw_only=True)
class QueuesQueryBody:
    """Which queues of a project to show.

    Args:
        project_id: The project.
        name: A part of the name, in upper or lower case; null for any.
        sort_by: The fields, most significant first; without any the newest queue comes first. A field that is named again
            changes nothing. Ties are broken by id.
        limit: At most so many; null for all.
        offset: Leave out so many first.
    """

    project_id: Id
    name: str | None = None
    sort_by: tuple[QueueSortBy, ...] | None = None
    limit: Count | None = None
    offset: Count | None = None


@attrs.frozen(kw_only=True)
class Queue:
    """A queue.

    Args:
        id: Unique everywhere.
        project_id: The project it belongs to.
        name: Its name.
        description: What it is for.
        scorer_refs: References to what the annotators fill in.
        created_at: When it was made.
        created_by: By whom.
        updated_at: When it last changed.
        deleted_at: When it was deleted; null while it lives.
    """

    id: str
    project_id: str
    name: str
    description: str
    scorer_refs: tuple[str, ...]
    created_at: datetime
    created_by: str
    updated_at: datetime
    deleted_at: datetime | None = None


@attrs.frozen(kw_only=True)
class QueueRes:
    """One queue.

    Args:
        queue: The queue.
    """

    queue: Queue


@attrs.frozen(kw_only=True)
class UpdateBody:
    """What to change of a queue; what is null or left out stays.

    Args:
        project_id: The project of the queue.
        name: Its new name.
        description: Its new description.
        scorer_refs: Its new references.
    """

    project_id: Id
    name: str | None = None
    description: str | None = None
    scorer_refs: tuple[str, ...] | None = None


@attrs.frozen(kw_only=True)
class AddCallsBody:
    """Calls to add to a queue.

    Args:
        project_id: The project of the queue.
        call_ids: The calls; those that do not exist are left out.
        display_fields: Names of the fields that an annotator is shown.
    """

    project_id: Id
    call_ids: tuple[Id, ...]
    display_fields: tuple[str, ...]


@attrs.frozen(kw_only=True)
class AddCallsRes:
    """What an addition did.

    Args:
        added_count: How many items are new.
        duplicates: How many calls the queue held already.
    """

    added_count: Count
    duplicates: Count


@open_message
@attrs.frozen(kw_only=True)
class ItemsFilter:
    """Which items to show: those that meet every condition that is not null.

    Args:
        id: The item has this id.
        call_id: It is this call.
        call_op_name: Its operation has this name.
        call_trace_id: It belongs to this trace.
        added_by: This user added it.
        annotation_states: It is in one of these states; an empty list filters nothing.
    """

    id: str | None = None
    call_id: str | None = None
    call_op_name: str | None = None
    call_trace_id: str | None = None
    added_by: str | None = None
    annotation_states: tuple[AnnotationState, ...] | None = None


@attrs.frozen(kw_only=True)
class ItemSortBy:
    """A field by which items are sorted.

    Args:
        field: Its name.
        direction: Which way. Absent values come last in both.
    """

    field: ItemSortField
    direction: Direction


@attrs.frozen(kw_only=True)
class ItemsQueryBody:
    """Which items of a queue to show.

    Args:
        project_id: The project of the queue.
        filter: Which items; null for all.
        sort_by: The fields, most significant first; without any the oldest item comes first. A field that is named again
            changes nothing. Ties are broken by id.
        limit: At most so many; null for all.
        offset: Leave out so many first.
        include_position: Whether to number the items: from 1, in the whole queue under this sort, whatever the filter.
    """

    project_id: Id
    filter: ItemsFilter | None = None
    sort_by: tuple[ItemSortBy, ...] | None = None
    limit: Count | None = None
    offset: Count | None = None
    include_position: bool = False


@attrs.frozen(kw_only=True)
class Item:
    """An item of a queue.

    Args:
        id: Unique everywhere.
        project_id: The project it belongs to.
        queue_id: The queue it waits in.
        call_id: What is to be annotated.
        call_started_at: When the call started.
        call_ended_at: When it ended; null where that is not known.
        call_op_name: Name of its operation.
        call_trace_id: Its trace.
        display_fields: Names of the fields that an annotator is shown.
        added_by: Who added it.
        annotation_state: How far it is: the state of whoever changed theirs last, or of the annotator who asked.
        annotator_user_id: Whose state that is; null for unstarted.
        created_at: When it was added.
        created_by: By whom.
        updated_at: When it, or anybody's state on it, last changed.
        deleted_at: When it was removed; null while it is there.
        position_in_queue: Its place in the whole queue, from 1; null where that was not asked for.
    """

    id: str
    project_id: str
    queue_id: str
    call_id: str
    call_started_at: datetime
    call_ended_at: datetime | None = None
    call_op_name: str
    call_trace_id: str
    display_fields: tuple[str, ...]
    added_by: str | None = None
    annotation_state: AnnotationState
    annotator_user_id: str | None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    deleted_at: datetime | None = None
    position_in_queue: Count | None = None


@attrs.frozen(kw_only=True)
class ItemsQueryRes:
    """Items of a queue.

    Args:
        items: The items, in the order asked for.
    """

    items: tuple[Item, ...]


@attrs.frozen(kw_only=True)
class ProgressBody:
    """Where the annotator's state on an item shall go.

    Args:
        project_id: The project of the queue.
        annotation_state: The new state: in_progress, completed or skipped.
    """

    project_id: Id
    # Published as any text: another state is not a body that does not fit, but a move that is refused.
    annotation_state: str = attrs.field(metadata={"enum": ["in_progress", "completed", "skipped"]})


@attrs.frozen(kw_only=True)
class ProgressRes:
    """The item after the change.

    Args:
        item: The item, with the state of the annotator who asked.
    """

    item: Item


@attrs.frozen(kw_only=True)
class StatsBody:
    """Whose statistics to show.

    Args:
        project_id: The project of the queues.
        queue_ids: The queues; one that is not there has zeros.
    """

    project_id: Id
    queue_ids: tuple[Id, ...]


@attrs.frozen(kw_only=True)
class QueueStats:
    """How far a queue has come.

    Args:
        queue_id: The queue.
        total_items: How many items it has.
        completed_items: How many of them at least one annotator completed or skipped.
    """

    queue_id: str
    total_items: Count
    completed_items: Count


@attrs.frozen(kw_only=True)
class StatsRes:
    """Statistics of queues.

    Args:
        stats: One for each queue, in the order asked for.
    """

    stats: tuple[QueueStats, ...]
