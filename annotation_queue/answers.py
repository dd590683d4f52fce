"""Answers: what the service shows of a decision that was carried out."""

from __future__ import annotations

from annotation_queue.decisions import Decision
from annotation_queue.items import Claim, ClaimRef, QueueItem, copy_payload, make_claim, ref_of
from annotation_queue.json_values import JsonValue
from annotation_queue.records import item_of, view
from annotation_queue.states import aggregate


def in_perspective(item: QueueItem, decision: Decision, payload: dict[str, JsonValue] | None = None) -> QueueItem:
    """Show an item in the perspective of the annotator whom a decision is about."""
    return view(item, aggregate((decision.progress,)), updated_at=decision.updated_at, payload=payload)


def claimed_item(claim: Claim | ClaimRef, decision: Decision) -> QueueItem:
    """Show the item that a claim carries, with a payload that nobody else holds."""
    if isinstance(claim, ClaimRef):
        return in_perspective(item_of(decision.record), decision)
    return in_perspective(claim.item, decision, copy_payload(claim.item.payload))


def prolonged(claim: Claim | ClaimRef, decision: Decision) -> Claim:
    """Give a claim with its new end."""
    ref, expires_at = ref_of(claim), decision.progress.lease_expires_at
    if expires_at is None:
        raise ValueError(f"the progress of claim {ref} has no lease")
    item = claimed_item(claim, decision)
    return make_claim(item=item, annotator_id=ref.annotator_id, token=ref.token, expires_at=expires_at)


def granted(decision: Decision) -> Claim:
    """Give the claim that a decision granted: its last progress is that of who gets it."""
    own = decision.progresses[-1]
    if own.lease_expires_at is None:
        raise ValueError(f"the progress of {own.annotator_id!r} has no lease")
    return make_claim(
        item=view(item_of(decision.record), aggregate((own,)), updated_at=decision.updated_at),
        annotator_id=own.annotator_id,
        token=own.token,
        expires_at=own.lease_expires_at,
    )
