"""The input: JSON lines from a file or standard input, checked as a whole before anything is added."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import attrs

from annotation_queue.cli.store import fail
from annotation_queue.errors import InvalidValue
from annotation_queue.items import NewItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.queues import AnnotationQueues

STDIN: Final = "-"
CHUNK: Final = 1_000
"""How many records are added at once, all or none of them."""
_LONGEST_LINE: Final = 16 << 20
_BOM: Final = b"\xef\xbb\xbf"


class BadLine(Exception):
    """A line is no record; the message says why."""


@attrs.frozen
class Lines:
    """Records in a seekable file of JSON lines.

    Args:
        name: What messages call it.
        file: The file.
        id_field: The field of a record that is its call id.
    """

    name: str
    file: IO[bytes]
    id_field: str

    def check(self) -> tuple[int, int, list[str]]:
        """Read everything once; the memory grows with the ids only.

        Returns:
            How many distinct records there are, how many more repeat an id, and a text for each bad line.
        """
        ids: set[str] = set()
        repeated = 0
        problems: list[str] = []
        for number, line in self._numbered():
            try:
                call_id = parse_record(line, self.id_field).call_id
            except BadLine as bad:
                problems.append(f"{self.name}:{number}: {bad}")
                continue
            repeated += call_id in ids
            ids.add(call_id)
        return len(ids), repeated, problems

    def add(self, queues: AnnotationQueues, queue: AnnotationQueue, added_by: str) -> int:
        """Add the records to a queue, each id once, in bounded memory.

        Args:
            queues: The service.
            queue: The queue.
            added_by: User id.

        Returns:
            How many are new.
        """
        records = self._records()
        added = 0
        while chunk := list(islice(records, CHUNK)):
            added += len(queues.add_items(queue.id, chunk, added_by=added_by).added)
        return added

    def _records(self) -> Iterator[NewItem]:
        for number, line in self._numbered():
            try:
                yield parse_record(line, self.id_field)
            except BadLine as bad:
                fail(f"{self.name}:{number}: {bad}; the file changed while it was read")

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        self.file.seek(0)
        number = 0
        while line := self.file.readline(_LONGEST_LINE + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            if len(line) > _LONGEST_LINE:
                while line and not line.endswith(b"\n"):
                    line = self.file.readline(_LONGEST_LINE)
                yield number, b"\0" * (_LONGEST_LINE + 1)
            elif line.strip():
                yield number, line


@contextmanager
def open_lines(path: str, id_field: str) -> Iterator[Lines]:
    """Open the input; what cannot be read twice, such as standard input, is copied to a temporary file.

    Args:
        path: The file; ``-`` for standard input.
        id_field: The field of a record that is its call id.

    Yields:
        The lines.

    Raises:
        Failure: It cannot be read.
    """
    try:
        with sys.stdin.buffer if path == STDIN else open(path, "rb") as source:  # noqa: PTH123 - a text for messages
            if path != STDIN and stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                yield Lines(path, source, id_field)
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(source, copy)
                yield Lines("standard input" if path == STDIN else path, copy, id_field)
    except OSError as error:
        if error.filename != path:
            raise
        fail(f"cannot read {path!r}: {error.strerror}")


def parse_record(line: bytes, id_field: str) -> NewItem:
    """Read one line.

    Args:
        line: The line, as it is in the file.
        id_field: The field that is the call id: text, or an integer that is written as text.

    Returns:
        What to add: the object is its payload.

    Raises:
        BadLine: It is no JSON object in UTF-8, has no such field, or is beyond a limit.
    """
    record = _parse(line)
    if not isinstance(record, dict):
        raise BadLine(f"not a JSON object but {_kind(record)}")
    if id_field not in record:
        raise BadLine(f"no field {id_field!r}")
    call_id = record[id_field]
    if isinstance(call_id, bool) or not isinstance(call_id, str | int):
        raise BadLine(f"field {id_field!r} is neither text nor an integer but {_kind(call_id)}")
    try:
        return NewItem(call_id=str(call_id), payload=record)
    except InvalidValue as error:
        field = f"field {id_field!r}" if error.field == "call_id" else error.field
        raise BadLine(f"{field}: expected {error.expected}, got {error.kind}") from None


def _parse(line: bytes) -> Any:  # noqa: ANN401 - whatever JSON can say
    if len(line) > _LONGEST_LINE:
        raise BadLine(f"longer than {_LONGEST_LINE:,} bytes")
    try:
        return json.loads(line.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8: byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise BadLine(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise BadLine("nested too deeply") from None
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _kind(value: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
