"""Weave's own in-memory server as a process of its own: a request as a line of JSON in, its answer as one out.

Run with the folder of an unpacked wheel. What the server needs beside pydantic it needs for other things than annotation
queues, so an empty module stands for whatever is not installed.
"""

from __future__ import annotations

import itertools
import json
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED = ("trace_server", "shared")
HEAVY = ("workers", "clickhouse_trace_server_batched", "llm_completion")


class Empty(type):
    """The type of a class that takes any arguments and has any attribute."""

    def __getattr__(cls, name: str) -> Any:  # noqa: ANN401 - anything
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class EmptyModule(ModuleType):
    """A module that has every name: a class for those that begin with a capital letter, else a function."""

    __path__: list[str] = []  # noqa: RUF012 - an attribute of a module

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith(("Error", "Exception")):
            return type(name, (Exception,), {})
        if not name[0].isupper():
            return MagicMock(name=name)
        made = {"__init__": lambda *_, **__: None, "__class_getitem__": classmethod(lambda cls, _: cls)}
        return Empty(name, (), made)


class Absent(MetaPathFinder, Loader):
    """Finds an empty module for what is not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        del path, target
        return None if name.partition(".")[0] in sys.stdlib_module_names else ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Unneeded(Absent):
    """Finds an empty module for those parts of Weave that are not the server."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        parts = rest.split(".")
        is_unneeded = (
            package == "weave" and rest and (parts[0] not in NEEDED or parts[1:2] in [[each] for each in HEAVY])
        )
        return super().find_spec(name, path, target) if is_unneeded else None


def main(folder: str) -> None:
    """Answer requests until there are no more."""
    sys.meta_path.insert(0, Unneeded())
    sys.meta_path.append(Absent())
    package = ModuleType("weave")
    package.__path__ = [str(Path(folder) / "weave")]
    sys.modules["weave"] = package
    from pydantic import ValidationError  # noqa: PLC0415 - found by now
    from weave.trace_server import in_memory_trace_server, trace_server_interface  # type: ignore[import-not-found]  # noqa: PLC0415 - as above
    from weave.trace_server.errors import InvalidRequest, NotFoundError  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    # Its ids are in random order within a millisecond, and break the ties of its sorts.
    ids = itertools.count(1)
    in_memory_trace_server.generate_id = lambda: f"id-{next(ids):06}"
    server = in_memory_trace_server.InMemoryTraceServer()
    for line in sys.stdin:
        name, kind, fields = json.loads(line)
        answer: Any
        try:
            if name == "call":
                start = trace_server_interface.StartedCallSchemaForInsert(**fields)
                server.call_start(trace_server_interface.CallStartReq(start=start))
                status, answer = 200, None
            else:
                made = getattr(server, name)(getattr(trace_server_interface, kind)(**fields))
                if hasattr(made, "model_dump"):
                    status, answer = 200, made.model_dump(mode="json")
                else:
                    status, answer = 200, [each.model_dump(mode="json") for each in made]
        except ValidationError:  # a ValueError too
            status, answer = 422, None
        except NotFoundError as error:
            status, answer = 404, str(error)
        except (InvalidRequest, ValueError) as error:
            status, answer = 400, str(error)
        sys.stdout.write(json.dumps([status, answer]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
