"""Docstrings that stand once, and are shown wherever a reader looks for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)


def documented_as(source: Callable[..., object]) -> Callable[[_Method], _Method]:
    """Give a method the docstring of another one that takes and answers the same.

    Args:
        source: The method that has the docstring.

    Returns:
        A decorator.
    """

    def document(method: _Method) -> _Method:
        method.__doc__ = source.__doc__
        return method

    return document


def shown_whole(kind: _Class) -> _Class:
    """Let a class have itself what it inherits from our own classes.

    A generator of documentation shows what a class has itself, and of the rest only names, if those: and where a long class is
    put together of several, nobody shall have to know it.

    Args:
        kind: The class.

    Returns:
        The same class.
    """
    for base in kind.__mro__[1:]:
        if base.__module__.startswith("annotation_queue."):
            for name, made in vars(base).items():
                if inspect.isfunction(made) and not name.startswith("_") and name not in vars(kind):
                    setattr(kind, name, made)
    return kind
