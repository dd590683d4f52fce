"""The ASGI app: each request is authenticated, read and carried out in worker threads, and answered."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from annotation_queue.errors import AnnotationQueueError
from annotation_queue.queues import AnnotationQueues
from annotation_queue.repository import Repository
from annotation_queue.values import check_flag, check_integer
from annotation_queue.web.access import Authenticate, Authorize, is_member
from annotation_queue.web.answers import RETRY_AFTER, json_answer, stream
from annotation_queue.web.api.document import describe as add_v1
from annotation_queue.web.api.routes import Api
from annotation_queue.web.gate import Gate
from annotation_queue.web.hosts import HostCheck, check_hosts
from annotation_queue.web.openapi import openapi
from annotation_queue.web.operations import OPERATIONS, Backend, Call, MakeQueues, Operation
from annotation_queue.web.pages.options import PageOptions
from annotation_queue.web.rate_limit import RateLimit
from annotation_queue.web.requests import Denied, check_path, query_of, read_body
from annotation_queue.wire.converter import load, read, write
from annotation_queue.wire.v1.operations import PREFIX
from annotation_queue.wire.weave import ResolveCalls

_LOGGER: Final = logging.getLogger("annotation_queue.web")


def create_app(
    repository: Repository,
    *,
    authenticate: Authenticate,
    authorize: Authorize | None = None,
    resolve_calls: ResolveCalls | None = None,
    rate_limit: str | None = None,
    max_limit: int | None = None,
    strict: bool = True,
    failed_logins: str | None = None,
    hosts: Iterable[str] | None = None,
    make_queues: MakeQueues = AnnotationQueues,
    pages: bool | PageOptions = False,
) -> Starlette:
    """Make an ASGI app that serves the published annotation-queue APIs, to run as it is or to mount below any prefix.

    It serves W&B Weave's nine operations and of its feedback what labels need, EvalGuard's update of an item, our own API of
    the whole service below ``/v1``, and ``/openapi.json``, which describes them. The three functions may be slow: they run in
    worker threads, as all work does, so none is a coroutine function. What they raise is logged and answered with 500, but
    for this library's own errors, which are answered as if they came from the queues.

    Args:
        repository: Where everything is stored. The app does not close it.
        authenticate: Gives the principal of some credentials, or None. It alone compares secrets.
        authorize: Tells whether a principal may do something in a project; None allows everything to the project's members.
        resolve_calls: Looks up the calls that are to be added by their ids; None adds each as it is named.
        rate_limit: How often one user may ask, counted in this process: ``"100/minute"``; None for any number.
        max_limit: Weave's requests for more items, or for statistics of more queues, are refused; None for any number. Without
            a limit all items are answered, a page at a time.
        strict: Whether unknown fields are refused where Weave's published document forbids them. False ignores them, as Weave's
            newest server does, so that newer clients work.
        failed_logins: How often one address may send unknown credentials, or none, before it is answered with 429 for a while:
            ``"30/minute"``, counted in this process. None for any number, as behind a proxy, which is one address for all.
        hosts: The names by which the app is asked (``["labels.example.com", "*.example.org"]``, without ports): a request whose
            Host header has another is refused, as one that a foreign page led here under a name of its own. None for any.
        make_queues: Makes the service of a project, for a workflow, a clock or ids of the backend's:
            ``partial(AnnotationQueues, workflow=REOPENABLE)``.
        pages: Whether the rater's page and the dashboard are served too, below ``/pages``, or how; they need Jinja2. One
            signs in to them with a token that ``authenticate`` knows as a bearer token.

    Returns:
        The app.

    Raises:
        InvalidValue: A rate limit that cannot be read, a maximum below 1, or hosts that are no names.
    """
    backend = Backend(
        repository=repository,
        authorize=authorize or is_member,
        resolve_calls=resolve_calls,
        max_limit=None if max_limit is None else check_integer("max_limit", max_limit, minimum=1),
        strict=check_flag("strict", strict),
        make_queues=make_queues,
    )
    gate = Gate(
        authenticate,
        None if rate_limit is None else RateLimit(rate_limit),
        None if failed_logins is None else RateLimit(failed_logins, "failed_logins"),
    )

    @cache
    def document() -> dict[str, Any]:
        rate_limited = rate_limit is not None
        described = openapi(OPERATIONS, max_limit=max_limit, strict=strict, rate_limited=rate_limited)
        add_v1(described, rate_limited=rate_limited)
        return described

    async def describe(request: Request) -> Response:
        prefix = request.scope.get("root_path", "")
        return json_answer(await run_in_threadpool(document) | {"servers": [{"url": prefix or "/"}]})

    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes: list[BaseRoute] = [
        Route(path, _endpoint(methods, gate, backend), methods=list(methods)) for path, methods in by_path.items()
    ]
    if pages:
        from annotation_queue.web.pages.routes import page_routes  # noqa: PLC0415 - Jinja2 is for the pages only

        options = PageOptions() if pages is True else pages
        routes += page_routes(repository, authenticate=authenticate, authorize=backend.authorize, options=options)
    app = Starlette(
        routes=[*routes, _below_v1(Api(gate, backend)), Route("/openapi.json", describe)],
        exception_handlers={HTTPException: _unrouted},
        middleware=[] if hosts is None else [Middleware(HostCheck, hosts=check_hosts(hosts))],
    )
    app.router.redirect_slashes = False
    return app


def _below_v1(api: Api) -> Mount:
    mount = Mount(PREFIX, api)
    # An id in the path may have a line break, which Starlette's dot does not match.
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)
    return mount


def _endpoint(
    operations: Mapping[str, Operation], gate: Gate, backend: Backend
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = operations["GET" if request.method == "HEAD" else request.method]
        try:
            ids = check_path(request)
            principal = await run_in_threadpool(gate.admit, request)
            body = await read_body(request) if operation.has_body else None

            def work() -> Response:
                if body is None:
                    message: object = read(operation.takes, query_of(request), "query", strict=backend.strict)
                else:
                    message = read(operation.takes, load(body), strict=backend.strict)
                done = operation.run(Call(backend=backend, principal=principal, ids=ids, message=message))
                return stream(done, operation.streams) if operation.streams else json_answer(write(done))

            return await run_in_threadpool(work)
        except Denied as denied:
            return json_answer({"reason": denied.reason}, denied.status, denied.headers)
        except AnnotationQueueError as error:
            status, answer = operation.refusal(error)
            if status >= 500:  # noqa: PLR2004 - the server's own fault
                _LOGGER.exception("%s %s failed", operation.method, operation.path)
            return json_answer(answer, status, RETRY_AFTER if status == 503 else None)  # noqa: PLR2004 - as above
        except Exception:
            _LOGGER.exception("%s %s failed", operation.method, operation.path)
            return json_answer({"reason": "the server failed"}, 500)

    return endpoint


async def _unrouted(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    reason = {404: "there is no such path", 405: "this path has no such method"}.get(status, "the server failed")
    return json_answer({"reason": reason}, status, getattr(error, "headers", None))
