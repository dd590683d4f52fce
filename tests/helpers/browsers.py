"""Real browsers on a real server: the installed Chromium, driven by Playwright, and axe-core's rules."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, SQLiteRepository
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = os.environ.get("ANNOTATION_QUEUE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
AXE = "ANNOTATION_QUEUE_AXE"
"""The variable that names axe-core's one file, ``axe.min.js``."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PROJECT = "reviews"
TOKENS = "".join(
    f'[[tokens]]\ntoken = "{user}-key"\nuser = "{user}"\nprojects = ["{PROJECT}"]\n\n'
    for user in ("ann", "bob", "boss")
)


class Desk:
    """A served file, and the browser that people look at it with."""

    def __init__(self, url: str, queues: AnnotationQueues, browser: Browser) -> None:
        self.url = url
        self.queues = queues
        self.browser = browser
        self.problems: list[str] = []
        """What the pages' scripts raised, and what the browser refused to run."""

    def open(self, path: str, user: str = "ann", **options: Any) -> Page:  # noqa: ANN401 - those of a context
        """Sign somebody in, and open a page."""
        context: BrowserContext = self.browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{self.url}/pages/{path}")
        page.fill("#token", f"{user}-key")
        with page.expect_navigation():  # the page to sign in stands at the same address
            page.keyboard.press("Enter")
        return page

    def close_pages(self) -> None:
        """Close all that is open."""
        for context in self.browser.contexts:
            context.close()

    def rate(self, queue_id: str, user: str = "ann", **options: Any) -> Page:  # noqa: ANN401 - as above
        """Open the rater's page, and wait for its first item."""
        page = self.open(f"label/{queue_id}", user, **options)
        page.wait_for_selector("#item h2")
        return page


def find_axe() -> Path | None:
    """Find axe-core where the variable says, or in a ``node_modules`` beside the checkout or above it."""
    if named := os.environ.get(AXE):
        return Path(named)
    for folder in Path(__file__).resolve().parents:
        if (found := folder / "node_modules" / "axe-core" / "axe.min.js").exists():
            return found
    return None


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Serve a fresh SQLite file by a process of its own, and start Chromium; skip loudly if there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (or named by ANNOTATION_QUEUE_CHROMIUM): NOT TESTED in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: NOT TESTED in a browser")
    (folder / "tokens.toml").write_text(TOKENS)
    with ExitStack() as stack:
        repository = stack.enter_context(SQLiteRepository(folder / "labels.db"))
        url = stack.enter_context(served(folder, "--token-file", "tokens.toml"))[0]
        player = stack.enter_context(sync_api.sync_playwright())
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        stack.callback(browser.close)
        yield Desk(url, AnnotationQueues(repository, PROJECT), browser)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Serve the file ``labels.db`` of a folder; give its URL, and a function that reads the next line that is said."""
    command = [sys.executable, "-m", "annotation_queue", "serve", "--db", "labels.db", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = ""
            while (found := re.search(r"serving \S+ on (http://\S+) ", line := process.stderr.readline())) is None:
                said += line
                assert line, said
            yield found[1], process.stderr.readline
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def text_of(page: Page, selector: str) -> str:
    """Read what an element says."""
    return page.locator(selector).inner_text()


def wait_for(page: Page, condition: Callable[[], bool]) -> None:
    """Look again and again until the condition holds, and let the page go on meanwhile."""
    del page  # Playwright answers its events in every call that the condition makes
    wait_until(condition)
