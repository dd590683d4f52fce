"""What the commands share: exit codes, options, the store they open and the queue they mean."""

from __future__ import annotations

import json
import math
import sys
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from annotation_queue.cli.addresses import AddressType
from annotation_queue.cli.paths import database_files, find_clash, standard_stream
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from annotation_queue.cli.addresses import Address
    from annotation_queue.cli.paths import File
    from annotation_queue.items import AnnotationQueue

Command = TypeVar("Command", bound="Callable[..., Any]")

FAILURES: Final = 1
"""Exit code: something failed, or there is nothing to claim any more."""
BAD_INPUT: Final = 2
"""Exit code: wrong usage or bad input."""
STORAGE_FAILED: Final = 3
"""Exit code: the storage or an output file failed."""
HELD: Final = 4
"""Exit code: others hold what is left; come back later."""
INTERRUPTED: Final = 130
"""Exit code: Ctrl-C or SIGTERM."""

DAY: Final = 86_400.0
"""Seconds."""
SHORTEST: Final = 0.001
"""Shortest time that an option takes, in seconds."""


class Number(click.FloatRange):
    """A number within bounds, which not a number is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click
        """Read the number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


db_option = click.option(
    "--db",
    required=True,
    envvar="ANNOTATION_QUEUE_DB",
    metavar="FILE|ADDRESS",
    type=AddressType(),
    help="The SQLite file with the queues, or postgresql://user@host/database; or set ANNOTATION_QUEUE_DB.",
)
project_option = click.option(
    "--project",
    envvar="ANNOTATION_QUEUE_PROJECT",
    metavar="NAME",
    default="default",
    help="The project of the queue; or set ANNOTATION_QUEUE_PROJECT.  [default: 'default']",
)
queue_option = click.option(
    "--queue",
    "queue_name",
    envvar="ANNOTATION_QUEUE_QUEUE",
    metavar="NAME",
    help="Name or id of the queue; not needed if there is only one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
synchronous_option = click.option(
    "--synchronous",
    type=click.Choice(["FULL", "NORMAL"], case_sensitive=False),
    default="FULL",
    show_default=True,
    help="Of an SQLite file: NORMAL is faster, but a power cut may lose the newest changes.",
)


def lease_option(what: str, *, default: float | None) -> Callable[[Command], Command]:
    """Make the option for a lease in seconds, at most a day."""
    return click.option(
        "--lease",
        "lease",
        type=Number(SHORTEST, DAY),
        default=default,
        show_default=default is not None,
        callback=lambda _context, _option, seconds: None if seconds is None else timedelta(seconds=seconds),
        metavar="SECONDS",
        help=what,
    )


class Failure(click.ClickException):
    """Ends the command.

    Args:
        what: What is wrong, in one line.
        code: The exit code.
    """

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what)
        self.code = code


def fail(what: str, code: int = BAD_INPUT) -> NoReturn:
    """End the command with one line on standard error.

    Args:
        what: What is wrong.
        code: The exit code.

    Raises:
        Failure: Always.
    """
    raise Failure(what, code)


def say(what: str) -> None:
    """Write a line for people to standard error, without what could move a terminal's cursor: it may quote labelers."""
    # Nobody is left to be told, if that fails.
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(what)}\n")


def print_json(record: dict[str, Any]) -> None:
    """Write a JSON line to standard output; times as `timestamp`, sets and tuples as arrays."""
    click.echo(to_json(record))


def to_json(record: object) -> str:
    """Write a value as one line of JSON; times as `timestamp`, mappings as objects, what else can be iterated as an array."""
    return _ENCODER.encode(record)


def _plain(value: Any) -> object:  # noqa: ANN401 - whatever JSON has no form of its own for
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return dict(value) if hasattr(value, "keys") else list(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, default=_plain)
"""Made once: what we write holds no cycles, and to make an encoder takes as long as a line."""


def check_file(db: Address, *, create: bool = False) -> None:
    """Find out early that there is no file to open, or that it is in use for something else.

    Args:
        db: Where the queues are; only files are looked at.
        create: Whether it is made where it is missing.

    Raises:
        Failure: The file, or its directory, is missing; or a standard stream is that file.
    """
    path = db.path
    if path is not None and not create and not path.exists():
        fail(f"there is no file {str(path)!r}")
    if path is not None and not path.parent.is_dir():
        fail(f"there is no directory {str(path.parent)!r} to make {path.name!r} in")
    check_outputs(db)


def check_outputs(db: Address, *, outputs: Iterable[File] = (), inputs: Iterable[File] = ()) -> None:
    """Refuse to write over what is read or kept: an input, the database, or a file that SQLite keeps beside it.

    Files are compared by what they are, whatever their names say: links, hard links, relative paths, upper and lower case.

    Args:
        db: Where the queues are.
        outputs: What is written besides standard output and standard error.
        inputs: What is read besides standard input.

    Raises:
        Failure: One of the outputs is one of the inputs, or the database.
    """
    stdin, stdout, stderr = map(standard_stream, range(3))
    read, kept = [stdin, *inputs], [] if db.path is None else database_files(db.path)
    clash = (
        find_clash(outputs, [*read, *kept]) or find_clash([stdout, stderr], [*inputs, *kept]) or find_clash(kept, read)
    )
    if clash is not None:
        fail(clash)


@contextmanager
def open_queues(
    db: Address, project: str, *, create: bool = False, synchronous: str = "FULL"
) -> Iterator[AnnotationQueues]:
    """Open the queues of a project.

    Args:
        db: Where the queues are.
        project: The project.
        create: Whether a file, or a server's schema, is made where it is missing.
        synchronous: SQLite's setting.

    Yields:
        The service; the storage is closed afterwards.

    Raises:
        Failure: The file, or its directory, is missing.
    """
    check_file(db, create=create)
    with db.open(synchronous.upper(), create=create) as repository:
        yield AnnotationQueues(repository, project)


def find_queue(queues: AnnotationQueues, name: str) -> AnnotationQueue | None:
    """Find a live queue by its exact name or its id.

    Args:
        queues: The service.
        name: Name or id.

    Returns:
        The queue; None where there is none.

    Raises:
        Failure: Several have the name.
    """
    known = queues.query().queues
    found = [queue for queue in known if queue.id == name] or [queue for queue in known if queue.name == name]
    if len(found) > 1:
        fail(f"{len(found)} queues are named {name!r}; give one's id: {', '.join(queue.id for queue in found)}")
    return found[0] if found else None


def open_queue(
    queues: AnnotationQueues,
    name: str,
    created_by: str,
    defaults: Mapping[str, Any] | None = None,
    **policies: Any,  # noqa: ANN401 - those of create
) -> AnnotationQueue:
    """Find a queue by its name or its id, or make it.

    Args:
        queues: The service.
        name: Name or id.
        created_by: User id.
        defaults: What a new queue gets where ``policies`` are silent.
        policies: Those of `AnnotationQueues.create` that were asked for. A queue that is there follows them.

    Returns:
        The queue.

    Raises:
        Failure: Several have the name.
    """
    found = find_queue(queues, name)
    if found is None:
        found = queues.get_or_create(name, created_by=created_by, **{**(defaults or {}), **policies})
    return queues.update(found.id, **policies) if policies else found


def choose_queue(queues: AnnotationQueues, name: str | None) -> AnnotationQueue:
    """Find the queue that is meant.

    Args:
        queues: The service.
        name: Name or id; None for the only one.

    Returns:
        The queue.

    Raises:
        Failure: There is none, or several are possible.
    """
    if name is not None:
        return find_queue(queues, name) or fail(f"there is no queue {name!r} in project {queues.project_id!r}")
    known = queues.query().queues
    if not known:
        fail(f"there is no queue in project {queues.project_id!r}")
    if len(known) > 1:
        fail(f"say which queue with --queue: {', '.join(sorted(repr(queue.name) for queue in known))}")
    return known[0]


def printable(text: str) -> str:
    r"""Replace what could move a terminal's cursor.

    >>> printable("a\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join(character if character.isprintable() else "?" for character in text)
