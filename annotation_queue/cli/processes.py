"""One process of ``--exec``: items go in as JSON lines, answers come out, and which answer is whose is never guessed."""

from __future__ import annotations

import importlib.util
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.cli.jsonl import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

END_LOOK: Final = 10.0
"""Seconds that are waited at least for a program to end after its input ended, before its last answer is taken."""
_LONGEST_ANSWER: Final = 16 << 20
_CHUNK: Final = 1 << 16
_SHOWN: Final = 200
_TICK: Final = 1.0
_LOOK: Final = 0.005
_LAST_BREATH: Final = 0.5
_FIRST_POLL: Final = 0.000_05
_LONGEST_POLL: Final = 0.02
_POLLED: Final = 0.001
"""Shorter waits than this are slept, since a selector rounds them up."""
_LONGEST_LOOK: Final = 10.0
_SHORTEST_LOOK: Final = 0.02
_WELL: Final = "ended with exit code 0"


def can_run() -> bool:
    """Tell whether this system has all that `Process` needs to know which answer is whose, and to end what it started."""
    modules = all(importlib.util.find_spec(name) is not None for name in ("fcntl", "termios"))
    return modules and all(hasattr(os, name) for name in ("waitid", "killpg", "setsid", "set_blocking"))


class ProgramFailed(Exception):
    """The program died, gave no answer in time, or one that is none; it is started again for the next attempt."""


class LineTooMany(Exception):
    """The program wrote a line that answers no item for certain; the message shows it."""


class Process:
    """One process: a question, an answer, and so on. All its pipes are served at once, so that none stays full.

    A line is the answer to an item only if the program read the beginning of that item before it wrote the line. So an item
    is sent in two parts: its first byte, and the rest once that byte was read. Until the rest is sent nothing can be an
    answer to it, and a program that has read the byte is done with the item before.

    Args:
        arguments: The command with its arguments.

    Raises:
        ProgramFailed: It cannot be started.
    """

    def __init__(self, arguments: list[str]) -> None:
        from fcntl import ioctl  # noqa: PLC0415 - not on every system; see `can_run`
        from termios import FIONREAD  # noqa: PLC0415 - as above

        self._ioctl, self._unread_bytes = ioctl, FIONREAD
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
        self.name = arguments[0]
        self.start_seconds = 0.0
        """Seconds from its start to its first answer."""
        self.answers = 0
        """How many answers it gave."""
        self._started = time.monotonic()
        self._longest = 0.0
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
        self._silent = False
        self._words = b""
        self._last_words = ""
        self._ending = threading.Lock()
        self._reaped = False

    def begin(self, question: bytes, deadline: float, limit: str) -> None:
        """Send the first byte of a question, and wait until it was read: the program is done with the item before.

        Args:
            question: The question, a line.
            deadline: When to give up, in monotonic seconds.
            limit: How long that is, for the message.

        Raises:
            LineTooMany: The program wrote a line meanwhile, or had written one.
            ProgramFailed: It ended, or read nothing in time.
        """
        self.look(0.0)
        self._send(question[:1])
        wait = _FIRST_POLL
        while self._question or self._unread():
            # What comes before the byte was read answers nothing, be it a whole line or the beginning of one.
            self._look_for_line(wait, partly=bool(self._question or self._unread()))
            wait = min(2 * wait, _LONGEST_POLL)
            self._check_alive(deadline, limit)
        # What it wrote before it read the byte is there by now. A program that copies its input may have copied the byte.
        self._look_for_line(0.0, partly=False)

    def finish_question(self, question: bytes, deadline: float, limit: str) -> Any:  # noqa: ANN401 - any JSON value
        """Send the rest of a question, and give the JSON of the line that answers it.

        Args:
            question: The question, whose first byte was sent.
            deadline: When to give up, in monotonic seconds.
            limit: How long that is, for the message.

        Returns:
            The answer.

        Raises:
            LineTooMany: There was more than one line, or one before the question was read.
            ProgramFailed: There was no line in time, or it is no JSON.
        """
        began = time.monotonic()
        self._send(question[1:])
        while b"\n" not in self._answer:
            if len(self._answer) > _LONGEST_ANSWER:
                raise self._failure(f"answered with more than {_LONGEST_ANSWER:,} bytes")
            self._serve(min(max(deadline - time.monotonic(), 0.0), _TICK))
            if b"\n" not in self._answer:
                self._check_alive(deadline, limit)
        if self._question or self._unread():
            raise self._too_many()
        line, _, rest = bytes(self._answer).partition(b"\n")
        if rest:
            raise self._too_many(rest)
        self._answer.clear()
        self._note_answer(time.monotonic() - began)
        try:
            return parse_json(line.decode())
        except ValueError as error:
            shown = line[:_SHOWN].decode(errors="replace").strip()
            raise self._failure(f"answered what is {error}: {shown!r}") from None

    def look(self, seconds: float) -> None:
        """Look whether the program says something more, for so many seconds.

        Raises:
            LineTooMany: It does.
        """
        until = time.monotonic() + seconds
        while True:
            self.listen()
            if self._answer:
                raise self._too_many()
            left = until - time.monotonic()
            if left <= 0 or self._silent:
                return
            self._serve(min(left, _TICK))

    def look_long(self) -> None:
        """Look for as long as an answer that is still to come could take, by what its answers took so far: at most 10 s.

        Raises:
            LineTooMany: It says something more.
        """
        self.look(min(max(_SHORTEST_LOOK, 2 * self._longest), _LONGEST_LOOK))

    def finish(self) -> None:
        """End its input, and wait until it has nothing more to say.

        Raises:
            LineTooMany: It had something more to say.
        """
        self.end_input()
        until = time.monotonic() + max(END_LOOK, 3 * self._longest)
        while not self._silent and self.how_ended() is None and time.monotonic() < until:
            self._serve(_LOOK)
            if self._answer:
                raise self._too_many()
        self.look(0.0)

    def has_done_its_part(self) -> bool:
        """Tell whether it ended well after an earlier answer, as some programs do after so many."""
        return self.answers > 0 and not self._answer and self.how_ended() == _WELL

    def has_said_all(self) -> bool:
        """Tell whether nothing more can come from it, and there is nothing that was not taken."""
        if self.how_ended() is not None:
            self.listen()
        return not self._answer and (self._silent or self.how_ended() is not None)

    def listen(self) -> None:
        """Take what it said since its last answer."""
        while self._serve(0.0) and not self._silent:
            pass

    def _send(self, part: bytes) -> None:
        self._question = part
        self._selector.register(self._stdin, selectors.EVENT_WRITE)

    def _unread(self) -> int:
        """Count the bytes that were sent and not read yet; 0 where the system does not say."""
        count = array("i", [0])
        try:
            self._ioctl(self._stdin, self._unread_bytes, count)
        except OSError:
            return 0
        return count[0]

    def _look_for_line(self, wait: float, *, partly: bool) -> None:
        if wait < _POLLED:
            time.sleep(wait)
            wait = 0.0
        self._serve(wait)
        self.listen()
        is_unread = bool(self._question or self._unread())
        if b"\n" in self._answer or (self._answer and partly and is_unread):
            raise self._too_many()

    def _check_alive(self, deadline: float, limit: str) -> None:
        if self._silent or self.how_ended() is not None:
            _await_end(self)
            self.listen()
            if b"\n" in self._answer:
                return
            raise self._failure(f"{self.how_ended() or 'closed its output'} before it answered")
        if time.monotonic() >= deadline:
            raise self._failure(f"gave no answer within {limit} s")

    def _note_answer(self, seconds: float) -> None:
        if not self.answers:
            self.start_seconds = time.monotonic() - self._started
        self.answers += 1
        self._longest = max(self._longest, seconds)

    def _too_many(self, line: bytes | None = None) -> LineTooMany:
        shown = bytes(self._answer if line is None else line)[:_SHOWN].decode(errors="replace").strip()
        self._pass_on_rest()
        return LineTooMany(shown)

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
        return ProgramFailed(f"{self.name} {what}{said}")

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
        if not self._pipes[0].closed:
            self._pipes[0].close()

    def close(self) -> None:
        """Pass on what it said last, and close the pipes; only by whoever asks it, after it was killed."""
        self._pass_on_rest()
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()


def _await_end(process: Process) -> None:
    """Give a process that said all it had to say a moment to end, so that messages can say how."""
    wait_for([process], _LAST_BREATH)


def wait_for(processes: Iterable[Process], seconds: float, *, tended: Iterable[Process] = ()) -> None:
    """Wait until all of them ended, or so many seconds; some are listened to meanwhile, so that they can end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.how_ended() is None for process in processes):
        for process in tended:
            process.listen()
        time.sleep(_LOOK)
