"""What the commands share: exit codes, options, the store they open and the queue they mean."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from annotation_queue.queues import AnnotationQueues

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.repository import Repository

FAILURES: Final = 1
"""Exit code: items failed, or are left because others hold them."""
BAD_INPUT: Final = 2
"""Exit code: wrong usage or bad input; nothing was done."""
STORAGE_FAILED: Final = 3
"""Exit code: the storage or an output file failed."""
INTERRUPTED: Final = 130
"""Exit code: Ctrl-C or SIGTERM."""

db_option = click.option(
    "--db", required=True, metavar="FILE", type=click.Path(path_type=Path), help="The SQLite file with the queues."
)
project_option = click.option(
    "--project", metavar="NAME", default="default", help="The project of the queue.  [default: 'default']"
)
queue_option = click.option(
    "--queue", "queue_name", metavar="NAME", help="Name or id of the queue; may be left out where there is only one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")


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
    """Write a line for people to standard error."""
    sys.stderr.write(f"{what}\n")


def open_repository(db: Path, synchronous: str) -> Repository:
    """Open the file; the one place where the command line chooses a repository."""
    from annotation_queue import SQLiteRepository  # noqa: PLC0415 - help and usage errors need no storage

    return SQLiteRepository(db, synchronous=synchronous)


@contextmanager
def open_queues(
    db: Path, project: str, *, create: bool = False, synchronous: str = "FULL"
) -> Iterator[AnnotationQueues]:
    """Open the queues of a project.

    Args:
        db: The SQLite file.
        project: The project.
        create: Whether the file is made where it is missing.
        synchronous: SQLite's setting.

    Yields:
        The service; the file is closed afterwards.

    Raises:
        Failure: The file, or its directory, is missing.
    """
    if not create and not db.exists():
        fail(f"there is no file {str(db)!r}")
    if not db.parent.is_dir():
        fail(f"there is no directory {str(db.parent)!r} to make {db.name!r} in")
    with open_repository(db, synchronous) as repository:
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


def timestamp(moment: datetime | None) -> str | None:
    """Write a UTC time as ISO 8601 with microseconds and Z; None stays None."""
    return None if moment is None else moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    r"""Replace what could move a terminal's cursor.

    >>> printable("a\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join(character if character.isprintable() else "?" for character in text)
