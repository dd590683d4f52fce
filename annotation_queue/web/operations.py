"""The operations as data: where each is found, what it takes and answers, and what it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import describe
from annotation_queue.web.access import Action
from annotation_queue.web.requests import Denied
from annotation_queue.wire import evalguard, weave, weave_feedback

if TYPE_CHECKING:
    from annotation_queue.errors import AnnotationQueueError
    from annotation_queue.repository import Repository
    from annotation_queue.web.access import Authorize, Principal


MakeQueues: TypeAlias = Callable[["Repository", str], AnnotationQueues]
"""Makes the service of a project over a repository: the class itself, or a `partial` of it with a workflow of the backend's."""


@attrs.frozen(kw_only=True)
class Backend:
    """What the operations work on.

    Args:
        repository: Where everything is stored.
        authorize: Tells what a principal may do.
        resolve_calls: Looks calls up; None adds them as they are named.
        max_limit: Greater limits are refused; None for any.
        strict: Whether unknown fields are refused where the published documents forbid them.
        make_queues: Makes the service of a project.
    """

    repository: Repository
    authorize: Authorize
    resolve_calls: weave.ResolveCalls | None = None
    max_limit: int | None = None
    strict: bool = True
    make_queues: MakeQueues = AnnotationQueues

    @property
    def page(self) -> int:
        """So many things are read at once."""
        return weave.PAGE if self.max_limit is None else min(self.max_limit, weave.PAGE)

    def project(self, principal: Principal, project_id: str, action: Action) -> AnnotationQueues:
        """Give the service for a project in which the principal may do this.

        Raises:
            Denied: The principal may not.
            TypeError: The backend gave neither True nor False.
        """
        allowed = self.authorize(principal, project_id, action)
        if not isinstance(allowed, bool):  # a coroutine, of a function written as "async def", would count as a yes
            raise TypeError(f"authorize gave {describe(allowed)}, not a bool")
        if not allowed:
            raise Denied(403, f"no right to {action} in this project")
        return self.make_queues(self.repository, project_id)


@attrs.frozen(kw_only=True)
class Call:
    """One request to an operation, read and authenticated.

    Args:
        backend: What it works on.
        principal: Who asks.
        ids: The ids in its path, by name.
        message: What was sent.
    """

    backend: Backend
    principal: Principal
    ids: Mapping[str, str]
    message: Any


Refusal: TypeAlias = Callable[["AnnotationQueueError"], tuple[int, dict[str, Any]]]


@attrs.frozen(kw_only=True)
class Operation:
    """One operation.

    Args:
        action: What the principal needs the right to do.
        method: The HTTP method.
        path: The path, with the names of its ids in braces.
        title: What it does, in a few words.
        takes: The class of what is sent: the body, or with GET and DELETE the query string.
        gives: The class of what is answered; of each line if it streams lines.
        run: Does it.
        refusal: Says how an error is answered.
        refuses: Why the answer may be 400; None where it never is.
        streams: How ``run`` gives messages page after page: ``lines`` is a line for each on the wire, ``items`` one object
            with a list of them; None if it gives one message.
        name: What the document calls it; no two have the same.
    """

    action: Action
    method: str
    path: str
    title: str
    takes: type
    gives: type
    run: Callable[[Call], object]
    refusal: Refusal = weave.refusal
    refuses: str | None = None
    streams: Literal["lines", "items"] | None = None
    name: str = attrs.field(default=attrs.Factory(lambda self: str(self.action), takes_self=True))

    @property
    def has_body(self) -> bool:
        """Whether the message is the body, not the query string."""
        return self.method not in ("GET", "DELETE")


def _queues(call: Call, action: Action) -> AnnotationQueues:
    return call.backend.project(call.principal, call.message.project_id, action)


def _create(call: Call) -> object:
    return weave.create(_queues(call, Action.CREATE), call.message, user_id=call.principal.user_id)


def _query(call: Call) -> Iterator[tuple[object, ...]]:
    return weave.query(_queues(call, Action.QUERY), call.message, page=call.backend.page)


def _get(call: Call) -> object:
    return weave.get(_queues(call, Action.READ), call.ids["queue_id"])


def _update(call: Call) -> object:
    return weave.update(_queues(call, Action.UPDATE), call.ids["queue_id"], call.message)


def _delete(call: Call) -> object:
    return weave.delete(_queues(call, Action.DELETE), call.ids["queue_id"])


def _add_calls(call: Call) -> object:
    return weave.add_calls(
        _queues(call, Action.ADD_CALLS),
        call.ids["queue_id"],
        call.message,
        user_id=call.principal.user_id,
        resolve_calls=call.backend.resolve_calls,
    )


def _query_items(call: Call) -> object:
    queues, backend = _queues(call, Action.QUERY_ITEMS), call.backend
    return weave.stream_items(
        queues, call.ids["queue_id"], call.message, max_limit=backend.max_limit, page=backend.page
    )


def _update_progress(call: Call) -> object:
    queues = _queues(call, Action.UPDATE_PROGRESS)
    return weave.update_progress(
        queues, call.ids["queue_id"], call.ids["item_id"], call.message, annotator_id=call.principal.user_id
    )


def _stats(call: Call) -> object:
    return weave.stats(_queues(call, Action.STATS), call.message, max_limit=call.backend.max_limit)


def _create_feedback(call: Call) -> object:
    queues = _queues(call, Action.UPDATE_PROGRESS)
    return weave_feedback.create(queues, call.message, user_id=call.principal.user_id)


def _query_feedback(call: Call) -> object:
    return weave_feedback.query(_queues(call, Action.QUERY_ITEMS), call.message)


def _update_state(call: Call) -> object:
    # The request names no project, so each of the principal's own is looked into where that is allowed.
    allowed = []
    for project_id in sorted(call.principal.project_ids):
        try:
            allowed.append(call.backend.project(call.principal, project_id, Action.UPDATE_PROGRESS))
        except Denied:
            continue
    if not allowed:
        raise Denied(403, f"no right to {Action.UPDATE_PROGRESS} in any project")
    return evalguard.update(allowed, call.message, annotator_id=call.principal.user_id)


_QUEUES: Final = "/annotation_queues"
_QUEUE: Final = f"{_QUEUES}/{{queue_id}}"

OPERATIONS: Final = (
    Operation(
        action=Action.CREATE,
        method="POST",
        path=_QUEUES,
        title="Make a queue",
        takes=weave.CreateBody,
        gives=weave.CreateRes,
        run=_create,
    ),
    Operation(
        action=Action.QUERY,
        method="POST",
        path=f"{_QUEUES}/query",
        title="Show the queues of a project, a line of JSON each",
        takes=weave.QueuesQueryBody,
        gives=weave.Queue,
        run=_query,
        streams="lines",
    ),
    Operation(
        action=Action.STATS,
        method="POST",
        path=f"{_QUEUES}/stats",
        title="Count what queues hold",
        takes=weave.StatsBody,
        gives=weave.StatsRes,
        run=_stats,
    ),
    Operation(
        action=Action.READ,
        method="GET",
        path=_QUEUE,
        title="Show a queue",
        takes=weave.ProjectQuery,
        gives=weave.QueueRes,
        run=_get,
    ),
    Operation(
        action=Action.UPDATE,
        method="PUT",
        path=_QUEUE,
        title="Change a queue",
        takes=weave.UpdateBody,
        gives=weave.QueueRes,
        run=_update,
    ),
    Operation(
        action=Action.DELETE,
        method="DELETE",
        path=_QUEUE,
        title="Delete a queue",
        takes=weave.ProjectQuery,
        gives=weave.QueueRes,
        run=_delete,
    ),
    Operation(
        action=Action.ADD_CALLS,
        method="POST",
        path=f"{_QUEUE}/items",
        title="Add calls to a queue",
        takes=weave.AddCallsBody,
        gives=weave.AddCallsRes,
        run=_add_calls,
    ),
    Operation(
        action=Action.QUERY_ITEMS,
        method="POST",
        path=f"{_QUEUE}/items/query",
        title="Show items of a queue",
        takes=weave.ItemsQueryBody,
        gives=weave.ItemsQueryRes,
        run=_query_items,
        streams="items",
    ),
    Operation(
        action=Action.UPDATE_PROGRESS,
        method="POST",
        path=f"{_QUEUE}/items/{{item_id}}/progress",
        title="Move the state of whoever asks on an item",
        takes=weave.ProgressBody,
        gives=weave.ProgressRes,
        run=_update_progress,
        refuses="This annotator's state cannot move there, or there is no such item in the queue.",
    ),
    Operation(
        name="create_feedback",
        action=Action.UPDATE_PROGRESS,
        method="POST",
        path="/feedback/create",
        title="Store an answer in the label of whoever asks",
        takes=weave_feedback.FeedbackCreateBody,
        gives=weave_feedback.FeedbackCreateRes,
        run=_create_feedback,
        refuses="It is no annotation, its parts do not belong together, or the item was skipped.",
    ),
    Operation(
        name="query_feedback",
        action=Action.QUERY_ITEMS,
        method="POST",
        path="/feedback/query",
        title="Show answers",
        takes=weave_feedback.FeedbackQueryBody,
        gives=weave_feedback.FeedbackQueryRes,
        run=_query_feedback,
        refuses="A query of a kind that is not answered here.",
    ),
    Operation(
        name="update_state",
        action=Action.UPDATE_PROGRESS,
        method="PATCH",
        path="/api/v1/annotations/queues/items",
        title="Move the state of whoever asks on an item, as EvalGuard has it",
        takes=evalguard.StateBody,
        gives=evalguard.StateRes,
        run=_update_state,
        refusal=evalguard.refusal,
        refuses="The body does not fit, or this annotator's state cannot move there.",
    ),
)
"""Every operation that is served. A fixed path stands before the one with an id that it would match too."""
