"""Queues, items, claims and statistics, and what one decision changes on an item."""

from __future__ import annotations

import copy
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast, final

import attrs
from attrs import NOTHING, field

from annotation_queue.construction import Check, Maybe, altered, nothing, optional, run_checks, trusted
from annotation_queue.entities import Entity
from annotation_queue.errors import InvalidValue
from annotation_queue.json_values import JsonInput, JsonValue, check_texts, copy_json, copy_plain, load_json, write_json
from annotation_queue.schemas import check_schema
from annotation_queue.states import UNSTARTED, AnnotationState, Policies, SkipPolicy, check_state
from annotation_queue.tables import html_table
from annotation_queue.values import (
    check_flag,
    check_id,
    check_integer,
    check_lease,
    check_member,
    check_text,
    check_time,
    is_a,
    refuse,
)

DEFAULT_LEASE: Final = timedelta(minutes=5)


def check_payload(name: str, value: object) -> dict[str, JsonValue] | None:
    """Accept a JSON object or None, and give a copy that nobody else holds.

    Args:
        name: Name of the field, for the error.
        value: What was given.

    Returns:
        The copy.

    Raises:
        InvalidValue: It is something else.
    """
    if value is not None and not is_a(value, dict):
        raise refuse(name, value, "a JSON object or None")
    payload: dict[str, JsonValue] | None = copy_json(name, value)
    return payload


def copy_payload(payload: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    """Copy a payload that the caller may have changed since it was handed out, whatever they put into it."""
    if payload is None:
        return None
    try:
        copied: dict[str, JsonValue] = copy_plain(payload)
    except ValueError:
        return copy.deepcopy(payload)
    return copied


# What is taken; the checks, which know the field, make of it what is kept. Not every framework calls converters.


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return cast("tuple[str, ...]", values)


def _payload(value: Mapping[str, JsonInput] | None) -> dict[str, JsonValue] | None:
    return cast("dict[str, JsonValue] | None", value)


def _maybe_texts(values: Maybe[Iterable[str]]) -> Maybe[tuple[str, ...]]:
    return cast("Maybe[tuple[str, ...]]", values)


def _maybe_payload(value: Maybe[Mapping[str, JsonInput] | None]) -> Maybe[dict[str, JsonValue] | None]:
    return cast("Maybe[dict[str, JsonValue] | None]", value)


def _check_assignees(name: str, values: object) -> tuple[str, ...]:
    given = check_texts(name, values)
    return tuple(sorted({check_id(f"{name}[{index}]", each) for index, each in enumerate(given)}))


@attrs.frozen(kw_only=True)
class AnnotationQueue(Entity):
    """A named list of items to annotate, with its policies.

    Args:
        id: Unique in the whole repository.
        project_id: The tenant it belongs to.
        name: Any text; need not be unique.
        description: Any text.
        scorer_refs: References to what the annotators shall fill in; opaque.
        annotations_per_item: How many annotators must complete an item, at least 1.
        skip_policy: What a skip means for the item.
        lease: How long a claim lasts without a heartbeat.
        label_schema: A JSON Schema, draft 2020-12, that every label has to satisfy when it is completed or corrected; a draft
            need not. None accepts every label. It takes the extra ``schema``.
        is_paused: Whether nobody can claim; what is held can be finished all the same.
        created_at: UTC.
        created_by: User id.
        updated_at: When any of its fields last changed, UTC.
        deleted_at: UTC; None while it lives.
    """

    id: str
    project_id: str
    name: str
    description: str = ""
    scorer_refs: tuple[str, ...] = field(default=(), converter=_texts)
    annotations_per_item: int = 1
    skip_policy: SkipPolicy = SkipPolicy.FINAL
    lease: timedelta = DEFAULT_LEASE
    label_schema: dict[str, JsonValue] | None = None
    is_paused: bool = False
    created_at: datetime
    created_by: str
    updated_at: datetime
    deleted_at: datetime | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _QUEUE_CHECKS)

    @property
    def policies(self) -> Policies:
        """What decides when an item is finished."""
        return Policies(self.annotations_per_item, self.skip_policy)


_QUEUE_CHECKS: Final[dict[str, Check]] = {
    "id": check_id,
    "project_id": check_id,
    "name": check_text,
    "description": check_text,
    "scorer_refs": check_texts,
    "annotations_per_item": partial(check_integer, minimum=1),
    "skip_policy": partial(check_member, members=SkipPolicy),
    "lease": check_lease,
    "label_schema": check_schema,
    "is_paused": check_flag,
    "created_at": check_time,
    "created_by": check_id,
    "updated_at": check_time,
    "deleted_at": optional(check_time),
}


@attrs.frozen(kw_only=True)
class NewItem(Entity):
    """What a caller adds to a queue.

    Args:
        call_id: What is to be annotated; a live queue holds each call once.
        call_started_at: UTC; None stands for the time of adding.
        call_ended_at: UTC.
        call_op_name: Any text.
        call_trace_id: Any text.
        display_fields: Names of the fields that an annotator is shown.
        priority: Greater is served first.
        payload: A JSON object, what a labeler needs to see; it is copied when the item is added.
        assignees: The annotators who may claim it, in any order; empty for anybody.
    """

    call_id: str
    call_started_at: datetime | None = None
    call_ended_at: datetime | None = None
    call_op_name: str = ""
    call_trace_id: str = ""
    display_fields: tuple[str, ...] = field(default=(), converter=_texts)
    priority: int = 0
    payload: dict[str, JsonValue] | None = field(default=None, converter=_payload)
    assignees: tuple[str, ...] = field(default=(), converter=_texts)

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _NEW_ITEM_CHECKS)


_NEW_ITEM_CHECKS: Final[dict[str, Check]] = {
    "call_id": check_id,
    "call_started_at": optional(check_time),
    "call_ended_at": optional(check_time),
    "call_op_name": check_text,
    "call_trace_id": check_text,
    "display_fields": check_texts,
    "priority": check_integer,
    "payload": check_payload,
    "assignees": _check_assignees,
}


@attrs.frozen(kw_only=True)
class QueueItem(Entity):
    """One call that waits in a queue.

    The first 17 fields are those of the published APIs. ``annotation_state``, ``annotator_user_id`` and
    ``position_in_queue`` belong to the view that a call asked for: the aggregate, or one annotator's perspective.

    Args:
        id: Unique in the whole repository.
        project_id: The tenant.
        queue_id: The queue it waits in.
        call_id: What is to be annotated.
        call_started_at: UTC.
        call_ended_at: UTC, or None.
        call_op_name: Any text.
        call_trace_id: Any text.
        display_fields: Names of the fields that an annotator is shown.
        added_by: User id, or None.
        annotation_state: The state in this view.
        annotator_user_id: Whose state that is; None for unstarted.
        created_at: When it was added, UTC.
        created_by: User id.
        updated_at: When the item or the state of any progress on it last changed, UTC.
        deleted_at: UTC; None while it lives.
        position_in_queue: 1-based, in the whole queue under the query's sort; None where it was not asked for.
        priority: Greater is served first.
        payload: A JSON object or None.
        assignees: The annotators who may claim it, sorted, each once; empty for anybody.
    """

    id: str
    project_id: str
    queue_id: str
    call_id: str
    call_started_at: datetime
    call_ended_at: datetime | None = None
    call_op_name: str = ""
    call_trace_id: str = ""
    display_fields: tuple[str, ...] = field(default=(), converter=_texts)
    added_by: str | None = None
    annotation_state: AnnotationState = UNSTARTED
    annotator_user_id: str | None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    deleted_at: datetime | None = None
    position_in_queue: int | None = None
    priority: int = 0
    payload: dict[str, JsonValue] | None = None
    assignees: tuple[str, ...] = field(default=(), converter=_texts)

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _ITEM_CHECKS)


_ITEM_CHECKS: Final[dict[str, Check]] = {
    "id": check_id,
    "project_id": check_id,
    "queue_id": check_id,
    "call_id": check_id,
    "call_started_at": check_time,
    "call_ended_at": optional(check_time),
    "call_op_name": check_text,
    "call_trace_id": check_text,
    "display_fields": check_texts,
    "added_by": optional(check_id),
    "annotation_state": check_state,
    "annotator_user_id": optional(check_id),
    "created_at": check_time,
    "created_by": check_id,
    "updated_at": check_time,
    "deleted_at": optional(check_time),
    "position_in_queue": optional(partial(check_integer, minimum=1)),
    "priority": check_integer,
    "payload": check_payload,
    "assignees": _check_assignees,
}


make_queue = trusted(AnnotationQueue)
make_item = trusted(QueueItem)


_with_schema = altered(AnnotationQueue, ("label_schema",))


def copy_queue(queue: AnnotationQueue) -> AnnotationQueue:
    """Give a queue that shares nothing with another one that could be changed."""
    if queue.label_schema is None:
        return queue
    copied: AnnotationQueue = _with_schema(queue, load_json(write_json(queue.label_schema)))
    return copied


def same_queue(first: AnnotationQueue, second: AnnotationQueue) -> bool:
    """Tell whether two queues are equal, with their schemas to the byte: 1, 1.0 and true are three constants."""
    return first == second and write_json(first.label_schema) == write_json(second.label_schema)


def admit(new: NewItem, *, item_id: str, queue: AnnotationQueue, added_by: str, at: datetime) -> QueueItem:
    """Turn what a caller adds into an item of the queue.

    Args:
        new: What the caller gave.
        item_id: The new item's id.
        queue: The queue it joins.
        added_by: Who adds it.
        at: Now, UTC.

    Returns:
        The unstarted item, which shares nothing with ``new`` that can change.

    Raises:
        InvalidValue: The payload was changed since ``new`` was made and is no JSON any more.
    """
    return make_item(
        id=item_id,
        project_id=queue.project_id,
        queue_id=queue.id,
        call_id=new.call_id,
        call_started_at=new.call_started_at or at,
        call_ended_at=new.call_ended_at,
        call_op_name=new.call_op_name,
        call_trace_id=new.call_trace_id,
        display_fields=new.display_fields,
        added_by=added_by,
        created_at=at,
        created_by=added_by,
        updated_at=at,
        priority=new.priority,
        payload=check_payload("payload", new.payload),
        assignees=new.assignees,
    )


@attrs.frozen(kw_only=True)
class ItemPatch(Entity):
    """What shall change on items: what is given; the rest stays as it is.

    It can be the body of a request: a field that the body leaves out stays as it is, and ``{"payload": null}`` takes the
    payload away.

    Args:
        priority: Greater is served first.
        payload: A JSON object, which is copied, or None for none.
        display_fields: Names of the fields that an annotator is shown.
        assignees: The annotators who may claim it, in any order; empty for anybody.

    >>> ItemPatch(priority=7).given
    {'priority': 7}
    """

    priority: Maybe[int] = field(factory=nothing)
    payload: Maybe[dict[str, JsonValue] | None] = field(factory=nothing, converter=_maybe_payload)
    display_fields: Maybe[tuple[str, ...]] = field(factory=nothing, converter=_maybe_texts)
    assignees: Maybe[tuple[str, ...]] = field(factory=nothing, converter=_maybe_texts)

    def __attrs_post_init__(self) -> None:
        """Check every field that is given, and let the others be no attributes of the instance."""
        given = self.given
        run_checks(self, {name: check for name, check in _PATCH_CHECKS.items() if name in given})
        for name in _PATCH_CHECKS.keys() - given.keys():
            with suppress(AttributeError):
                object.__delattr__(self, name)

    if not TYPE_CHECKING:  # checkers would believe that it has every attribute

        def __getattr__(self, name: str) -> object:
            # A slot that is empty: msgspec, and Litestar with it, leaves the field out of what it writes.
            if name in _PATCH_CHECKS:
                return NOTHING
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ItemPatch, **self.given), ()

    @property
    def given(self) -> dict[str, Any]:
        """What changes: name of the field -> value."""
        return {name: value for name in _PATCH_CHECKS if (value := getattr(self, name)) is not NOTHING}


_PATCH_CHECKS: Final[dict[str, Check]] = {
    "priority": check_integer,
    "payload": check_payload,
    "display_fields": check_texts,
    "assignees": _check_assignees,
}


def patched(item: QueueItem, patch: ItemPatch, at: datetime) -> QueueItem:
    """Change an item as a patch says.

    Args:
        item: The item, with its payload if the patch has one.
        patch: What changes.
        at: Now, UTC.

    Returns:
        The item as it shall be, with a later ``updated_at``; the same item if it has all that the patch says already. Payloads
        are the same if their JSON texts are, the order of their keys too.
    """
    given = patch.given
    changed = {name: value for name, value in given.items() if not _is_same(getattr(item, name), value)}
    return attrs.evolve(item, **changed, updated_at=max(item.updated_at, at)) if changed else item


def _is_same(before: Any, after: Any) -> bool:  # noqa: ANN401 - the fields of a patch
    return bool(before == after) and (not isinstance(after, dict) or write_json(before) == write_json(after))


@attrs.frozen(kw_only=True)
class Purged(Entity):
    """What was erased for good.

    Args:
        items: How many removed items of queues that stay.
        queues: How many deleted queues, with all that was in them.
    """

    items: int
    queues: int


@attrs.frozen(kw_only=True)
class AddedItems(Entity):
    """What an addition did.

    Args:
        added: The new items, in the order in which they were given.
        duplicates: How many were left out, because the live queue held their call already or the same call repeated it.
    """

    added: tuple[QueueItem, ...]
    duplicates: int


@final
@attrs.frozen(kw_only=True)
class ClaimRef(Entity):
    """What a claim is known by: enough to act on it in another process, and short enough for a form or a URL.

    It is no secret: to check who may use it is the backend's part.

    Args:
        item_id: The item.
        annotator_id: Who holds it.
        token: The fencing token.

    >>> ref = ClaimRef(item_id="item", annotator_id="ann", token=1)
    >>> ClaimRef.parse(str(ref)) == ref
    True
    """

    item_id: str
    annotator_id: str
    token: int

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _REF_CHECKS)

    def __str__(self) -> str:
        body = json.dumps([self.item_id, self.annotator_id, self.token], ensure_ascii=False, separators=(",", ":"))
        return urlsafe_b64encode(body.encode()).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> ClaimRef:
        """Read what ``str`` gave.

        Args:
            text: The text: letters, digits, ``-`` and ``_``, at most 17 MiB.

        Returns:
            The reference.

        Raises:
            InvalidValue: It is no such text.
        """
        if not is_a(text, str):
            raise refuse("claim", text, _REF_TEXT)
        if len(text) > _LONGEST_REF:
            raise InvalidValue(
                "claim", f"{len(text):,} characters", f"{_REF_TEXT}, at most {_LONGEST_REF:,} characters"
            )
        try:
            values = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            item_id, annotator_id, token = values
            ref = cls(item_id=item_id, annotator_id=annotator_id, token=token)
        except (ValueError, TypeError, RecursionError):
            ref = None
        # Decoding passes over foreign characters and spare bits; only the text that was given out may pass.
        if ref is None or str(ref) != text:
            raise InvalidValue("claim", "another text", _REF_TEXT)
        return ref


_REF_TEXT: Final = "the text that str() of a ClaimRef gave"
_LONGEST_REF: Final = 17 << 20
"""Most characters of the text of a reference: that of two ids of 1 MiB each, with every character escaped."""
_REF_CHECKS: Final[dict[str, Check]] = {
    "item_id": check_id,
    "annotator_id": check_id,
    "token": partial(check_integer, minimum=0),
}


@final
@attrs.frozen(kw_only=True)
class Claim(Entity):
    """The right of one annotator to work on one item until the lease runs out.

    Args:
        item: The item, in the annotator's perspective.
        annotator_id: Who holds it.
        token: The fencing token, that of the annotator's progress.
        expires_at: When the lease runs out, UTC; at that instant it has.
    """

    item: QueueItem
    annotator_id: str
    token: int
    expires_at: datetime

    @property
    def ref(self) -> ClaimRef:
        """What it is known by elsewhere."""
        return _make_ref(item_id=self.item.id, annotator_id=self.annotator_id, token=self.token)


make_claim = trusted(Claim)
_make_ref = trusted(ClaimRef)


def check_claim(claim: object) -> Claim | ClaimRef:
    """Accept a claim or its reference.

    Raises:
        InvalidValue: It is neither.
    """
    if issubclass(type(claim), (Claim, ClaimRef)):
        return claim  # type: ignore[return-value]  # it is one of them
    raise refuse("claim", claim, "a Claim or a ClaimRef")


def ref_of(claim: Claim | ClaimRef) -> ClaimRef:
    """Give the reference of a claim."""
    return claim if isinstance(claim, ClaimRef) else claim.ref


class UnavailableReason(StrEnum):
    """Why there is nothing to claim."""

    EMPTY = "empty"
    """The queue has no live item."""
    FINISHED = "finished"
    """Every live item is finished."""
    LEASED = "leased"
    """Live holds keep every unfinished item that this annotator has not completed or skipped; come back later."""
    SEEN = "seen"
    """This annotator completed or skipped every unfinished item; they wait for others."""
    PAUSED = "paused"
    """The queue is paused: nobody is handed out anything new."""
    ASSIGNED = "assigned"
    """Every unfinished item that this annotator has not completed or skipped is reserved for others."""


@final
@attrs.frozen(kw_only=True)
class Unavailable(Entity):
    """There is nothing to claim now. Falsy, so that ``while claim := queues.claim(...)`` ends.

    Args:
        reason: Why.
        retry_at: With LEASED the earliest time at which the annotator could claim an item if leases only ended, UTC;
            else None.
    """

    reason: UnavailableReason
    retry_at: datetime | None = None

    def __bool__(self) -> Literal[False]:
        return False


def explain_unavailable(
    *, live: int, unfinished: int, retry_at: datetime | None, is_paused: bool = False, is_assigned: bool = False
) -> Unavailable:
    """Say why an annotator who can claim nothing can claim nothing.

    Args:
        live: How many live items the queue has.
        unfinished: How many of them are not finished.
        retry_at: The least `states.claimable_at` of this annotator over those that are not reserved for others, UTC; None where
            each is None.
        is_paused: Whether the queue is paused.
        is_assigned: Whether one of the unfinished items is reserved for others, and this annotator has neither completed nor
            skipped it.

    Returns:
        The reason, with the time for LEASED.
    """
    if not live:
        return Unavailable(reason=UnavailableReason.EMPTY)
    if is_paused:
        return Unavailable(reason=UnavailableReason.PAUSED)
    if not unfinished:
        return Unavailable(reason=UnavailableReason.FINISHED)
    if retry_at is None:
        return Unavailable(reason=UnavailableReason.ASSIGNED if is_assigned else UnavailableReason.SEEN)
    return Unavailable(reason=UnavailableReason.LEASED, retry_at=retry_at)


@attrs.frozen(kw_only=True)
class QueueStats(Entity):
    """How far a queue has come. Deleted items count for nothing.

    Args:
        queue_id: The queue.
        total_items: Live items.
        by_state: Live items by aggregate state: all four states, sums to the total.
        settled_items: Live items that at least one annotator completed or skipped.
        finished_items: Live items that need nothing more.
        by_annotator: By annotator id and state, how many of that annotator's progresses on live items are in it; no
            unstarted ones and no zero entries.
    """

    queue_id: str
    total_items: int
    by_state: Mapping[AnnotationState, int] = field(hash=False)
    settled_items: int
    finished_items: int
    by_annotator: Mapping[str, Mapping[AnnotationState, int]] = field(hash=False)

    def _repr_html_(self) -> str:
        """Show it in a notebook: the items by state, then each annotator's progresses."""
        rows: list[tuple[object, ...]] = [
            ("items", *(self.by_state[state] for state in AnnotationState), self.finished_items, self.total_items)
        ]
        for annotator_id, counts in self.by_annotator.items():
            own = [counts.get(state, 0) for state in AnnotationState if state is not UNSTARTED]
            rows.append((annotator_id, None, *own, None, sum(own)))
        return html_table(f"queue {self.queue_id}", ["", *AnnotationState, "finished", "total"], rows)
