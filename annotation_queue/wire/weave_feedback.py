"""Weave's feedback, as far as labels need it: what a rater answers is stored, and shown again.

An annotation ``wandb.annotation.NAME`` of a call in a queue is the field ``NAME`` of the annotator's label on that item, or the
whole label where the queue's schema takes no objects. It is a draft until the annotator completes the item, a revision after.

Left out: every other kind of feedback (reactions, notes, scorers, monitors); purging and replacing; feedback without a queue;
ids, display names and digests of the sender's, which nothing here keeps; queries by other things than equality. All but the
display name is refused with 400 rather than passed over.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from annotation_queue.errors import ItemNotFound
from annotation_queue.items import AnnotationQueue, QueueItem
from annotation_queue.json_values import JsonValue
from annotation_queue.labels import Label, LabelQuery
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.schemas import check_label
from annotation_queue.states import COMPLETED, IN_PROGRESS
from annotation_queue.wire.converter import Count, Id, Json, open_message, write
from annotation_queue.wire.weave import Refused

PREFIX: Final = "wandb.annotation."
_IDS: Final = uuid.UUID("6f1b1f0e-8c3f-4b6c-9a55-0b8d4d1f6a10")
_WHERE: Final = ("id", "weave_ref", "queue_id", "feedback_type", "wb_user_id", "annotation_ref")
_NO_JSON: Final = Json(None)
_NOTHING: Final[tuple[object, ...]] = (None, "", "UNSET", [], {})
_ORDERS: Final = (None, "asc", "desc")


@open_message
@attrs.frozen(kw_only=True)
class AnnotationPayload:
    """What a rater answered.

    Args:
        value: Any JSON value.
    """

    value: Json


@attrs.frozen(kw_only=True)
class FeedbackCreateBody:
    """A rater's answer to one question about a call.

    Args:
        project_id: The project of the queue.
        queue_id: The queue that the call was shown in.
        weave_ref: The call, as ``weave:///entity/project/call/id``.
        feedback_type: ``wandb.annotation.`` and the name of the question.
        annotation_ref: The question, as ``weave:///entity/project/object/name:digest``.
        payload: The answer.
        creator: Is accepted and means nothing: an answer is that of whoever the credentials say.
        wb_user_id: Likewise.
        id: Nothing: ids are made here.
        runnable_ref: Nothing: it belongs to other kinds of feedback, as all that follows.
        call_ref: Nothing.
        trigger_ref: Nothing.
        scorer_tags: Nothing.
        scorer_tag_reasons: Nothing.
        scorer_tag_confidences: Nothing.
        scorer_ratings: Nothing.
        scorer_rating_reasons: Nothing.
        scorer_rating_confidences: Nothing.
        scorer_trace_id: Nothing.
        span_agent_name: Nothing.
        span_agent_version: Nothing.
        span_conversation_id: Nothing.
        span_status_code: Nothing, or UNSET.
        span_trace_id: Nothing.
    """

    project_id: Id
    queue_id: Id
    weave_ref: str
    feedback_type: str
    annotation_ref: str
    payload: AnnotationPayload
    creator: str | None = None
    wb_user_id: str | None = None
    # Clients send every field; those that mean nothing for an annotation are empty then.
    id: str | None = None
    runnable_ref: str | None = None
    call_ref: str | None = None
    trigger_ref: str | None = None
    scorer_tags: Json = _NO_JSON
    scorer_tag_reasons: Json = _NO_JSON
    scorer_tag_confidences: Json = _NO_JSON
    scorer_ratings: Json = _NO_JSON
    scorer_rating_reasons: Json = _NO_JSON
    scorer_rating_confidences: Json = _NO_JSON
    scorer_trace_id: str | None = None
    span_agent_name: str | None = None
    span_agent_version: str | None = None
    span_conversation_id: str | None = None
    span_status_code: str | None = None
    span_trace_id: str | None = None


@attrs.frozen(kw_only=True)
class FeedbackCreateRes:
    """The answer is stored.

    Args:
        id: Its id; that of the same question, item and annotator is always the same.
        created_at: When it was stored.
        wb_user_id: Whose it is.
        payload: What was stored.
    """

    id: str
    created_at: datetime
    wb_user_id: str
    payload: AnnotationPayload


@attrs.frozen(kw_only=True)
class FeedbackSortBy:
    """By what feedback is sorted.

    Args:
        field: ``created_at``.
        direction: ``asc`` or ``desc``.
    """

    field: str
    direction: str


@attrs.frozen(kw_only=True)
class FeedbackQueryBody:
    """Which answers to show.

    Args:
        project_id: The project.
        query: ``{"$expr": ...}`` of ``$eq`` and ``$and`` over id, weave_ref, queue_id, feedback_type, wb_user_id and
            annotation_ref, one of which is a weave_ref or a queue_id.
        fields: The fields to show; null for all.
        sort_by: By ``created_at`` or not at all.
        limit: At most so many; null for all.
        offset: Leave out so many first.
    """

    project_id: Id
    query: Json
    fields: tuple[str, ...] | None = None
    sort_by: tuple[FeedbackSortBy, ...] | None = None
    limit: Count | None = None
    offset: Count | None = None


@attrs.frozen(kw_only=True)
class FeedbackQueryRes:
    """Answers.

    Args:
        result: The answers, each an object of the fields asked for.
        total_count: How many there are without the limit and the offset.
    """

    result: tuple[Json, ...]
    total_count: Count


@attrs.frozen(kw_only=True)
class Feedback:
    """An answer, as it is shown."""

    id: str
    project_id: str
    weave_ref: str
    wb_user_id: str
    creator: str | None = None
    created_at: datetime
    feedback_type: str
    payload: AnnotationPayload
    annotation_ref: str | None
    runnable_ref: str | None = None
    call_ref: str | None = None
    trigger_ref: str | None = None
    queue_id: str


_FIRST_EMPTY: Final = [field.name for field in attrs.fields(FeedbackCreateBody)].index("id")


def create(queues: AnnotationQueues, body: FeedbackCreateBody, *, user_id: str) -> FeedbackCreateRes:
    """Store a rater's answer in the label of the item.

    Two answers of one annotator on one item at the same time may overwrite one another: their client sends one by one.

    Args:
        queues: The service.
        body: The request.
        user_id: Whose answer it is.

    Returns:
        The answer.

    Raises:
        Refused: It is no annotation, or its parts do not belong together.
        QueueNotFound: There is no such queue.
        ItemNotFound: The queue does not have the call.
        InvalidLabel: The answer does not satisfy the queue's schema.
        InvalidTransition: The annotator skipped the item.
    """
    name = _name_of(body)
    queue = queues.get(body.queue_id)
    call_id = _call_of(body.project_id, body.weave_ref)
    query = ItemQuery(filter=ItemFilter(call_id=call_id), limit=1, include_payload=False)
    found = queues.query_items(queue.id, query).items
    if not found:
        raise ItemNotFound(body.weave_ref)
    (item,) = found
    own = next((each for each in queues.progress(item.id) if each.annotator_id == user_id), None)
    value: JsonValue = body.payload.value  # type: ignore[assignment]  # as it was parsed
    label = with_answer(None if own is None else own.annotation, name, value, queue.label_schema)
    check_label(
        _optional(queue.label_schema), {name: value} if isinstance(label, dict) and takes_fields(queue) else label
    )
    state = COMPLETED if own is not None and own.state is COMPLETED else IN_PROGRESS
    changed = queues.update_progress(item.id, user_id, state, queue_id=queue.id, annotation=label)
    return FeedbackCreateRes(
        id=_id_of(item, user_id, name), created_at=changed.updated_at, wb_user_id=user_id, payload=body.payload
    )


def takes_fields(queue: AnnotationQueue) -> bool:
    """Tell whether the labels of a queue are objects: by its schema, and without one they are."""
    return _is_of_objects(queue.label_schema)


def _is_of_objects(schema: Mapping[str, JsonValue] | None) -> bool:
    return schema is None or "properties" in schema or schema.get("type", "object") == "object"


def with_answer(label: JsonValue, name: str, value: JsonValue, schema: Mapping[str, JsonValue] | None) -> JsonValue:
    """Put an answer into a label.

    Args:
        label: The label or draft that is there; None for none.
        name: The name of the question.
        value: The answer.
        schema: The queue's schema.

    Returns:
        The label with the field, or the answer itself where the schema takes no objects.

    >>> with_answer({"a": 1}, "b", 2, None), with_answer(None, "b", 2, {"type": "integer"})
    ({'a': 1, 'b': 2}, 2)
    """
    if not _is_of_objects(schema):
        return value
    return (label if isinstance(label, dict) else {}) | {name: value}


def _optional(schema: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    # Of a label that is given field by field, one field is looked at before the others are there.
    return None if schema is None else {key: value for key, value in schema.items() if key != "required"}


def _name_of(body: FeedbackCreateBody) -> str:
    for field in attrs.fields(FeedbackCreateBody)[_FIRST_EMPTY:]:
        if getattr(body, field.name) not in _NOTHING:
            raise Refused(f"{field.name}: expected nothing: it is not stored for an annotation")
    name = body.feedback_type.removeprefix(PREFIX)
    if name == body.feedback_type or not name:
        raise Refused(f"feedback_type: expected {PREFIX} and a name: other feedback is not stored here")
    start = f"weave:///{body.project_id}/object/{name}:"
    if not body.annotation_ref.startswith(start) or body.annotation_ref == start:
        raise Refused(f"annotation_ref: expected {start} and a digest")
    return name


def _call_of(project_id: str, weave_ref: str) -> str:
    start = f"weave:///{project_id}/call/"
    call_id = weave_ref.removeprefix(start)
    if call_id == weave_ref or not call_id:
        raise Refused(f"weave_ref: expected {start} and the id of a call")
    return call_id


def _id_of(item: QueueItem, annotator_id: str, name: str) -> str:
    return str(uuid.uuid5(_IDS, f"{item.id}\0{annotator_id}\0{name}"))


def query(queues: AnnotationQueues, body: FeedbackQueryBody) -> FeedbackQueryRes:
    """Show answers, drafts too. It reads the labels of the queue, or of the call in each queue of the project.

    Args:
        queues: The service.
        body: The request.

    Returns:
        The answer.

    Raises:
        Refused: A query of another kind.
        QueueNotFound: There is no such queue.
    """
    where = _conditions(body.query)
    if not where.keys() & {"weave_ref", "queue_id"}:
        raise Refused("query: expected an $eq of weave_ref or of queue_id")
    orders = [each.direction for each in body.sort_by or () if each.field == "created_at"]
    if len(orders) != len(body.sort_by or ()) or len(orders) > 1 or not set(orders) <= set(_ORDERS):
        raise Refused("sort_by: expected created_at, asc or desc, or nothing")
    chosen = [queues.get(where["queue_id"])] if "queue_id" in where else queues.query(QueueQuery()).queues
    rows = [row for queue in chosen for row in _rows(queues, queue, where)]
    rows.sort(key=lambda row: row.created_at, reverse=orders == ["desc"])
    first = body.offset or 0
    shown = rows[first:] if body.limit is None else rows[first : first + body.limit]
    written = [write(row) for row in shown]
    if body.fields is not None:
        written = [{name: row[name] for name in body.fields if name in row} for row in written]
    return FeedbackQueryRes(result=tuple(written), total_count=Count(len(rows)))


def _rows(queues: AnnotationQueues, queue: AnnotationQueue, where: Mapping[str, str]) -> Iterator[Feedback]:
    call_id = _call_of(queue.project_id, where["weave_ref"]) if "weave_ref" in where else None
    labels = LabelQuery(
        filter=ItemFilter(call_id=call_id),
        annotator_id=where.get("wb_user_id") or None,
        states=frozenset((IN_PROGRESS, COMPLETED)),
        include_payload=False,
    )
    for label in queues.iter_labels(queue.id, labels):
        for name, value in _answers(queue, label):
            row = _row(queue, label, name, value)
            if all(getattr(row, field) == wanted for field, wanted in where.items()):
                yield row


def _answers(queue: AnnotationQueue, label: Label) -> Iterator[tuple[str, JsonValue]]:
    said = label.progress.annotation
    if takes_fields(queue):
        yield from said.items() if isinstance(said, dict) else ()
    elif said is not None:
        yield from ((name, said) for name in list(_refs(queue))[:1])


def _refs(queue: AnnotationQueue) -> dict[str, str]:
    """Give the questions of a queue: name -> reference."""
    start = f"weave:///{queue.project_id}/object/"
    return {ref.removeprefix(start).partition(":")[0]: ref for ref in queue.scorer_refs if ref.startswith(start)}


def _row(queue: AnnotationQueue, label: Label, name: str, value: JsonValue) -> Feedback:
    annotator_id = label.progress.annotator_id
    return Feedback(
        id=_id_of(label.item, annotator_id, name),
        project_id=queue.project_id,
        weave_ref=f"weave:///{queue.project_id}/call/{label.item.call_id}",
        wb_user_id=annotator_id,
        created_at=label.progress.updated_at,
        feedback_type=PREFIX + name,
        payload=AnnotationPayload(value=Json(value)),
        annotation_ref=_refs(queue).get(name),
        queue_id=queue.id,
    )


def _conditions(query: object) -> dict[str, str]:
    """Read a query: ``$eq``, or ``$and`` of some, of a field and a text."""
    match query:
        case {"$expr": {"$and": [*parts]}, **rest} if not rest:
            found = [_equality(part) for part in parts]
        case {"$expr": expression, **rest} if not rest:
            found = [_equality(expression)]
        case _:
            found = []
    names = [name for name, _ in found]
    if not found or len(set(names)) < len(names):
        raise Refused("query: expected an $expr of $eq, or of $and of several about different fields")
    return dict(found)


def _equality(expression: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
    match expression:
        case {"$eq": [{"$getField": str(name)}, {"$literal": str(text)}], **rest} if not rest and name in _WHERE:
            return name, text
    raise Refused(f"query: expected an $eq of a $getField of {', '.join(_WHERE)} and a $literal text")
