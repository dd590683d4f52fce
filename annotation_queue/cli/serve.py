"""The queues of a storage over HTTP, with pages to label and to look: ``annotation-queue serve``."""

from __future__ import annotations

import getpass
import hashlib
import ipaddress
import json
import signal
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from annotation_queue.cli.adding import OnChange, add_records
from annotation_queue.cli.common import (
    STORAGE_FAILED,
    check_file,
    check_outputs,
    db_option,
    fail,
    project_option,
    say,
    synchronous_option,
)
from annotation_queue.cli.jsonl import Shape, open_records
from annotation_queue.cli.paths import File
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import check_id
from annotation_queue.wire.converter import BadMessage, Id, read

if TYPE_CHECKING:
    from annotation_queue.cli.addresses import Address
    from annotation_queue.web import Authenticate

_EXTRA = {"starlette", "uvicorn", "limits", "jinja2"}
_FAILED_LOGINS: Final = "30/minute"
_SAMPLES: Final = Path(__file__).parents[1] / "samples"
_SAMPLE_NAME: Final = "reviews"
_GRACE: Final = 10
"""Seconds that running requests get when the server is told to stop."""


@attrs.frozen(kw_only=True)
class Token:
    """One entry of a token file.

    Args:
        token: The secret: sent as the bearer token, or as the password of Basic with any user name.
        user: The user id it stands for.
        projects: The projects that the user belongs to.
    """

    token: Id
    user: Id
    projects: tuple[Id, ...]


@attrs.frozen(kw_only=True)
class TokenFile:
    """A token file.

    Args:
        tokens: Its entries.
    """

    tokens: tuple[Token, ...]


@click.command(
    short_help="Label in the browser; serve the queues over HTTP.",
    epilog="""
\b
Examples:
  annotation-queue serve --sample --db reviews.db
  annotation-queue serve --db labels.db --token-file tokens.toml
""",
)
@db_option
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who may ask, in TOML: [[tokens]] with token, user and projects.  [default: you alone, by the address that is shown]",
)
@click.option("--user", metavar="NAME", help="Who you are without a token file.  [default: who runs the command]")
@project_option
@click.option("--sample", is_flag=True, help="Add the bundled reviews to a queue 'reviews' first, to try it out.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", metavar="N", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name under which browsers ask for the pages, as behind a proxy; repeatable.",
)
@click.option("--rate-limit", metavar="RATE", help='How often one user may ask, as "100/minute".')
@synchronous_option
def serve(
    *,
    db: Address,
    token_file: Path | None,
    user: str | None,
    project: str,
    sample: bool,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    rate_limit: str | None,
    synchronous: str,
) -> None:
    """Serve the queues of a file: pages to label in and to look around, and the HTTP APIs of W&B Weave and EvalGuard.

    Without a token file it listens on this machine only, and shows an address that signs you in once; open it in a browser.
    With one, people sign in with their tokens; programs send theirs as Bearer, or as the password of Basic. /openapi.json
    describes the APIs. Ctrl-C or SIGTERM stops it.
    """
    if token_file is None and not _is_loopback(host):
        fail(f"--host {host}: others could reach it; say with --token-file who may ask")
    check_outputs(db, inputs=[] if token_file is None else [File.of(token_file)])
    tokens = () if token_file is None else _read_tokens(token_file)
    owner = check_id("user", _user() if user is None else user) if token_file is None or sample else ""
    try:
        import uvicorn  # noqa: PLC0415 - an extra of its own

        from annotation_queue.cli.connections import AT_ONCE, connections_of, most_connections  # noqa: PLC0415 - as above
        from annotation_queue.web import OneTimeTokens, PageOptions, Principal, create_app  # noqa: PLC0415 - as above
        from annotation_queue.web.hosts import A_NAME, is_name  # noqa: PLC0415 - as above
        from annotation_queue.web.pages.routes import page_routes  # noqa: F401, PLC0415 - so that a missing extra shows here
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        fail('serve needs an extra: pip install "annotation-queue[cli,web]"')
    for each in hosts:
        if not is_name(each):
            fail(f"--allow-host {each}: expected {A_NAME}")
    # What a machine calls itself may be none that a browser can ask for.
    names = {each for each in _names(host, hosts) if is_name(each)}
    check_file(db, create=True)
    with _listen(host, port) as listener, db.open(synchronous.upper(), create=True) as repository:
        if sample:
            _add_sample(AnnotationQueues(repository, project), owner)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}"
        one_time = None
        if token_file is None:

            def show(token: str) -> None:
                say(f"open {url}/pages/sign-in?token={token} (works once; another follows)")

            one_time = OneTimeTokens(Principal(owner, [project]), show)
        app = create_app(
            repository,
            authenticate=_authenticate(tokens),
            rate_limit=rate_limit,
            failed_logins=_FAILED_LOGINS,
            pages=PageOptions(hosts=names, one_time=one_time),
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            http=connections_of(most_connections()),
            backlog=AT_ONCE,
            timeout_graceful_shutdown=_GRACE,
        )
        server = uvicorn.Server(config)
        say(f"serving {db.shown} on {url} (pages at /pages/, see /openapi.json; Ctrl-C stops)")
        if one_time is not None:
            one_time.renew()
        # The server ends at a signal and then raises it again: SIGTERM too shall lead through here, where the file is closed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server.run(sockets=[listener])


def _add_sample(queues: AnnotationQueues, added_by: str) -> None:
    schema = json.loads((_SAMPLES / f"{_SAMPLE_NAME}.schema.json").read_text(encoding="utf-8"))
    try:
        queue = queues.get_or_create(_SAMPLE_NAME, created_by=added_by, label_schema=schema)
    except ModuleNotFoundError as error:
        fail(str(error))
    path = str(_SAMPLES / f"{_SAMPLE_NAME}.jsonl")
    with open_records(path, Shape(), skip_bad=False, shown=f"{_SAMPLE_NAME}.jsonl") as records:
        add_records(queues, queue, records, added_by, OnChange.KEEP)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name; KeyError before Python 3.13
        fail("say who you are with --user")


def _is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _names(host: str, more: tuple[str, ...]) -> set[str]:
    """List the names under which browsers may ask for the pages, besides localhost and any address in numbers."""
    return {host, *more, socket.gethostname(), socket.getfqdn()} if not _is_loopback(host) else {host, *more}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        fail(f"cannot listen on {host}, port {port}: {error.strerror}", STORAGE_FAILED)


def _read_tokens(path: Path) -> tuple[Token, ...]:
    """Read a token file; every entry that is wrong is named."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"cannot read {str(path)!r}: {error.strerror}")
    except RecursionError:
        fail(f"cannot read {str(path)!r}: it is nested too deeply")
    except ValueError as error:
        fail(f"cannot read {str(path)!r}: {error}")
    try:
        tokens = read(TokenFile, content, "").tokens
    except BadMessage as error:
        faults = "; ".join(f"{_name(fault['loc'])}: {fault['msg']}" for fault in error.faults)
        fail(f"{str(path)!r}: {faults}")
    if not tokens:
        fail(f"{str(path)!r}: tokens: expected at least one entry")
    first: dict[str, int] = {}
    for index, each in enumerate(tokens):
        if each.token in first:
            fail(f"{str(path)!r}: tokens[{index}].token: expected another than that of tokens[{first[each.token]}]")
        first[each.token] = index
    return tokens


def _name(place: list[str | int]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).lstrip(".") or "the file"


def _authenticate(tokens: tuple[Token, ...]) -> Authenticate:
    from annotation_queue.web import Principal  # noqa: PLC0415 - an extra of its own

    def digest(secret: str) -> bytes:
        return hashlib.sha256(secret.encode()).digest()

    # Found by its digest: how long that takes tells nothing about how much of a guess is right.
    known = {digest(each.token): Principal(each.user, each.projects) for each in tokens}
    return lambda credentials: known.get(digest(credentials.secret))
