"""What the tests of the web app share: a served app, and the client that Weave publishes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from annotation_queue import MemoryRepository
from annotation_queue.web import create_app
from helpers.servers import NO_TLS, authenticate, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WEAVE = "weave==0.54.0"
WHEEL = "ANNOTATION_QUEUE_WEAVE_WHEEL"
SDK = "weave/vendor/weave_server_sdk"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve an app over a fresh repository, or the one that is given; give its URL."""
    with ExitStack() as stack:

        def start(**options: Any) -> str:  # noqa: ANN401 - those of create_app
            repository = options.pop("repository", None) or stack.enter_context(closing(MemoryRepository()))
            return stack.enter_context(serving(create_app(repository, **{"authenticate": authenticate} | options)))

        yield start


@pytest.fixture(scope="session")
def shared_url() -> Iterator[str]:
    """The URL of one app for the tests to which it does not matter what is in it."""
    with MemoryRepository() as repository, serving(create_app(repository, authenticate=authenticate)) as url:
        yield url


@pytest.fixture
def connect(serve: Callable[..., str]) -> Iterator[Callable[..., httpx.Client]]:
    """Serve an app as `serve` does, or take the one at a URL; give a client of the user with this key, at first ann's."""
    with ExitStack() as stack:

        def start(key: str = "ann-key", url: str = "", **options: Any) -> httpx.Client:  # noqa: ANN401 - as above
            headers = {"Authorization": f"Bearer {key}"}
            return stack.enter_context(
                httpx.Client(verify=NO_TLS, base_url=url or serve(**options), headers=headers, timeout=30)
            )

        yield start


@pytest.fixture
def client(connect: Callable[..., httpx.Client]) -> httpx.Client:
    """A client of ann's of a fresh app with nothing in it."""
    return connect()


@pytest.fixture(scope="session")
def weave_sdk(pytestconfig: pytest.Config) -> Any:  # noqa: ANN401 - a module that has no types here
    """The generated client out of Weave's wheel, without what else is in it and the 30 packages which that needs."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("weave_client") / WEAVE.replace("==", "-")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            with zipfile.ZipFile(os.environ.get(WHEEL) or _download(made)) as wheel:
                wheel.extractall(f"{made}/sdk", [name for name in wheel.namelist() if name.startswith(SDK)])
            with suppress(OSError):  # another process was faster
                Path(made, "sdk").rename(folder)
    # Without their own modules, the packages around the client do nothing when they are imported.
    sys.path.append(str(folder))
    return importlib.import_module(SDK.replace("/", "."))


def _download(folder: str) -> str:
    wheel = download_wheel(WEAVE, Path(folder))
    if isinstance(wheel, str):
        pytest.fail(
            f"these tests need the client that Weave publishes, and it could not be fetched; "
            f"where there is no package index, set {WHEEL} to the wheel's path\n{wheel}",
            pytrace=False,
        )
    return str(wheel)


def download_wheel(requirement: str, folder: Path) -> Path | str:
    """Fetch a wheel without what it depends on; give its path, or what went wrong in words."""
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr
    name, _, version = requirement.partition("==")
    return next(folder.glob(f"{name}-{version}-*.whl"))
