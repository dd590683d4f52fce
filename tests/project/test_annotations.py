"""The annotations of everything public resolve at run time, so that cattrs, pydantic and msgspec can read them."""

from __future__ import annotations

import importlib
import inspect
import typing
from typing import TYPE_CHECKING

import attrs

from helpers.public import PUBLIC
from project.test_layout import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator


def public() -> Iterator[tuple[str, object]]:
    """Give every name that a module of the package offers in its ``__all__``, with what it stands for."""
    for name in MODULES:
        if name == "__main__":
            continue
        module = importlib.import_module(f"annotation_queue.{name}".rstrip("."))
        for offered in getattr(module, "__all__", ()):
            yield f"{module.__name__}.{offered}", getattr(module, offered)


def annotated(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Give what of a public thing has annotations: itself, and what its class defines."""
    if inspect.isroutine(value):
        yield name, value
    if inspect.isclass(value):
        yield name, value
        for base in value.__mro__:
            if not base.__module__.startswith("annotation_queue"):
                continue
            for key, found in vars(base).items():
                made = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
                # The tests of the contracts are called by pytest alone, which reads no annotations.
                if inspect.isfunction(made) and not key.startswith("test_") and not is_generated(made):
                    yield f"{name}.{key}", made


def is_generated(made: object) -> bool:
    """Tell whether attrs or the standard library wrote a method: not ours to annotate."""
    return getattr(getattr(made, "__code__", None), "co_filename", "").startswith("<")


def test_every_public_annotation_resolves() -> None:
    unresolved = []
    names = 0
    for name, value in public():
        for place, each in annotated(name, value):
            names += 1
            try:
                typing.get_type_hints(each)
            except Exception as error:  # noqa: BLE001 - all of them are told at once
                unresolved.append(f"{place}: {error}")
    assert unresolved == []
    assert names > 300


def test_what_is_public_is_said() -> None:
    inner = {"annotation_queue.batch.api", "annotation_queue.testing.contracts"}
    inner |= {"annotation_queue.repositories.sqlite.queries"}
    assert {name.rpartition(".")[0] for name, _ in public()} == set(PUBLIC) | inner


def test_attrs_resolves_the_fields_of_every_public_class() -> None:
    kinds = {value for _, value in public() if isinstance(value, type) and attrs.has(value)}
    texts = [
        f"{kind.__name__}.{field.name}"
        for kind in kinds
        for field in attrs.fields(attrs.resolve_types(kind))
        if isinstance(field.type, str)
    ]
    assert texts == []
    assert len(kinds) > 20
