"""Labelers that are programs: they read items as JSON lines and answer each with its label, and are kept running."""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.labelers import RetryLater, SkipItem
from annotation_queue.cli.common import fail, to_json
from annotation_queue.cli.jsonl import kind_of, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annotation_queue.items import QueueItem

SKIP: Final = "$skip"
"""The only key of an answer that skips the item, with the reason or null."""
ERROR: Final = "$error"
"""The only key of an answer that fails this attempt, with what went wrong."""
RETRY: Final = "$retry_after"
"""The only key of an answer that wants the item again after so many seconds."""
END_GRACE: Final = 2.0
"""Seconds that a program has to end when its input ends, and again when it is asked to."""
_LONGEST_ANSWER: Final = 16 << 20
_CHUNK: Final = 1 << 16
_SHOWN: Final = 200
_TICK: Final = 1.0
_LOOK: Final = 0.005
_LAST_BREATH: Final = 0.5
_WELL: Final = "ended with exit code 0"


class ProgramFailed(Exception):
    """The program died, gave no answer in time, or one that is none; it is started again for the next attempt."""


class AnswerRefused(Exception):
    """The program answered that it failed on this item."""


class Programs:
    """A labeler that hands items to processes of one command, as many as there are threads that call it.

    A process gets an item as one line of JSON, and answers with one line: its label. It is started when it is needed, in a
    session of its own, so that Ctrl-C does not reach it; what it writes to standard error is passed on.

    Args:
        command: The command with its arguments, quoted as in a shell; no shell is started.
        timeout: Seconds for each answer; None for ever.

    Raises:
        Failure: There is no such command.
    """

    def __init__(self, command: str, *, timeout: float | None = None) -> None:
        self._arguments = _split(command)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._closed = False

    def __call__(self, item: QueueItem) -> Any:  # noqa: ANN401 - any JSON value
        """Label an item.

        Args:
            item: The item.

        Returns:
            The label.

        Raises:
            SkipItem: The program said so.
            RetryLater: The program said so.
            AnswerRefused: The program said that it failed.
            ProgramFailed: It gave no proper answer, and is dead by now.
        """
        question = to_json(attrs.asdict(item, recurse=False))
        while True:
            process = self._take()
            try:
                label = process.ask(question, self._timeout)
            except BaseException:
                with self._lock:
                    self._busy.discard(process)
                has_ended = process.has_done_its_part()
                process.kill()
                process.close()
                if has_ended:
                    continue
                raise
            with self._lock:
                self._busy.discard(process)
                self._idle.append(process)
            return _judge(label)

    def close(self) -> None:
        """End every process with all that it started: an idle one by ending its input, one at work by SIGTERM.

        What does not follow within two seconds gets SIGTERM, and SIGKILL after two more.
        """
        with self._lock:
            self._closed = True
            idle, busy = list(self._idle), list(self._busy)
        for process in idle:
            process.end_input()
        for process in busy:
            process.signal(signal.SIGTERM)
        _wait(idle, END_GRACE, tended=idle)
        for process in idle:
            process.signal(signal.SIGTERM)
        _wait([*idle, *busy], END_GRACE, tended=idle)
        for process in (*idle, *busy):
            process.kill()
        for process in idle:  # the thread that asks a busy one closes it
            process.close()

    def _take(self) -> _Process:
        with self._lock:
            if self._closed:
                raise ProgramFailed("the run is over")
            process = self._idle.pop() if self._idle else _Process(self._arguments)
            self._busy.add(process)
            return process


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        fail(f"--exec {command!r}: {error}")
    if not arguments:
        fail("--exec takes a command")
    if shutil.which(arguments[0]) is None:
        fail(f"--exec {command!r}: there is no command {arguments[0]!r}")
    return arguments


def _judge(answer: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Follow what an answer says instead of giving a label."""
    if not isinstance(answer, dict) or len(answer) != 1:
        return answer
    ((key, value),) = answer.items()
    if key == SKIP:
        raise SkipItem(None if value is None else str(value))
    if key == ERROR:
        raise AnswerRefused(str(value))
    if key == RETRY:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise AnswerRefused(f"{RETRY} takes seconds, not {kind_of(value)}")
        raise RetryLater(value)
    return answer


def _wait(processes: Iterable[_Process], seconds: float, *, tended: Iterable[_Process] = ()) -> None:
    """Wait until all of them ended, or so many seconds; some are listened to meanwhile, so that they can end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.how_ended() is None for process in processes):
        for process in tended:
            process.listen()
        time.sleep(_LOOK)


class _Process:
    """One process: a question, an answer, and so on. All its pipes are served at once, so that none stays full."""

    def __init__(self, arguments: list[str]) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                arguments,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(f"cannot start {arguments[0]!r}: {error.strerror}") from None
        self._name = arguments[0]
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._pipes = [pipe for pipe in pipes if pipe is not None]
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in self._pipes)
        self._selector = selectors.DefaultSelector()
        for number in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(number, False)
        for number in (self._stdout, self._stderr):
            self._selector.register(number, selectors.EVENT_READ)
        self._question = b""
        self._answer = bytearray()
        self._answers = 0
        self._silent = False
        self._words = b""
        self._last_words = ""
        self._ending = threading.Lock()
        self._reaped = False

    def ask(self, question: str, timeout: float | None) -> Any:  # noqa: ANN401 - any JSON value
        """Hand in a line, and give the JSON of the line that answers it.

        Raises:
            ProgramFailed: There was none, or more than one, or it is no JSON.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        self.listen()
        if self._answer:
            raise self._failure("answered more than one line for an item")
        self._question = question.encode() + b"\n"
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        while b"\n" not in self._answer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._failure(f"gave no answer within {timeout:g} s")
            if len(self._answer) > _LONGEST_ANSWER:
                raise self._failure(f"answered with more than {_LONGEST_ANSWER:,} bytes")
            if self._silent or (not self._serve(min(left, _TICK)) and self.how_ended() is not None):
                _wait([self], _LAST_BREATH)
                raise self._failure(f"{self.how_ended() or 'closed its output'} before it answered")
        if not self._answer.endswith(b"\n") or self._answer.count(b"\n") > 1:
            raise self._failure("answered more than one line for an item")
        if self._question:
            raise self._failure("answered before it had read the item")
        line = bytes(self._answer)
        self._answer.clear()
        self._answers += 1
        try:
            return parse_json(line.decode())
        except ValueError as error:
            shown = line[:_SHOWN].decode(errors="replace").strip()
            raise self._failure(f"answered what is {error}: {shown!r}") from None

    def has_done_its_part(self) -> bool:
        """Tell whether it ended well after an earlier answer, as some programs do after so many."""
        return self._answers > 0 and not self._answer and self.how_ended() == _WELL

    def listen(self) -> None:
        """Take what it said since its last answer."""
        while self._serve(0.0) and not self._silent:
            pass

    def _serve(self, timeout: float) -> bool:
        """Read and write what can be, or wait for it; tell whether there was anything."""
        events = self._selector.select(timeout)
        for key, _ in events:
            if key.fd == self._stdin:
                self._write()
            else:
                more = self._read(key.fd)
                if not more:
                    self._selector.unregister(key.fd)
                    self._silent |= key.fd == self._stdout
                elif key.fd == self._stdout:
                    self._answer += more
                else:
                    self._pass_on(more)
        return bool(events)

    def _write(self) -> None:
        try:
            self._question = self._question[os.write(self._stdin, self._question[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # It reads no more; what it said before that, and how it ended, is still to come.
            self._selector.unregister(self._stdin)
            return
        if not self._question:
            self._selector.unregister(self._stdin)

    @staticmethod
    def _read(number: int) -> bytes:
        try:
            return os.read(number, _CHUNK)
        except OSError:
            return b""

    def _pass_on(self, words: bytes) -> None:
        lines = (self._words + words).split(b"\n")
        self._words = lines.pop()
        if len(self._words) > _CHUNK:
            lines.append(self._words)
            self._words = b""
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            self._last_words = text or self._last_words
            sys.stderr.write(f"{text}\n")  # whole, whatever other threads write

    def _failure(self, what: str) -> ProgramFailed:
        """Make the error, with the last that the process said."""
        self._pass_on_rest()
        said = f"; it said: {self._last_words[:_SHOWN]}" if self._last_words else ""
        return ProgramFailed(f"{self._name} {what}{said}")

    def _pass_on_rest(self) -> None:
        with suppress(OSError):
            while more := os.read(self._stderr, _CHUNK):
                self._pass_on(more)
        if self._words:
            self._pass_on(b"\n")

    def how_ended(self) -> str | None:
        """Say how the process ended; None while it runs. It is not reaped, so that its group stays its own."""
        with self._ending:
            if self._reaped:
                return "was killed"
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        if ended.si_code == os.CLD_EXITED:
            return f"ended with exit code {ended.si_status}"
        return f"was killed by signal {ended.si_status} ({signal.strsignal(ended.si_status)})"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        with self._ending, suppress(ProcessLookupError, PermissionError):
            if not self._reaped:
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End the process and all that it started at once."""
        self.signal(signal.SIGKILL)
        with self._ending:
            self._reaped = True
            self._process.wait()

    def end_input(self) -> None:
        """Tell it that there are no more items."""
        self._pipes[0].close()

    def close(self) -> None:
        """Pass on what it said last, and close the pipes; only by whoever asks it, after it was killed."""
        self._pass_on_rest()
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()
