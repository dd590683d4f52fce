"""Which labeler each annotator has: functions that are imported, programs that are run."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from annotation_queue.batch.work import failure_reason
from annotation_queue.cli.common import fail
from annotation_queue.cli.paths import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import ExitStack

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.cli.programs import Programs


def choose_labelers(
    opened: ExitStack,
    annotators: Sequence[str],
    names: Sequence[str],
    commands: Sequence[str],
    make_programs: Callable[[str], Programs],
) -> dict[str, Labeler]:
    """Give every annotator a labeler.

    Args:
        opened: Ends the programs.
        annotators: The annotators.
        names: Functions, as ``package.module:function``; one for all annotators, or one for each.
        commands: Programs instead, likewise.
        make_programs: Makes what runs a program.

    Returns:
        The labelers by annotator.

    Raises:
        Failure: The numbers do not fit, or one cannot be had.
    """
    if bool(names) == bool(commands):
        fail("give --labeler or --exec, and not both")
    chosen = names or commands
    if len(chosen) not in (1, len(annotators)):
        option = "--labeler" if names else "--exec"
        fail(f"{len(annotators)} annotators and {len(chosen)} {option}: give one for all, or one for each")
    if names:
        made: list[Labeler] = [load_labeler(name) for name in names]
    else:
        # Each annotator has processes of its own.
        spread = commands if len(commands) > 1 else list(commands) * len(annotators)
        programs = [make_programs(command) for command in spread]
        for program in programs:
            opened.callback(program.close)
        made = list(programs)
    return dict(zip(annotators, made if len(made) > 1 else made * len(annotators), strict=True))


def load_labeler(name: str) -> Labeler:
    """Import a labeler, from the current directory too.

    Args:
        name: ``package.module:function``.

    Returns:
        The function.

    Raises:
        Failure: There is none, or its module cannot be imported.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        fail(f"--labeler takes package.module:function, not {name!r}")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - entries of sys.path are texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as above
    try:
        with redirect_stdout(sys.stderr):
            found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's module raises
        fail(f"cannot import the labeler's module {module_name!r}: {failure_reason(error)}")
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            fail(f"module {module_name!r} has no {path!r}")
    if not callable(found):
        fail(f"the labeler {name!r} is no function but of type {type(found).__name__}")
    return found


def module_files(names: Iterable[str]) -> list[File]:
    """Name the files of the labelers' modules, which were imported."""
    modules = (sys.modules.get(name.partition(":")[0]) for name in names)
    return [File.of(path) for module in modules if (path := getattr(module, "__file__", None))]
