"""The standard streams: closed, full or gone, they never end the command line in a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT_NAME: Final = "standard output"
"""What errors call standard output."""


class _Closed(io.RawIOBase):
    """Standard output that is closed: whatever is written to it is an error, until that was told."""

    is_silent = False
    """Whether what is written goes nowhere."""

    def writable(self) -> bool:
        """Tell that one may try."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Refuse.

        Raises:
            OSError: It is not silent.
        """
        if self.is_silent:
            return memoryview(data).nbytes
        raise OSError(errno.EBADF, "it is closed", STDOUT_NAME)


@contextmanager
def writing_output() -> Iterator[None]:
    """Have an error that comes up meanwhile say that it came up at standard output."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = STDOUT_NAME
        raise


class _Named(io.TextIOWrapper):
    """Standard output: an error says that it came up there."""

    def write(self, text: str) -> int:
        """Write."""
        with writing_output():
            return super().write(text)

    def flush(self) -> None:
        """Write what was kept."""
        with writing_output():
            super().flush()


class _Forgiving(io.TextIOWrapper):
    """Standard error: once it cannot be written, what is written goes nowhere, since nobody is left to be told."""

    # Not a raw stream with a `write` of its own: an interrupt in there would have a line written twice.
    def write(self, text: str) -> int:
        """Write what can be written, and take the rest for written."""
        try:
            return super().write(text)
        except OSError:
            _to_null(2)
            return len(text)

    def flush(self) -> None:
        """Write what was kept."""
        try:
            super().flush()
        except OSError:
            _to_null(2)


def prepare_streams() -> None:
    """Make the standard streams such that every command can use them.

    What is closed is opened on the null device, so that no other file gets its number: standard input is empty then, and
    writing to standard output is an error. Text is UTF-8, and what is no text passes as it is.
    """
    _occupy()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), encoding="utf-8", write_through=True)
    elif _number(sys.stdout) == 1:
        with suppress(OSError):
            sys.stdout.flush()
        raw = io.FileIO(1, "wb", closefd=False)
        sys.stdout = _Named(io.BufferedWriter(raw), line_buffering=raw.isatty())
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as above
    elif _number(sys.stderr) == 2:  # noqa: PLR2004 - that of standard error
        with suppress(OSError):
            sys.stderr.flush()
        sys.stderr = _Forgiving(io.BufferedWriter(io.FileIO(2, "wb", closefd=False)), line_buffering=True)
    both = "backslashreplace"
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, both), (sys.stderr, both)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def silence_output() -> None:
    """Let what standard output could not take go nowhere, so that the interpreter's last flush does not fail."""
    number = _number(sys.stdout)
    if number is not None:
        _to_null(number)
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Closed):
        # Another stream in its place would not do: from Python 3.13 on one whose last flush fails is told of as it goes.
        raw.is_silent = True


def _occupy() -> None:
    """Open the null device in place of standard streams that are closed."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:  # noqa: PLR2004 - the last of the standard streams
            os.close(number)
            return


def _to_null(number: int) -> None:
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def _number(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
