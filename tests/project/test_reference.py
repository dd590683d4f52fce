"""The API reference out of the docstrings: every public name is in it, and every reference leads somewhere."""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.public import PUBLIC
from project.test_layout import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```.*?```", re.DOTALL)
REFERENCE = re.compile(r"(?<!`)`([^`\s]+)`(?!`)")


def modules_of_the_command() -> list[str]:
    """Name the modules that the README's command documents, as a shell reads it."""
    (command,) = re.findall(r"&& (pdoc .*)", (ROOT / "README.md").read_text(encoding="utf-8"))
    words = subprocess.run(["bash", "-c", f"echo {command}"], capture_output=True, text=True, check=True).stdout.split()  # noqa: S607
    return [word for word in words if word.startswith("annotation_queue")]


def test_the_command_documents_what_is_public() -> None:
    assert sorted(modules_of_the_command()) == sorted(PUBLIC)


def public_members(value: object) -> list[str]:
    """Name what a public class has of ours, in whichever class that stands."""
    if not inspect.isclass(value):
        return []
    ours = [kind for kind in value.__mro__ if kind.__module__.startswith("annotation_queue")]
    names = {name for kind in ours for name, made in vars(kind).items() if is_shown(made)}
    if any(name.startswith("test_") for name in names):
        return []  # a contract, whose tests are called by pytest
    return sorted(name for name in names if not name.startswith("_"))


def is_shown(made: object) -> bool:
    """Tell whether a member of a class is something that a user calls or reads."""
    return inspect.isfunction(made) or isinstance(made, property | classmethod | staticmethod)


@pytest.mark.slow(seconds=15)
def test_every_public_name_is_in_the_reference_and_can_be_searched_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pdoc", "-d", "google", "-o", str(tmp_path), *modules_of_the_command()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    missing = []
    for name in PUBLIC:
        page = (tmp_path / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")
        module = importlib.import_module(name)
        offered = [
            each for each in module.__all__ if not inspect.ismodule(getattr(module, each)) and each != "__version__"
        ]
        offered += [f"{each}.{member}" for each in offered for member in public_members(getattr(module, each))]
        missing += [f"{name}.{each}" for each in offered if f'id="{each}"' not in page]
    assert missing == []
    search = (tmp_path / "search.js").read_text(encoding="utf-8")
    assert all(word in search for word in ("AnnotationQueues.claim", "label_frame", "scan_claims", "Krippendorff"))


def docstrings(module: ModuleType) -> Iterator[tuple[str, str, type | None]]:
    """Give the docstrings of a module and of what it defines, each with its place and the class that it stands in."""
    yield module.__name__, module.__doc__ or "", None
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value.__doc__ or "", None
        if inspect.isclass(value):
            yield f"{module.__name__}.{name}", value.__doc__ or "", value
            for key, made in vars(value).items():
                if getattr(made, "__module__", module.__name__) != module.__name__:
                    continue  # shown here, and written elsewhere
                if is_shown(made):
                    yield f"{module.__name__}.{name}.{key}", made.__doc__ or "", value


def leads_somewhere(reference: str, module: ModuleType, owner: type | None) -> bool:
    """Tell whether what a docstring refers to is there: in its class, its module, the package, or a library."""
    parts = reference.removesuffix("()").split(".")
    starts: list[object] = [module, importlib.import_module("annotation_queue"), builtins]
    starts += [] if owner is None else [owner]
    for start in starts:
        found: object = start
        for part in parts:
            found = getattr(found, part, FENCE)
        if found is not FENCE:
            return True
    for length in range(len(parts), 0, -1):
        for prefix in ("", "annotation_queue.", f"{module.__name__}.", f"{module.__name__.rpartition('.')[0]}."):
            if prefix == ".":
                continue
            try:
                found = importlib.import_module(prefix + ".".join(parts[:length]))
            except (ImportError, ValueError):
                continue
            for part in parts[length:]:
                found = getattr(found, part, FENCE)
            if found is not FENCE:
                return True
    return False


def test_every_reference_of_a_docstring_leads_somewhere() -> None:
    wrong = set()
    references = 0
    for name in MODULES:
        if name == "__main__":
            continue
        module = importlib.import_module(f"annotation_queue.{name}".rstrip("."))
        for place, text, owner in docstrings(module):
            for reference in REFERENCE.findall(FENCE.sub("", text)):
                references += 1
                if not leads_somewhere(reference, module, owner):
                    wrong.add(f"{place}: {reference}")
    assert sorted(wrong) == []
    assert references > 300
