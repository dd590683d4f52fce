"""The published APIs over HTTP, to try them by hand: ``annotation-queue serve``."""

from __future__ import annotations

import hashlib
import signal
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from annotation_queue.cli.common import (
    STORAGE_FAILED,
    check_file,
    check_outputs,
    db_option,
    fail,
    say,
    synchronous_option,
)
from annotation_queue.cli.paths import File
from annotation_queue.wire.converter import BadMessage, Id, read

if TYPE_CHECKING:
    from annotation_queue.cli.addresses import Address
    from annotation_queue.web import Authenticate

_EXTRA = {"starlette", "uvicorn", "limits"}
_FAILED_LOGINS: Final = "30/minute"


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


@click.command()
@db_option
@click.option(
    "--token-file",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Who may ask, in TOML: [[tokens]] with token, user and projects.",
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", metavar="N", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option("--rate-limit", metavar="RATE", help='How often one user may ask, as "100/minute".')
@synchronous_option
def serve(*, db: Address, token_file: Path, host: str, port: int, rate_limit: str | None, synchronous: str) -> None:
    """Serve the queues of a file over HTTP, as W&B Weave and EvalGuard have it.

    A token is sent as Bearer, or as the password of Basic. /openapi.json describes what is served. Ctrl-C or SIGTERM stops it.
    """
    check_outputs(db, inputs=[File.of(token_file)])
    tokens = _read_tokens(token_file)
    try:
        import uvicorn  # noqa: PLC0415 - an extra of its own

        from annotation_queue.cli.connections import AT_ONCE, connections_of, most_connections  # noqa: PLC0415 - as above
        from annotation_queue.web import create_app  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        fail('serve needs an extra: pip install "annotation-queue[cli,web]"')
    check_file(db, create=True)
    with _listen(host, port) as listener, db.open(synchronous.upper()) as repository:
        app = create_app(
            repository, authenticate=_authenticate(tokens), rate_limit=rate_limit, failed_logins=_FAILED_LOGINS
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            http=connections_of(most_connections()),
            backlog=AT_ONCE,
        )
        server = uvicorn.Server(config)
        name = f"[{host}]" if ":" in host else host
        say(f"serving {db.shown} on http://{name}:{listener.getsockname()[1]} (see /openapi.json; Ctrl-C stops)")
        # The server ends at a signal and then raises it again: SIGTERM too shall lead through here, where the file is closed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server.run(sockets=[listener])


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
