"""The routes of the pages, to be put into an app."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from annotation_queue.queues import AnnotationQueues
from annotation_queue.web.access import Action, Authenticate, Authorize
from annotation_queue.web.pages import actions, dashboard, rating
from annotation_queue.web.pages.options import PageOptions
from annotation_queue.web.pages.sessions import Sessions
from annotation_queue.web.pages.signing_in import sign_in, sign_out
from annotation_queue.web.pages.site import PATH, Site, base_of
from annotation_queue.web.pages.visits import Handler, endpoint, guarded
from annotation_queue.web.rate_limit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from annotation_queue.repository import Repository

_ASSETS: Final = Path(__file__).with_name("assets")
_QUEUE: Final = "/queues/{queue_id}"
_RATING: Final = "/label/{queue_id}"
_GET: Final[tuple[tuple[str, Handler, Action], ...]] = (
    ("/", dashboard.queues, Action.QUERY),
    (_QUEUE, dashboard.items, Action.QUERY_ITEMS),
    (f"{_QUEUE}/annotators", dashboard.annotators, Action.STATS),
    (f"{_QUEUE}/items/{{item_id}}", dashboard.item, Action.QUERY_ITEMS),
    (f"{_QUEUE}/labels.{{form}}", dashboard.export, Action.QUERY_ITEMS),
    (_RATING, rating.show, Action.UPDATE_PROGRESS),
)
_POST: Final[tuple[tuple[str, Handler, Action], ...]] = (
    (f"{_QUEUE}/pause", actions.pause, Action.UPDATE),
    (f"{_QUEUE}/items", actions.change_items, Action.UPDATE),
    *(
        (f"{_RATING}/{name}", handler, Action.UPDATE_PROGRESS)
        for name, handler in {
            "next": rating.following,
            "again": rating.again,
            "draft": rating.save,
            "beat": rating.beat,
            "done": rating.done,
            "skip": rating.skip,
            "release": rating.release,
            "earlier": rating.earlier,
            "correct": rating.correct,
        }.items()
    ),
)


def page_routes(
    repository: Repository,
    *,
    authenticate: Authenticate,
    authorize: Authorize,
    options: PageOptions,
    make_queues: Callable[[Repository, str], AnnotationQueues] = AnnotationQueues,
) -> list[BaseRoute]:
    """Make the routes of the pages, below ``/pages``, and one that leads there from the app's own address.

    Args:
        repository: Where everything is stored.
        authenticate: Gives the principal of a token that somebody signs in with.
        authorize: Tells whether a principal may do something in a project; asked anew for every request.
        options: How they are served.
        make_queues: Makes the service of a project.

    Returns:
        The routes.
    """
    site = Site(
        repository=repository,
        make_queues=make_queues,
        authenticate=authenticate,
        authorize=authorize,
        options=options,
        sessions=Sessions(options.session.total_seconds()),
        logins=RateLimit(options.logins, "logins"),
    )

    async def home(request: Request) -> Response:
        return RedirectResponse(f"{base_of(request)}/", 307)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in {each.name for each in _ASSETS.iterdir()}:
            return site.render(request, "problem.html", 404, message="there is no such page")
        return FileResponse(_ASSETS / name, headers={"Cache-Control": "no-cache"})

    return [
        Route("/", home),
        Route(PATH, home),
        Route(f"{PATH}/sign-in", guarded(partial(sign_in, site)), methods=["GET", "POST"]),
        Route(f"{PATH}/sign-out", guarded(partial(sign_out, site)), methods=["POST"]),
        Route(f"{PATH}/assets/{{name}}", guarded(asset)),
        *(Route(PATH + path, endpoint(site, handler, action)) for path, handler, action in _GET),
        *(Route(PATH + path, endpoint(site, handler, action), methods=["POST"]) for path, handler, action in _POST),
    ]
