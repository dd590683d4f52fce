"""The pictures of the README: the two pages in Chromium, over the bundled reviews. ``python -m benchmarks.screenshots``."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from annotation_queue import AnnotationQueues, SQLiteRepository
from annotation_queue.samples.labelers import sentiment

RESULTS = Path(__file__).with_name("results")
SIZE: ViewportSize = {"width": 1200, "height": 560}
MOST_BYTES = 150_000


def label_some(file: Path, queue_id: str) -> None:
    """Let two annotators label a third of the reviews, so that the pages have something to show."""
    with SQLiteRepository(file) as repository:
        queues = AnnotationQueues(repository, "default")
        for number in range(20):
            claim = queues.claim(queue_id, "carol" if number % 3 else "dan")
            assert claim
            guess = json.loads(json.dumps(sentiment(claim.item)))
            queues.complete(claim, {"label": guess["label"]})


def take(page: Page, name: str) -> None:
    """Take a picture, small enough for a README."""
    path = RESULTS / f"{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    assert size < MOST_BYTES, f"{path} has {size:,} bytes"
    print(f"{path.name}: {size:,} bytes")


def main() -> None:
    """Serve the sample, and look at it."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "no Chromium is installed"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "annotation_queue", "serve", "--sample", "--db", "reviews.db", "--port", "0"]
        with subprocess.Popen([*command, "--user", "ann"], cwd=folder, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            while (found := re.search(r"open (\S+/pages)(/sign-in\S+)", line := server.stderr.readline())) is None:
                assert line, "the server ended"
            pages, way_in = found.groups()
            try:
                with sync_playwright() as player:
                    arguments = ["--no-sandbox", "--disable-gpu"]
                    browser = player.chromium.launch(executable_path=chromium, args=arguments)
                    page = browser.new_page(viewport=SIZE)
                    page.goto(pages + way_in)
                    page.get_by_role("link", name="reviews", exact=True).click()
                    queue = page.url
                    label_some(Path(folder, "reviews.db"), queue.rpartition("/")[2])
                    page.click("text=Label")
                    page.wait_for_selector("#item h2")
                    page.keyboard.press("2")
                    page.wait_for_selector("text=Draft saved")
                    take(page, "rating")
                    page.goto(queue)
                    take(page, "dashboard")
                    browser.close()
            finally:
                server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
