"""The rater's page: the item that one holds, the next one fetched ahead, drafts, and what was labelled before."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.errors import ClaimLost
from annotation_queue.items import Claim, ClaimRef, QueueItem, Unavailable
from annotation_queue.labels import LabelQuery
from annotation_queue.states import COMPLETED, SETTLING, SKIPPED, AnnotationState, Progress
from annotation_queue.web.pages.forms import fields_of
from annotation_queue.web.pages.payloads import parts_of
from annotation_queue.web.pages.visits import Visit, json_answer
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from starlette.responses import Response

_MOST_HELD: Final = 20
"""So many of the items that a rater holds are looked at to find the one that they were at."""
_PACE: Final = timedelta(hours=1)


def show(visit: Visit) -> Response:
    """The page itself; its script asks for the item."""
    queue = visit.queues.get(visit.ids["queue_id"])
    pace = visit.queues.throughput(queue.id, window=_PACE)
    return visit.render(
        "rating.html",
        queue=queue,
        fields=fields_of(queue.label_schema),
        lease=queue.lease.total_seconds(),
        pace=pace.by_annotator.get(visit.user_id, 0),
        calls=visit.url("label", queue.id, "CALL"),
    )


def following(visit: Visit) -> Response:
    """Hand out an item that the page does not have yet: one that its rater holds, or a new one."""
    queue_id = visit.ids["queue_id"]
    has = {_ref(visit, text).item_id for text in visit.texts("holding")}
    claim = _held(visit, queue_id, has) or visit.queues.claim(queue_id, visit.user_id)
    return json_answer(_shown(visit, claim) | _standing(visit))


def again(visit: Visit) -> Response:
    """Take an item again whose claim was lost, if nobody else has it."""
    claim = visit.queues.claim_item(visit.text("item_id"), visit.user_id)
    return json_answer(_shown(visit, claim) | _standing(visit))


def save(visit: Visit) -> Response:
    """Store a draft, which prolongs the claim."""
    visit.queues.save_draft(_ref(visit, visit.text("ref")), visit.given.get("annotation"))
    return json_answer({})


def beat(visit: Visit) -> Response:
    """Prolong the claims of a page that is open; tell which are lost."""
    texts = visit.texts("holding")
    beaten = visit.queues.heartbeat_batch([_ref(visit, text) for text in texts])
    return json_answer(
        {"lost": [text for text, claim in zip(texts, beaten, strict=True) if isinstance(claim, ClaimLost)]}
    )


def done(visit: Visit) -> Response:
    """Complete an item with a label."""
    visit.queues.complete(_ref(visit, visit.text("ref")), _label(visit))
    return json_answer(_standing(visit))


def skip(visit: Visit) -> Response:
    """Skip an item."""
    visit.queues.skip(_ref(visit, visit.text("ref")), visit.text("reason") or None)
    return json_answer(_standing(visit))


def release(visit: Visit) -> Response:
    """Give back what was fetched ahead and not used."""
    with suppress(ClaimLost):
        visit.queues.release(_ref(visit, visit.text("ref")))
    return json_answer({})


def earlier(visit: Visit) -> Response:
    """Show what this rater labelled or skipped before, one at a time, the newest first."""
    query = LabelQuery(annotator_id=visit.user_id, newest_first=True, limit=1, cursor=visit.text("cursor") or None)
    page = visit.queues.labels(visit.ids["queue_id"], query)
    found = [
        _item(label.item) | {"state": label.progress.state, "draft": label.progress.annotation} for label in page.labels
    ]
    return json_answer({"found": found, "cursor": page.next_cursor})


def correct(visit: Visit) -> Response:
    """Change what was said of an item before."""
    queue_id, item_id = visit.ids["queue_id"], visit.text("item_id")
    state = AnnotationState(visit.text("state")) if visit.text("state") in SETTLING else None
    before = _own(visit, item_id)
    if state is None or before is None or before.state not in SETTLING:
        raise Denied(409, "this item is no longer among those that you labelled; somebody may have reset it")
    visit.queues.update_progress(
        item_id,
        visit.user_id,
        state,
        queue_id=queue_id,
        annotation=_label(visit) if state is COMPLETED else None,
        reason=visit.text("reason") or None if state is SKIPPED else None,
        actor_id=visit.user_id,
        # A workflow has no way from a skip to a label or back; a slip of the finger shall have one, and is in the history.
        override=before.state is not state,
    )
    return json_answer(_standing(visit))


def _ref(visit: Visit, text: str) -> ClaimRef:
    """Read the reference of a claim; it is no secret, so it has to be the person's own."""
    ref = ClaimRef.parse(text)
    if ref.annotator_id != visit.user_id:
        raise Denied(403, "that claim is somebody else's")
    return ref


def _label(visit: Visit) -> Any:  # noqa: ANN401 - any JSON value
    label = visit.given.get("annotation")
    if label is None:
        # The service would take it for "keep the draft", which is not what an empty form says.
        raise Denied(422, "nothing is filled in")
    return label


def _held(visit: Visit, queue_id: str, has: set[str]) -> Claim | None:
    """Resume what the rater holds: the item with a draft first, then the one that was begun first."""
    held = [claim for claim in visit.queues.holds(queue_id, visit.user_id)[:_MOST_HELD] if claim.item.id not in has]

    def rank(claim: Claim) -> tuple[bool, Any]:
        own = _own(visit, claim.item.id)
        return (own is None or own.annotation is None, (own and own.started_at) or claim.expires_at)

    for claim in sorted(held, key=rank) if len(held) > 1 else held:
        with suppress(ClaimLost):
            return visit.queues.heartbeat(claim)
    return None


def _own(visit: Visit, item_id: str) -> Progress | None:
    return next((each for each in visit.queues.progress(item_id) if each.annotator_id == visit.user_id), None)


def _shown(visit: Visit, claim: Claim | Unavailable) -> dict[str, Any]:
    if isinstance(claim, Unavailable):
        return {
            "claim": None,
            "reason": claim.reason,
            "retry_at": None if claim.retry_at is None else claim.retry_at.isoformat(),
        }
    own = _own(visit, claim.item.id)
    return {"claim": _item(claim.item) | {"ref": str(claim.ref), "draft": None if own is None else own.annotation}}


def _item(item: QueueItem) -> dict[str, Any]:
    parts = parts_of(item)
    return {
        "item_id": item.id,
        "call_id": item.call_id,
        "op_name": item.call_op_name,
        "shown": [attrs.asdict(part) for part in parts.shown],
        "more": [attrs.asdict(part) for part in parts.more],
    }


def _standing(visit: Visit) -> dict[str, Any]:
    """Tell how far the queue has come, and how many of it are this rater's."""
    (stats,) = visit.queues.stats([visit.ids["queue_id"]])
    own = stats.by_annotator.get(visit.user_id, {})
    return {
        "left": stats.total_items - stats.finished_items,
        "total": stats.total_items,
        "mine": own.get(COMPLETED, 0) + own.get(SKIPPED, 0),
    }
