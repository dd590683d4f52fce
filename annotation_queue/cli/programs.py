"""Labelers that are programs: they read items as JSON lines and answer each with its label, and are kept running."""

from __future__ import annotations

import itertools
import shlex
import shutil
import signal
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.labelers import RetryLater, SkipItem
from annotation_queue.cli.common import fail, to_json
from annotation_queue.cli.jsonl import kind_of
from annotation_queue.cli.processes import LineTooMany, Process, ProgramFailed, can_run, wait_for

if TYPE_CHECKING:
    from annotation_queue.items import QueueItem

NUMBER: Final = "$item"
"""The key of an item's number in the line that is sent, and in an answer that says which item it is for."""
LABEL: Final = "$label"
"""The key of the label in an answer that has the item's number."""
SKIP: Final = "$skip"
"""The only key of an answer that skips the item, with the reason or null."""
ERROR: Final = "$error"
"""The only key of an answer that fails this attempt, with what went wrong."""
RETRY: Final = "$retry_after"
"""The only key of an answer that wants the item again after so many seconds."""
END_GRACE: Final = 2.0
"""Seconds that a program has to end when its input ends, and again when it is asked to."""
PATIENCE: Final = 0.25
"""Seconds that an answer without a number waits at least for the next item, before the program's input is ended."""
_LONGEST_PATIENCE: Final = 30.0
_OVER: Final = "the run is over"


class AnswerRefused(Exception):
    """The program answered that it failed on this item."""


class AnswersInDoubt(BaseException):
    """Nobody knows which answer is for which item. It ends the run, so it is no `Exception`.

    Args:
        name: The program.
        what: What it did.
        call_ids: The calls whose answers are in doubt; they are dropped.
    """

    def __init__(self, name: str, what: str, call_ids: list[str]) -> None:
        doubtful = ", ".join(map(repr, call_ids))
        labels = (
            f"the labels of these calls are in doubt and were not stored: {doubtful}" if call_ids else "no label is"
        )
        super().__init__(
            f"--exec: {name} {what}; {labels}{'' if call_ids else ' in doubt'}. A program answers each item with one line, "
            f"and logs to standard error; or it answers "
            f'{{"{NUMBER}": N, "{LABEL}": LABEL}} (see annotation-queue label --help)'
        )
        self.call_ids = call_ids


@attrs.define(eq=False)
class _Held:
    """An answer without a number, until it is clear that the program wrote just this line for its item.

    Args:
        call_id: The item's call.
        answer: The answer.
        is_settled: Set once it can be given out, or once there is an error.
        error: Why it cannot be given out.
    """

    call_id: str
    answer: Any
    is_settled: threading.Event = attrs.field(factory=threading.Event)
    error: BaseException | None = None

    def settle(self, error: BaseException | None = None) -> None:
        """Say what became of it; the first word holds."""
        if not self.is_settled.is_set():
            self.error = error
            self.is_settled.set()


@attrs.define(eq=False)
class _Program:
    """A process with what is known of its answers.

    Args:
        process: The process.
        gives_numbers: Whether its answers have the numbers of their items.
        held: The answer that waits for the next item.
    """

    process: Process
    gives_numbers: bool = False
    held: _Held | None = None
    _has_moved_on: bool = False

    def ask(self, call_id: str, number: int, question: bytes, timeout: float | None) -> _Held:
        """Hand in an item, and give its answer, which is held unless it has the number.

        Raises:
            AnswersInDoubt: A line came that answers no item for certain, or has another item's number.
            ProgramFailed: There was no answer, or one that is none.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        limit = "" if timeout is None else f"{timeout:g}"
        doubtful: list[str] = []
        self._has_moved_on = False
        try:
            self.process.begin(question, deadline, limit)
            self._has_moved_on = True
            # One answer says little yet: a program that reads ahead may still be at work on it.
            if self.process.answers > 1:
                self._trust()
            doubtful.append(call_id)
            answer = self.process.finish_question(question, deadline, limit)
            if _has_number(answer):
                answer = self._take_number(answer, number, doubtful)
            elif self.gives_numbers:
                raise LineTooMany(to_json(answer))  # noqa: TRY301 - it is one, whoever finds it
            elif self.process.answers == 2:  # noqa: PLR2004 - the second one
                self.process.look_long()
        except LineTooMany as line:
            error = self._doubt(f"wrote a line too many: {str(line)!r}", doubtful)
            raise error from None
        self._trust()
        held = _Held(call_id, answer)
        if self.gives_numbers or _asks_again(answer):
            held.settle()
        else:
            self.held = held
        return held

    def finish(self) -> None:
        """End the program's input; the answer that was held is trusted once the program has nothing more to say."""
        try:
            self.process.finish()
        except LineTooMany as line:
            self._doubt(f"wrote a line too many at the end: {str(line)!r}", [])
        else:
            self._trust()

    def give_up(self) -> None:
        """Settle what was held when the program is given up: its item is tried again unless nothing more can come."""
        if self.held is not None:
            if self._has_moved_on or self.process.has_said_all():
                self._trust()
            else:
                self._settle(
                    ProgramFailed(f"{self.process.name} answered, and then neither read the next item nor ended")
                )

    def _take_number(self, answer: dict[str, Any], number: int, doubtful: list[str]) -> dict[str, Any]:
        given = answer[NUMBER]
        if isinstance(given, bool) or given != number:
            raise self._doubt(f"answered item {to_json(given)} when it was asked about item {number}", doubtful)
        self.gives_numbers = True
        rest = {key: value for key, value in answer.items() if key != NUMBER}
        if LABEL in rest and len(rest) == 1:
            return rest
        wrong = [key for key in rest if key.startswith("$") and (len(rest) > 1 or key not in (SKIP, ERROR, RETRY))]
        if wrong or not rest:
            raise ProgramFailed(f"{self.process.name} answered {NUMBER} with {wrong[0] if wrong else 'nothing else'}")
        return rest

    def _doubt(self, what: str, doubtful: list[str]) -> AnswersInDoubt:
        before = [] if self.held is None else [self.held.call_id]
        error = AnswersInDoubt(self.process.name, what, [*before, *doubtful])
        self._settle(error)
        return error

    def _trust(self) -> None:
        self._settle(None)

    def _settle(self, error: BaseException | None) -> None:
        if self.held is not None:
            self.held.settle(error)
            self.held = None


class Programs:
    """A labeler that hands items to processes of one command.

    A process gets an item as one line of JSON, and answers with one line: its label. It is started when it is needed, in a
    session of its own, so that Ctrl-C does not reach it; what it writes to standard error is passed on.

    An answer that has no number is held until the program read the next item, or ended, and wrote nothing in between. So
    there should be more threads that call this than there are processes; see `THREADS_EACH`.

    Args:
        command: The command with its arguments, quoted as in a shell; no shell is started.
        most: How many processes there are at most.
        timeout: Seconds for each answer; None for ever.
        pace: Seconds between two items where they come slowly.

    Raises:
        Failure: There is no such command, or this system cannot run programs.
    """

    THREADS_EACH: Final = 2
    """How many threads keep one process at work: one asks while the other one's answer is held."""

    def __init__(self, command: str, *, most: int = 1, timeout: float | None = None, pace: float = 0.0) -> None:
        self._arguments = _split(command)
        self._most = most
        self._timeout = timeout
        self._patience = max(PATIENCE, min(2 * pace, _LONGEST_PATIENCE))
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._idle: deque[_Program] = deque()
        self._busy: set[_Program] = set()
        self._turns: deque[object] = deque()
        self._is_hurried = False
        self._closed = False
        self._doubt: AnswersInDoubt | None = None

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
            AnswersInDoubt: It answered with more than one line, or for another item.
        """
        number = next(self._numbers)
        question = to_json({NUMBER: number, **attrs.asdict(item, recurse=False)}).encode() + b"\n"
        while True:
            program = self._take()
            try:
                held = program.ask(item.call_id, number, question, self._timeout)
            except BaseException as error:
                self._note(error)
                program.give_up()
                has_ended = program.process.has_done_its_part()
                self._end(program)
                if has_ended and isinstance(error, ProgramFailed):
                    continue
                raise
            self._give_back(program)
            self._await(held, program)
            return _judge(held.answer)

    def hurry(self) -> None:
        """Hold no answer longer than it takes: there are no more items."""
        self._is_hurried = True

    def close(self) -> None:
        """End every process with all that it started: an idle one by ending its input, one at work by SIGTERM.

        What does not follow within two seconds gets SIGTERM, and SIGKILL after two more.
        """
        with self._changed:
            self._closed = True
            idle, busy = [each.process for each in self._idle], [each.process for each in self._busy]
            self._idle.clear()
            self._changed.notify_all()
        for process in idle:
            process.end_input()
        for process in busy:
            process.signal(signal.SIGTERM)
        wait_for(idle, END_GRACE, tended=idle)
        for process in idle:
            process.signal(signal.SIGTERM)
        wait_for([*idle, *busy], END_GRACE, tended=idle)
        for process in (*idle, *busy):
            process.kill()
        for process in idle:  # the thread that asks a busy one closes it
            process.close()

    def _take(self) -> _Program:
        """Take an idle process or start one; first come, first served."""
        turn = object()
        with self._changed:
            self._turns.append(turn)
            try:
                self._changed.wait_for(partial(self._is_free, turn))
                if self._closed:
                    raise ProgramFailed(_OVER)
                if self._doubt is not None:
                    raise self._doubt
                program = self._idle.popleft() if self._idle else _Program(Process(self._arguments))
                self._busy.add(program)
                return program
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()

    def _is_free(self, turn: object) -> bool:
        if self._closed or self._doubt is not None:
            return True
        return self._turns[0] is turn and (bool(self._idle) or len(self._busy) < self._most)

    def _give_back(self, program: _Program) -> None:
        with self._changed:
            self._busy.discard(program)
            self._idle.append(program)
            self._changed.notify_all()

    def _end(self, program: _Program) -> None:
        program.process.kill()
        program.process.close()
        with self._changed:
            self._busy.discard(program)
            self._changed.notify_all()

    def _await(self, held: _Held, program: _Program) -> None:
        """Wait until an answer is settled; end the program's input when no next item comes."""
        while not held.is_settled.wait(self._patience_with(program)):
            with self._changed:
                if self._closed:
                    raise ProgramFailed(_OVER)
                if program not in self._idle:
                    continue  # it is asked about the next item
                self._idle.remove(program)
                self._busy.add(program)
            program.finish()
            program.process.signal(signal.SIGTERM)
            wait_for([program.process], END_GRACE, tended=[program.process])
            self._end(program)
        if held.error is not None:
            self._note(held.error)
            raise held.error

    def _note(self, error: BaseException) -> None:
        """Once answers are in doubt, ask no program any more."""
        if isinstance(error, AnswersInDoubt):
            with self._changed:
                self._doubt = self._doubt or error
                self._changed.notify_all()

    def _patience_with(self, program: _Program) -> float:
        """Say how long to wait for the next item: longer, if the program takes long to start again."""
        if self._is_hurried:
            return PATIENCE / 10
        return max(self._patience, min(program.process.start_seconds, _LONGEST_PATIENCE))


def _split(command: str) -> list[str]:
    if not can_run():
        fail(
            "--exec needs POSIX pipes, sessions and waitid, which this system lacks; give --labeler a Python function instead"
        )
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        fail(f"--exec {command!r}: {error}")
    if not arguments:
        fail("--exec takes a command")
    if shutil.which(arguments[0]) is None:
        fail(f"--exec {command!r}: there is no command {arguments[0]!r}")
    return arguments


def _has_number(answer: object) -> bool:
    return isinstance(answer, dict) and NUMBER in answer


def _asks_again(answer: object) -> bool:
    """Tell whether an answer stores nothing, so that it does no harm if it is for another item."""
    return isinstance(answer, dict) and len(answer) == 1 and not answer.keys().isdisjoint((ERROR, RETRY))


def _judge(answer: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Follow what an answer says instead of giving a label."""
    if not isinstance(answer, dict) or len(answer) != 1:
        return answer
    ((key, value),) = answer.items()
    if key == LABEL:
        return value
    if key == SKIP:
        raise SkipItem(None if value is None else str(value))
    if key == ERROR:
        raise AnswerRefused(str(value))
    if key == RETRY:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise AnswerRefused(f"{RETRY} takes seconds, not {kind_of(value)}")
        raise RetryLater(value)
    return answer
