"""The commands together, and how what goes wrong becomes one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Final

import click

from annotation_queue import __version__
from annotation_queue.cli.exports import export
from annotation_queue.cli.label import label
from annotation_queue.cli.store import BAD_INPUT, FAILURES, INTERRUPTED, STORAGE_FAILED, Failure
from annotation_queue.cli.views import history, items, stats
from annotation_queue.errors import AnnotationQueueError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME: Final = "annotation-queue"
_EXIT_CODES: Final = """
\b
Exit codes:
  0    all done
  1    items failed, or are left because others hold them
  2    wrong usage or bad input; nothing was done
  3    the storage or an output file failed
  130  interrupted
"""


class _InOrder(click.Group):
    """Lists the commands as they are used, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx  # it changes nothing
        return list(self.commands)


@click.group(cls=_InOrder, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=_NAME)
def app() -> None:
    """Annotation queues in a file: label, look, export."""


for _command in (label, items, stats, export, history):
    app.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments; None for those of the process.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = app.main(given or ["--help"], prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough; let the interpreter's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURES
    except (AnnotationQueueError, OSError, KeyboardInterrupt, click.Abort, click.ClickException) as error:
        what, code = _explain(error)
        sys.stderr.write(f"{_NAME}: {' '.join(what.split())}\n")
    return code if isinstance(code, int) else 0


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
    is_bad_input = isinstance(error, AnnotationQueueError) and not isinstance(error, StorageError)
    return str(error), BAD_INPUT if is_bad_input else STORAGE_FAILED
