"""Signing in with a token, or once with the address that was shown; signing out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from annotation_queue.web.access import Credentials, Principal
from annotation_queue.web.pages.site import COOKIE, address, base_of, check_host, check_origin
from annotation_queue.web.pages.visits import check_csrf, form_of, read_limited, refusal
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from starlette.requests import Request

    from annotation_queue.web.pages.site import Site

_USED: Final = "This address was used already, or is out of date. The terminal shows the next one; or enter a token."
_UNKNOWN: Final = "Nobody has this token."


async def sign_in(site: Site, request: Request) -> Response:
    """Show the form; take a token of it; or exchange the token of an address, which works once, and leave the address."""
    try:
        check_host(request, site.options.hosts)
        if request.method == "POST":
            check_origin(request)
            form = form_of(await read_limited(request))
            next_page, token = str(form.get("next", "")), str(form.get("token", "")).strip()
            wait = site.logins.left(_address(request))
            if wait is not None:
                return _again(site, request, next_page, f"Too many failed attempts; again in {wait} s.", 429)
            principal = await run_in_threadpool(_by_token, site, token)
            return _signed_in(site, request, principal, next_page, _UNKNOWN)
        token = request.query_params.get("token", "")
        if not token or site.options.one_time is None:
            return _again(site, request, "", "", 200)
        wait = site.logins.left(_address(request))
        if wait is not None:
            return _again(site, request, "", f"Too many failed attempts; again in {wait} s.", 429)
        return _signed_in(site, request, site.options.one_time.redeem(token), "", _USED)
    except Denied as denied:
        return refusal(site, request, denied.status, "denied", denied.reason, is_call=False)


async def sign_out(site: Site, request: Request) -> Response:
    """End the session; a change like any other."""
    try:
        check_host(request, site.options.hosts)
        check_origin(request)
        session = site.sessions.find(request.cookies.get(COOKIE))
        token = form_of(await read_limited(request)).get("csrf", "")
        if session is not None:
            check_csrf(session, token)
        site.sessions.end(request.cookies.get(COOKIE))
    except Denied as denied:
        return refusal(site, request, denied.status, "denied", denied.reason, is_call=False)
    response = RedirectResponse(address(base_of(request), "sign-in"), 303)
    response.delete_cookie(COOKIE, path=base_of(request), httponly=True, samesite="strict")
    return response


def _by_token(site: Site, token: str) -> Principal | None:
    if not token or not token.isprintable():
        return None
    found = site.authenticate(Credentials("bearer", None, token))
    return found if isinstance(found, Principal) else None


def _signed_in(site: Site, request: Request, principal: Principal | None, next_page: str, problem: str) -> Response:
    if principal is None:
        site.logins.wait(_address(request))
        return _again(site, request, next_page, problem, 401)
    base = base_of(request)
    # Only a page of ours: what came from an address may be anything.
    is_ours = next_page.startswith(f"{base}/") and next_page.isprintable() and "\\" not in next_page
    response = RedirectResponse(next_page if is_ours else f"{base}/", 303)
    response.set_cookie(
        COOKIE,
        site.sessions.start(principal),
        max_age=round(site.options.session.total_seconds()),
        path=base,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


def _again(site: Site, request: Request, next_page: str, problem: str, status: int) -> Response:
    return site.render(request, "sign_in.html", status, next=next_page, problem=problem)


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
