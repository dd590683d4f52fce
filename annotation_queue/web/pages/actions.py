"""What the dashboard changes: pause and go on, reprioritise, reserve, reset, release, remove and restore."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from annotation_queue.items import ItemPatch
from annotation_queue.query import ItemFilter
from annotation_queue.states import UNSTARTED
from annotation_queue.web.pages.listing import listing_behind
from annotation_queue.web.pages.visits import Visit
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from starlette.responses import Response

_Which: TypeAlias = Iterable[str] | ItemFilter


def pause(visit: Visit) -> Response:
    """Let nobody claim any more, or let them again."""
    queue_id, is_paused = visit.ids["queue_id"], visit.text("paused") == "yes"
    visit.queues.update(queue_id, is_paused=is_paused)
    said = "Paused: nobody is handed out anything new." if is_paused else "The queue is open again."
    return visit.go("queues", queue_id, query=listing_behind(visit).address(), notice=said)


def change_items(visit: Visit) -> Response:
    """Change the items that are ticked, or all that the list's filter shows."""
    listing, queue_id = listing_behind(visit), visit.ids["queue_id"]
    act = _ACTS.get(visit.text("act"))
    if act is None:
        raise Denied(400, f"act: expected one of {', '.join(_ACTS)}")
    which: _Which = visit.texts("item")
    if visit.text("scope") == "filter":
        if listing.annotator and listing.states:
            raise Denied(400, "states in one annotator's view choose no items to change; look at all annotators first")
        which = listing.filter
    said = act(visit, queue_id, which)
    if back := visit.text("back_to"):
        return visit.go("queues", queue_id, "items", back, notice=said)
    return visit.go("queues", queue_id, query=listing.address(), notice=said)


def _prioritise(visit: Visit, queue_id: str, which: _Which) -> str:
    try:
        priority = int(visit.text("priority"))
    except ValueError:
        raise Denied(400, "priority: expected an integer; greater is served first") from None
    count = visit.queues.update_items(queue_id, which, ItemPatch(priority=priority))
    return f"Priority {priority}: {_items(count)} changed."


def _assign(visit: Visit, queue_id: str, which: _Which) -> str:
    names = sorted({name for each in visit.text("assignees").split(",") if (name := each.strip())})
    count = visit.queues.update_items(queue_id, which, ItemPatch(assignees=names))
    return f"{'Reserved for ' + ', '.join(names) if names else 'Open to anybody'}: {_items(count)} changed."


def _reset(visit: Visit, queue_id: str, which: _Which) -> str:
    count = visit.queues.reset(
        queue_id,
        which,
        actor_id=visit.user_id,
        annotator_id=visit.text("annotator") or None,
        reason=visit.text("reason") or None,
    )
    return (
        f"Reset: {count:,} {'progress' if count == 1 else 'progresses'} put back; what they said stays in the history."
    )


def _remove(visit: Visit, queue_id: str, which: _Which) -> str:
    if isinstance(which, ItemFilter):
        raise Denied(400, "tick the items to remove: only those that are named can be brought back")
    ids = tuple(which)
    count = visit.queues.remove_items(queue_id, ids)
    visit.session.removed[queue_id] = ids
    return f"Removed: {_items(count)}."


def _restore(visit: Visit, queue_id: str, which: _Which) -> str:
    del which
    ids = visit.text("ids").split() or visit.session.removed.pop(queue_id, ())
    return f"Restored: {_items(visit.queues.restore_items(queue_id, ids))}."


def _release(visit: Visit, queue_id: str, which: _Which) -> str:
    """Take an item away from whoever holds it; their draft stays for when they get it again."""
    holder = visit.text("annotator")
    for item_id in () if isinstance(which, ItemFilter) else which:
        visit.queues.update_progress(
            item_id, holder, UNSTARTED, queue_id=queue_id, reason="released by a supervisor", actor_id=visit.user_id
        )
    return f"Released: {holder} no longer holds it."


_ACTS: Final[Mapping[str, Callable[[Visit, str, _Which], str]]] = {
    "prioritise": _prioritise,
    "assign": _assign,
    "reset": _reset,
    "remove": _remove,
    "restore": _restore,
    "release": _release,
}


def _items(count: int) -> str:
    return f"{count:,} {'item' if count == 1 else 'items'}"
