"""Services over a real socket: apps that are served under a prefix each, and a client that is whoever a request names."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from annotation_queue import ClaimRef
from annotation_queue.web import Principal
from helpers.servers import serving

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from annotation_queue.web import Credentials


def token_of(user_id: str) -> str:
    """Make the token of a user: its name, so that anybody may be anybody here."""
    return base64.b32encode(user_id.encode()).decode()


def anybody(credentials: Credentials) -> Principal:
    """Let everybody in, to every project."""
    return Principal(base64.b32decode(credentials.secret).decode())


class AsNamed(httpx.Auth):
    """Signs a request as whoever it says that asks, as workers do who have one token for each name."""

    requires_request_body = True

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        sent = json.loads(request.content) if request.content else {}
        who = asker_of(sent)
        try:
            request.headers["Authorization"] = f"Bearer {token_of(who)}"
        except UnicodeEncodeError:
            request.headers["Authorization"] = f"Bearer {token_of('anybody')}"
        yield request


def asker_of(sent: dict[str, Any]) -> str:
    """Find who asks."""
    for name in ("created_by", "added_by", "actor_id", "annotator_id"):
        if isinstance(sent.get(name), str) and sent[name]:
            return str(sent[name])
    refs = [sent.get("claim"), *(sent.get("claims") or ()), *(each["claim"] for each in sent.get("results") or ())]
    for ref in refs:
        if isinstance(ref, str):
            return ClaimRef.parse(ref).annotator_id
    return "anybody"


class Apps:
    """Serves any number of apps, each below a prefix of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._apps: dict[str, ASGIApp] = {}

    def add(self, app: ASGIApp) -> str:
        """Serve an app; give its URL."""
        prefix = f"/{len(self._apps)}"
        self._apps[prefix] = app
        return self.url + prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = f"/{scope['path'].split('/')[1]}"
        await self._apps[prefix]({**scope, "root_path": prefix}, receive, send)


@contextmanager
def serving_apps() -> Iterator[Apps]:
    """Serve apps that are added while others are asked."""
    apps = Apps()
    with serving(apps) as url:
        apps.url = url
        yield apps
