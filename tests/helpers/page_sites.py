"""A queue with pages, served from a thread, and whoever looks at them without a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

from annotation_queue import AnnotationQueues, MemoryRepository, NewItem
from annotation_queue.web import create_app
from helpers.servers import NO_TLS, PROJECT, authenticate, serving

if TYPE_CHECKING:
    from contextlib import ExitStack

    from annotation_queue.web import PageOptions

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">'


class Site:
    """A served queue with two items, and browsers for it."""

    def __init__(self, options: PageOptions, stack: ExitStack) -> None:
        self.stack = stack
        self.repository = stack.enter_context(MemoryRepository())
        self.queues = AnnotationQueues(self.repository, PROJECT)
        self.queue = self.queues.create(f"=q {HOSTILE}", created_by="ann", queue_id="q")
        new = [NewItem(call_id=f"=1+{n}{HOSTILE}", payload={HOSTILE: HOSTILE, "n": n}) for n in range(2)]
        self.items = self.queues.add_items("q", new, added_by="ann").added
        self.app = create_app(self.repository, authenticate=authenticate, pages=options)
        self.url = stack.enter_context(serving(self.app))

    def browser(self) -> httpx.Client:
        """Open a browser that nobody has signed in with."""
        return self.stack.enter_context(httpx.Client(verify=NO_TLS, base_url=self.url, timeout=30))

    def signed_in(self, key: str = "ann-key") -> Browser:
        """Open a browser and sign in."""
        browser = self.browser()
        assert browser.post("/pages/sign-in", data={"token": key}).status_code == 303
        return Browser(browser)


class Browser:
    """Somebody who is signed in."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.csrf = re.findall(r'name="csrf" value="([^"]+)"', client.get("/pages/").text)[0]

    def call(self, name: str, body: dict[str, object] | None = None, **headers: str) -> tuple[int, dict[str, object]]:
        """Ask as the rater's page does."""
        given = {"X-CSRF-Token": self.csrf} | {key.replace("_", "-"): value for key, value in headers.items()}
        answer = self.client.post(f"/pages/label/q/{name}", json=body or {}, headers=given)
        return answer.status_code, answer.json()
