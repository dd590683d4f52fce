"""The input: records as JSON lines from a file or standard input, gzipped or not, in bounded memory."""

from __future__ import annotations

import errno
import gzip
import io
import json
import re
import shutil
import sys
import tempfile
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn, cast

import attrs

from annotation_queue.cli.common import fail, say
from annotation_queue.errors import InvalidValue
from annotation_queue.items import NewItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDIN: Final = "-"
STDIN_NAME: Final = "standard input"
"""What messages call it."""
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_UNREADABLE: Final = (errno.EISDIR, errno.EBADF, errno.EIO)
_LONGEST_LINE: Final = 16 << 20
_MOST_BAD_LINES: Final = 1_000
_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"


class BadLine(Exception):
    """A line is no record; the message says why."""


@attrs.frozen
class Shape:
    """What of a record becomes what of an item.

    Args:
        id_field: The field that is the call id: text, or an integer that is written as text.
        payload: The fields that the payload keeps, each of which a record must have; empty for the whole record.
    """

    id_field: str = "id"
    payload: tuple[str, ...] = ()


@attrs.frozen
class Record:
    """One record of an input.

    Args:
        line: The number of its line, from 1.
        item: What to add.
        has_integer_id: Whether its id is an integer; else it is text.
    """

    line: int
    item: NewItem
    has_integer_id: bool


@attrs.define
class Records:
    """The records of an input, and how many of them were read.

    Args:
        name: What messages call the input.
        open_lines: Starts the input, and gives its lines that are not blank, with their numbers from 1.
        shape: What of a record becomes what.
        skip_bad: Whether a bad line is named and left out; else it ends the command.
        total: How many records there are; None where that shows only at the end.
        read: How many records were read.
        bad: How many bad lines were left out.
    """

    name: str
    open_lines: Callable[[], Iterator[tuple[int, bytes]]]
    shape: Shape
    skip_bad: bool
    total: int | None
    read: int = 0
    bad: int = 0

    def __iter__(self) -> Iterator[Record]:
        """Read the records in their order, and count them."""
        for number, line in self.open_lines():
            try:
                record = parse_record(number, line, self.shape)
            except BadLine as bad:
                if not self.skip_bad:
                    fail(f"{self.name}:{number}: {bad}; the file changed while it was read")
                self.note_bad(number, bad)
                continue
            self.read += 1
            yield record

    def look_ahead(self) -> Iterator[Record]:
        """Read the records in their order without counting them; only where the input can be read twice."""
        for number, line in self.open_lines():
            with suppress(BadLine):
                yield parse_record(number, line, self.shape)

    def note_bad(self, number: int, problem: object) -> None:
        """Name a bad line that is left out, and count it."""
        say(f"{self.name}:{number}: {problem}")
        self.bad += 1


@contextmanager
def open_records(
    path: str, shape: Shape, *, skip_bad: bool, shown: str | None = None, twice: bool = False
) -> Iterator[Records]:
    """Open the input.

    Unless bad lines are skipped, it is checked as a whole first. What cannot be read twice, such as a pipe, is copied to a
    temporary file for that; otherwise it is read once, as it comes. Memory does not grow with it.

    Args:
        path: The file; ``-`` for standard input. Whether it is gzipped shows in its first bytes.
        shape: What of a record becomes what.
        skip_bad: Whether a bad line is named and left out; else every bad line is named and the command ends.
        shown: What messages call the file; None for its path.
        twice: Whether the records shall be read more than once, though bad lines are skipped.

    Yields:
        The records.

    Raises:
        Failure: It cannot be read, or has bad lines.
    """
    name = STDIN_NAME if path == STDIN else shown or path
    try:
        with _open_source(path, twice=twice or not skip_bad) as source:
            start = source.tell() if source.seekable() else None

            def open_lines() -> Iterator[tuple[int, bytes]]:
                if start is not None:
                    source.seek(start)
                return numbered_lines(_unzipped(source))

            total = None if skip_bad else _check(name, open_lines, shape)
            yield Records(name, open_lines, shape, skip_bad, total)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        fail(f"{name}: the gzip data is cut off or damaged: {error}")
    except OSError as error:
        is_stdin = path == STDIN and error.filename is None and error.errno in _UNREADABLE
        if error.filename != path and not is_stdin:
            raise
        fail(f"cannot read {name!r}: {error.strerror}")


def queue_name_of(path: str) -> str:
    """Name a queue after the file that fills it.

    >>> queue_name_of("data/traces.jsonl.gz")
    'traces'
    """
    return Path(Path(path).name.removesuffix(".gz")).stem


@contextmanager
def _open_source(path: str, *, twice: bool) -> Iterator[IO[bytes]]:
    with sys.stdin.buffer if path == STDIN else open(path, "rb") as source:  # noqa: PTH123 - a text for messages
        if source.seekable() or not twice:
            yield source
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy)
            copy.seek(0)
            yield copy


class _Joined(io.RawIOBase):
    """Some bytes that were read already, and what comes after them."""

    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - typeshed's buffers have no length
        """Read some bytes, none at the end."""
        more = self._head[: len(buffer)] or self._rest.read1(len(buffer))
        self._head = self._head[len(more) :]
        buffer[: len(more)] = more
        return len(more)


def _unzipped(source: IO[bytes]) -> IO[bytes]:
    head = source.read(len(_GZIP))
    whole: IO[bytes]
    if source.seekable():
        source.seek(-len(head), io.SEEK_CUR)
        whole = source
    else:
        whole = io.BufferedReader(_Joined(head, cast("io.BufferedReader", source)))
    return cast("IO[bytes]", gzip.GzipFile(fileobj=whole)) if head == _GZIP else whole


def _check(name: str, open_lines: Callable[[], Iterator[tuple[int, bytes]]], shape: Shape) -> int:
    """Name every bad line; count the records where there is none."""
    good = bad = 0
    has_integers = has_digits = False
    for number, line in open_lines():
        try:
            record = parse_record(number, line, shape)
        except BadLine as problem:
            bad += 1
            say(f"{name}:{number}: {problem}")
        else:
            good += 1
            has_integers |= record.has_integer_id
            has_digits |= not record.has_integer_id and _INTEGER.fullmatch(record.item.call_id) is not None
            continue
        if bad == _MOST_BAD_LINES:
            fail(f"{name}: {bad:,} bad lines up to line {number:,}, and nobody looked further; nothing was added")
    if has_integers and has_digits:
        bad += _name_twins(name, open_lines, shape)
    if bad:
        fail(f"{name}: {bad:,} bad {'line' if bad == 1 else 'lines'}; nothing was added; see --on-bad-line")
    return good


def _name_twins(name: str, open_lines: Callable[[], Iterator[tuple[int, bytes]]], shape: Shape) -> int:
    """Name the records whose id is the integer 1 where another one's is the text "1": both would be the same call."""
    seen: dict[bool, dict[str, int]] = {True: {}, False: {}}
    count = 0
    for number, line in open_lines():
        with suppress(BadLine):  # it was named
            record = parse_record(number, line, shape)
            call_id = record.item.call_id
            if _INTEGER.fullmatch(call_id):
                seen[record.has_integer_id].setdefault(call_id, number)
                if (first := seen[not record.has_integer_id].get(call_id)) is not None:
                    count += 1
                    say(f"{name}:{number}: {twin(record, f'line {first}')}")
    return count


def twin(record: Record, where: str) -> str:
    """Say that a record's id is an integer where another record's is the same digits as text, or the other way round."""
    call_id = record.item.call_id
    one, other = (call_id, f'"{call_id}"') if record.has_integer_id else (f'"{call_id}"', call_id)
    return f"its id is {one} and that of {where} is {other}; an integer and a text cannot be told apart as ids"


def numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Walk over the lines of a file that are not blank, each with its number; of one that is too long, the beginning."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > _LONGEST_LINE:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(_LONGEST_LINE)
            yield number, line
        elif line.strip():
            yield number, line


def parse_record(number: int, line: bytes, shape: Shape) -> Record:
    """Read one line.

    Args:
        number: The number of the line.
        line: The line, as it is in the file.
        shape: What of the record becomes what.

    Returns:
        The record.

    Raises:
        BadLine: It is no JSON object in UTF-8, lacks a field, or is beyond a limit.
    """
    record = parse_line(line)
    if not isinstance(record, dict):
        raise BadLine(f"not a JSON object but {kind_of(record)}")
    for field in (shape.id_field, *shape.payload):
        if field not in record:
            raise BadLine(f"no field {field!r}")
    call_id = record[shape.id_field]
    if isinstance(call_id, bool) or not isinstance(call_id, str | int):
        raise BadLine(f"field {shape.id_field!r} is neither text nor an integer but {kind_of(call_id)}")
    payload = {field: record[field] for field in shape.payload} if shape.payload else record
    try:
        return Record(number, NewItem(call_id=str(call_id), payload=payload), not isinstance(call_id, str))
    except InvalidValue as error:
        field = f"field {shape.id_field!r}" if error.field == "call_id" else error.field
        raise BadLine(f"{field}: expected {error.expected}, got {error.kind}") from None


def parse_line(line: bytes) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Read the JSON of one line.

    Raises:
        BadLine: It is none in UTF-8, or longer than is read.
    """
    if len(line) > _LONGEST_LINE:
        raise BadLine(f"longer than {_LONGEST_LINE:,} bytes")
    try:
        return parse_json(line.decode().rstrip(" \t\r\n"))
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8: byte {error.start + 1} of the line") from None
    except ValueError as error:
        raise BadLine(str(error)) from None


def parse_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Read JSON as it is defined, without NaN and infinities.

    Args:
        text: The JSON.

    Returns:
        The value.

    Raises:
        ValueError: It is none; the message says why.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        message = "nested too deeply"
    except ValueError as error:
        message = f"not JSON: {error}"
    raise ValueError(message)


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def kind_of(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    """Name the kind of a JSON value."""
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
