"""The commands together, and how what goes wrong becomes one line and an exit code."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

from annotation_queue import __version__
from annotation_queue.cli.common import BAD_INPUT, FAILURES, INTERRUPTED, STORAGE_FAILED, Failure, say
from annotation_queue.cli.streams import prepare_streams, silence_output
from annotation_queue.errors import AnnotationQueueError, StorageError

_NAME: Final = "annotation-queue"
# Each command with its module, as they are used, not by name. A module is imported by who runs its command: a shell loop
# over claims starts many processes.
_COMMANDS: Final = {
    "label": "label",
    "add": "adding",
    "items": "views",
    "stats": "views",
    "agreement": "agreements",
    "export": "exports",
    "history": "views",
    "claim": "claims",
    "complete": "claims",
    "skip": "claims",
    "release": "claims",
    "heartbeat": "claims",
    "update": "lists",
    "reprioritise": "lists",
    "reset": "lists",
    "remove": "maintenance",
    "restore": "lists",
    "purge": "lists",
    "pause": "lists",
    "resume": "lists",
    "check": "maintenance",
    "vacuum": "maintenance",
    "serve": "serve",
    "completion": "completion",
}
_EPILOG: Final = """
\b
Results go to standard output, all else to standard error. Exit codes:
  0    all done
  1    something failed: items, claims, lines, checks; or nothing to claim
  2    wrong usage or bad input
  3    the storage or an output file failed
  4    others hold what is left; come back later
  130  interrupted

\b
Example:
  annotation-queue label traces.jsonl --labeler judge:score \\
      --annotator gpt-a --db labels.db --export labels.jsonl
"""


class _Commands(click.Group):
    """Knows the commands by name, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx  # it changes nothing
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx  # as above
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"annotation_queue.cli.{module}"), cmd_name)
        return command


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=_NAME)
def app() -> None:
    """Annotation queues in a file or on PostgreSQL: add, label, look, compare, export."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments; None for those of the process.

    Returns:
        The exit code.
    """
    prepare_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with _hangups_terminate():
            code = app.main(given or ["--help"], prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough.
        silence_output()
        return FAILURES
    except (AnnotationQueueError, OSError, KeyboardInterrupt, click.Abort, click.ClickException) as error:
        what, code = _explain(error)
        say(f"{_NAME}: {' '.join(what.split())}")
        try:
            sys.stdout.flush()
        except OSError:
            silence_output()
    return code if isinstance(code, int) else 0


@contextmanager
def _hangups_terminate() -> Iterator[None]:
    """Let a hangup, which comes when a terminal is closed, do what SIGTERM does, unless it is ignored as by nohup."""
    hangup = getattr(signal, "SIGHUP", None)  # not every system has it
    is_ours = threading.current_thread() is threading.main_thread()
    if hangup is None or not is_ours or signal.getsignal(hangup) is not signal.SIG_DFL:
        yield
        return
    signal.signal(hangup, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(hangup, signal.SIG_DFL)


def _explain(error: BaseException) -> tuple[str, int]:
    """Say what went wrong, and which exit code that is."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, Failure):
        return error.message, error.code
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        place = context.command_path if context else _NAME
        return f"{error.format_message()} (see {place} --help)", BAD_INPUT
    if isinstance(error, OSError) and not isinstance(error, AnnotationQueueError):
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror or error}", STORAGE_FAILED
    is_bad_input = isinstance(error, AnnotationQueueError) and not isinstance(error, StorageError)
    told = "; ".join((str(error), *getattr(error, "__notes__", ())))
    return told, BAD_INPUT if is_bad_input else STORAGE_FAILED
