"""What the pages share: where things are stored, who may come in, the templates, and what every answer carries."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from annotation_queue.web.hosts import host_of, is_among
from annotation_queue.web.pages.payloads import pretty
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.repository import Repository
    from annotation_queue.web.access import Authenticate, Authorize
    from annotation_queue.web.pages.options import PageOptions
    from annotation_queue.web.pages.sessions import Sessions
    from annotation_queue.web.rate_limit import RateLimit

PATH: Final = "/pages"
"""Where the pages are, below the app."""
COOKIE: Final = "annotation_queue_session"
HEADERS: Final = {
    # Nothing but our own files, no inline script or style, no frame around us, and no text is ever taken for markup.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it a browser says "Origin: null" when a form is sent.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOOPBACK: Final = frozenset({"localhost"})


@attrs.frozen(kw_only=True, slots=False)
class Site:
    """The pages of one app."""

    repository: Repository
    make_queues: Callable[[Repository, str], AnnotationQueues]
    authenticate: Authenticate
    authorize: Authorize
    options: PageOptions
    sessions: Sessions
    logins: RateLimit

    @cached_property
    def _templates(self) -> Environment:
        made = Environment(
            loader=PackageLoader("annotation_queue.web.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.filters.update(number=_number, moment=_moment, pretty=pretty, duration=duration)
        return made

    def render(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
        """Make a page of a template, whose values are text: nothing in them becomes markup."""
        base = base_of(request)
        given = {"base": base, "session": None, "notice": "", "url": lambda *parts: address(base, *parts)} | values
        return HTMLResponse(self._templates.get_template(template).render(given), status)


def base_of(request: Request) -> str:
    """Say where the pages are, whatever the app is mounted below."""
    root: str = request.scope.get("root_path", "")
    return root if root.endswith(PATH) else root + PATH


def address(base: str, *parts: str, query: str = "") -> str:
    """Build an address below a path, whatever is in its parts."""
    path = "/".join((base, *(quote(part, safe="") for part in parts or ("",))))
    return f"{path}?{query}" if query else path


def check_host(request: Request, hosts: frozenset[str] | None) -> None:
    """Refuse a request that was sent to a name which is not ours: a page elsewhere may have had that name led here.

    An address in numbers is always right, since nobody else can make it lead anywhere.

    Raises:
        Denied: The name is not on the list.
    """
    if hosts is None:
        return
    name = host_of(request.headers.getlist("host"))
    if not (is_among(name, hosts | _LOOPBACK) or _is_address(name)):
        raise Denied(421, "this server does not go by that name")


def _is_address(name: str) -> bool:
    is_bracketed = name.startswith("[") and name.endswith("]")
    try:
        ipaddress.IPv6Address(name[1:-1]) if is_bracketed else ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def check_origin(request: Request) -> None:
    """Refuse a change that another site's page sends, by what the browser says of it.

    Raises:
        Denied: It comes from elsewhere.
    """
    fetched = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if fetched not in {"same-origin", "none"} or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Denied(403, "that came from another site")


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _moment(value: datetime | None) -> str:
    return "" if value is None else value.strftime("%Y-%m-%d %H:%M:%S")


_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration(seconds: float) -> str:
    """Say how long something takes, in the unit that fits.

    >>> duration(5_400), duration(40)
    ('1.5 h', '40 s')
    """
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"
