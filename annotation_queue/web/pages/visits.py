"""One request of somebody who is signed in, and what every request passes before its handler runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs, urlencode

import attrs
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response

from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    InvalidLabel,
    InvalidTransition,
    InvalidValue,
    NotFound,
    StorageError,
)
from annotation_queue.web.access import Action
from annotation_queue.web.pages.site import COOKIE, HEADERS, Site, address, base_of, check_host, check_origin
from annotation_queue.web.requests import Denied, check_path, query_of
from annotation_queue.wire.converter import BadMessage, load

if TYPE_CHECKING:
    from starlette.requests import Request

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.web.pages.sessions import Session

_LOGGER: Final = logging.getLogger("annotation_queue.web")
_MOST_BYTES: Final = 4 << 20
"""Longest body of a change: a label of 1 MiB, with each character escaped."""
_MOST_FIELDS: Final = 10_000
_CSRF: Final = "csrf"
_STATUSES: Final[tuple[tuple[type[AnnotationQueueError], int, str], ...]] = (
    (InvalidLabel, 422, "invalid_label"),
    (InvalidValue, 400, "invalid_value"),
    (NotFound, 404, "not_found"),
    (ClaimLost, 409, "claim_lost"),
    (InvalidTransition, 409, "invalid_transition"),
    (Conflict, 409, "conflict"),
    (StorageError, 503, "storage"),
)


@attrs.frozen(kw_only=True)
class Visit:
    """One request of somebody who is signed in.

    Args:
        site: The pages.
        request: What was asked.
        session: Who asks.
        project_id: In which project.
        ids: The ids in the path, by name.
        given: What came with it: the query of a page, the fields of a form, or the JSON of a call.
    """

    site: Site
    request: Request
    session: Session
    project_id: str
    ids: Mapping[str, str]
    given: Mapping[str, Any]

    @property
    def queues(self) -> AnnotationQueues:
        """The queues of the project."""
        return self.site.make_queues(self.site.repository, self.project_id)

    @property
    def user_id(self) -> str:
        """Who asks: the annotator of the rater's page, the actor of the dashboard."""
        return self.session.principal.user_id

    def text(self, name: str) -> str:
        """Read a field that is one text; empty if it is not given."""
        value = self.given.get(name, "")
        if not isinstance(value, str):
            raise Denied(400, f"{name}: expected one text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a field that may be given any number of times."""
        value = self.given.get(name, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise Denied(400, f"{name}: expected texts")
        return tuple(values)

    def url(self, *parts: str, **query: str | int) -> str:
        """Build an address of the pages that stays in this project."""
        mine = self.session.principal.project_ids
        within = {} if mine == {self.project_id} else {"project": self.project_id}
        return address(base_of(self.request), *parts, query=urlencode(query | within))

    def render(self, template: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - of the template
        """Make a page."""
        common = {
            "session": self.session,
            "project_id": self.project_id,
            "notice": self.session.take_notice(),
            "url": self.url,
        }
        return self.site.render(self.request, template, status, **common | values)

    def go(self, *parts: str, query: str = "", notice: str = "") -> Response:
        """Lead on to a page after a change, which says what was done."""
        self.session.notice = notice
        to = self.url(*parts)
        return RedirectResponse(f"{to}{'&' if '?' in to else '?'}{query}" if query else to, 303)


Handler: TypeAlias = Callable[[Visit], Response]


def endpoint(site: Site, handler: Handler, action: Action) -> Callable[[Request], Any]:
    """Let requests through to a handler, which runs in a worker thread.

    Args:
        site: The pages.
        handler: What answers; a request to change something reaches it with the session's token only.
        action: What the person must be allowed to do in the project.

    Returns:
        The endpoint, for a route.
    """

    async def answer(request: Request) -> Response:
        is_call = request.headers.get("content-type", "").startswith("application/json")
        try:
            check_host(request, site.options.hosts)
            session = site.sessions.find(request.cookies.get(COOKIE))
            if session is None:
                return signed_out(site, request, is_call=is_call)
            given: Mapping[str, Any] = query_of(request)
            project = given.get("project")
            if request.method == "POST":
                check_origin(request)
                given = await _read(request, is_call=is_call)
                token = request.headers.get("x-csrf-token", "") if is_call else given.get(_CSRF, "")
                check_csrf(session, token)
            ids = check_path(request)
            return await run_in_threadpool(run, request, session, project, ids, given)
        except Denied as denied:
            return refusal(site, request, denied.status, "denied", denied.reason, is_call=is_call)
        except AnnotationQueueError as error:
            return _refused(site, request, error, is_call=is_call)
        except Exception:
            _LOGGER.exception("%s %s failed", request.method, request.url.path)
            return refusal(site, request, 500, "failed", "the server failed", is_call=is_call)

    def run(
        request: Request, session: Session, project: object, ids: Mapping[str, str], given: Mapping[str, Any]
    ) -> Response:
        project_id = _project(session, project)
        if not site.authorize(session.principal, project_id, action):
            raise Denied(403, f"you have no right to {action} in project {project_id!r}")
        visit = Visit(site=site, request=request, session=session, project_id=project_id, ids=ids, given=given)
        return handler(visit)

    return guarded(answer)


def guarded(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Give every answer the headers that keep a page safe, and keep it out of caches."""

    async def guard(request: Request) -> Response:
        response: Response = await answer(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return guard


def check_csrf(session: Session, token: object) -> None:
    """Refuse a change that does not carry the token of its session.

    Raises:
        Denied: It does not.
    """
    if not isinstance(token, str) or not session.is_meant_by(token):
        raise Denied(403, "this page is older than your session; load it again")


def _project(session: Session, asked: object) -> str:
    mine = sorted(session.principal.project_ids)
    if isinstance(asked, str) and asked:
        return asked
    if not mine:
        raise Denied(400, "you belong to no project; name one in the address: ?project=NAME")
    return mine[0]


async def _read(request: Request, *, is_call: bool) -> Mapping[str, Any]:
    body = await read_limited(request)
    if is_call:
        value = load(body)
        if not isinstance(value, dict):
            raise Denied(400, "expected a JSON object")
        return value
    return form_of(body)


def form_of(body: bytes) -> dict[str, Any]:
    """Read what a form sent; a field that is given several times is a list.

    Raises:
        Denied: It is no form.
    """
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise Denied(400, "expected the fields of a form") from None
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


async def read_limited(request: Request) -> bytes:
    """Read a body of at most 4 MiB.

    Raises:
        Denied: It is longer, or ended early.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise Denied(413, f"a change has at most {_MOST_BYTES:,} bytes")
    except ClientDisconnect:
        raise Denied(400, "the body ended early") from None
    return bytes(body)


def signed_out(site: Site, request: Request, *, is_call: bool) -> Response:
    """Answer somebody who is not signed in: with the page to do so, or a call with 401."""
    if is_call or request.method != "GET":
        return refusal(site, request, 401, "signed_out", "you are not signed in any more", is_call=is_call)
    path, query = request.url.path, request.url.query
    here = f"{path}?{query}" if query else path
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A link from elsewhere, a chat say: a browser leaves a strict cookie out. From a page of ours it sends it.
        return site.render(request, "again.html", here=here)
    return site.render(request, "sign_in.html", 401, next=here, problem="")


def _refused(site: Site, request: Request, error: AnnotationQueueError, *, is_call: bool) -> Response:
    if isinstance(error, BadMessage):
        return refusal(site, request, 400, "invalid_value", str(error), is_call=is_call)
    for kind, status, name in _STATUSES:
        if isinstance(error, kind):
            if isinstance(error, StorageError):
                _LOGGER.error("%s %s failed", request.method, request.url.path, exc_info=error)
            field = error.field if isinstance(error, InvalidLabel) else ""
            return refusal(site, request, status, name, str(error), is_call=is_call, field=field)
    _LOGGER.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refusal(site, request, 500, "failed", "the server failed", is_call=is_call)


def refusal(
    site: Site, request: Request, status: int, name: str, message: str, *, is_call: bool, field: str = ""
) -> Response:
    """Say why something was not done, as a page or to the script."""
    if is_call:
        return JSONResponse({"error": name, "message": message, "field": field}, status)
    return site.render(request, "problem.html", status, message=message)


def json_answer(value: object) -> Response:
    """Answer the script."""
    return Response(json.dumps(value, ensure_ascii=False).encode(), media_type="application/json")
