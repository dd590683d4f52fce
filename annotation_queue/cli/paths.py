"""Files that a command reads and writes: none that it writes may be one that it uses, whatever their names say."""

from __future__ import annotations

import os
import shlex
import stat
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_STREAMS: Final = ("standard input", "standard output", "standard error")


@attrs.frozen
class File:
    """A file as it was given, and where it is whatever directory the process goes to.

    Args:
        shown: What messages call it.
        path: Its absolute path, or the number of an open file.
    """

    shown: str
    path: str | int

    @classmethod
    def of(cls, path: str | os.PathLike[str], shown: str | None = None) -> File:
        """Make one of a path."""
        return cls(repr(os.fspath(path)) if shown is None else shown, os.path.abspath(path))  # noqa: PTH100 - no resolving

    def is_same(self, other: File) -> bool:
        """Tell whether both are one file, by links, hard links and names that differ only by case too."""
        one, two = _status(self.path), _status(other.path)
        if one is not None and two is not None:
            return stat.S_ISREG(one.st_mode) and os.path.samestat(one, two)
        return one is two and _place(self.path) is not None and _place(self.path) == _place(other.path)


def database_files(db: Path) -> list[File]:
    """Name the files of an SQLite database: the database, and those that SQLite keeps beside it."""
    names = dict.fromkeys((os.path.abspath(db), os.path.realpath(db)))  # noqa: PTH100 - as above
    return [
        File.of(f"{name}{ending}", f"the database {os.fspath(db)!r}" + (f" ({ending})" if ending else ""))
        for ending in _BESIDE
        for name in names
    ]


def command_files(command: str) -> list[File]:
    """Name the files that the words of a command are."""
    with suppress(ValueError):  # quotes that are not closed: it is refused elsewhere
        return [File.of(word) for word in shlex.split(command) if os.path.isfile(word)]  # noqa: PTH113 - any text
    return []


def standard_stream(number: int) -> File:
    """Name a standard stream."""
    return File(_STREAMS[number], number)


def find_clash(outputs: Iterable[File], inputs: Iterable[File]) -> str | None:
    """Find a file that would be written although it is read or kept.

    Args:
        outputs: What is written.
        inputs: What is read, and the files of the database.

    Returns:
        What is wrong and what to do; None if every output is a file of its own.
    """
    inputs = list(inputs)
    for output in outputs:
        for given in inputs:
            if output.is_same(given):
                return (
                    f"{output.shown} is the same file as {given.shown} and would be written over; choose another file"
                )
    return None


def _status(path: str | int) -> os.stat_result | None:
    with suppress(OSError, ValueError):
        return os.stat(path)  # noqa: PTH116 - of a number too
    return None


def _place(path: str | int) -> tuple[int, int, str] | None:
    """Say where a file that is not there would be: two such files are one where case makes no difference."""
    if isinstance(path, int):
        return None
    folder, name = os.path.split(os.path.realpath(path))
    status = _status(folder)
    return status and (status.st_dev, status.st_ino, unicodedata.normalize("NFC", name).casefold())
