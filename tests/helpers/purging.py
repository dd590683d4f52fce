"""A project with a mark in every text that a purge has to erase, and the same text, unmarked, in what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue import AnnotationState, ItemFilter, ItemPatch, NewItem

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueues

MARK: Final = "0b11via7e"
KEPT: Final = "r3ma1ns"


def purge_marked(queues: AnnotationQueues, *, longest: int) -> None:
    """Fill a project, remove and delete what has the mark, and purge it; assert that what has not is there.

    Args:
        queues: The service, of a project with nothing in it, with a clock that moves.
        longest: How long some of the texts are, in characters.
    """
    kept = queues.create(KEPT, created_by="ann", description=KEPT)
    gone = queues.create(MARK, created_by="ann", description=MARK, scorer_refs=[MARK], label_schema={"title": MARK})
    for queue, marks in ((kept, (KEPT, MARK)), (gone, (MARK,))):
        for mark in marks:
            for number, padding in enumerate(("", "x" * longest)):
                text = f"{mark} {number} {padding}"[:longest]
                new = NewItem(call_id=text, call_trace_id=text, payload={text: text})
                (item,) = queues.add_items(queue.id, [new], added_by="ann").added
                # Once for what is stored at first, and once for what takes its place.
                queues.update_items(queue.id, [item.id], ItemPatch(payload={"text": f"{text}, patched"}))
                (claim,) = queues.claim_batch(queue.id, "bob", 1)
                claim = queues.save_draft(claim, f"{text}, draft")
                queues.complete(claim, {"label": text})
                queues.complete(claim, {"label": f"{text}, corrected"})
                queues.update_progress(item.id, "eve", AnnotationState.SKIPPED, reason=f"{text}, reason")
                queues.reset(queue.id, [item.id], actor_id="ann", annotator_id="eve", reason=f"{text}, reset")
    marked = [item.id for item in queues.iter_items(kept.id) if MARK in item.call_id]
    assert queues.remove_items(kept.id, ItemFilter(id=marked)) == 2
    queues.delete(gone.id)
    assert attrs.astuple(queues.purge(removed_before=queues.create("later", created_by="ann").created_at)) == (2, 1)
    assert [item.call_id[: len(KEPT)] for item in queues.iter_items(kept.id)] == [KEPT] * 2
