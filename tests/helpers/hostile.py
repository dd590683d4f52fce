"""Exceptions and values that defy whoever looks at them: every look raises, lies or answers with what is no answer."""

from __future__ import annotations

from typing import Any, NoReturn

import attrs

from annotation_queue import RetryLater, SkipItem


class Defiant(Exception):
    """What the hostile things here raise when they are looked at."""


class Ambiguous:
    """What comparing arrays gives: it is neither true nor false."""

    def __bool__(self) -> NoReturn:
        raise ValueError("the truth value of an array with more than one element is ambiguous")


class Array:
    """Compares as arrays do: element by element, with an answer that is no truth value."""

    __hash__ = None  # type: ignore[assignment]  # as an array's

    def __eq__(self, other: object) -> Any:  # noqa: ANN401 - as an array's
        return Ambiguous()

    def __ne__(self, other: object) -> Any:  # noqa: ANN401 - as an array's
        return Ambiguous()

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:  # noqa: ANN401 - as an array's
        return iter((1, 2, 3))

    def __bool__(self) -> NoReturn:
        raise ValueError("the truth value of an array with more than one element is ambiguous")


def defy(*_args: object, **_kwargs: object) -> NoReturn:
    raise Defiant("do not look at me")


def answer_nonsense(*_args: object, **_kwargs: object) -> object:
    return 3.5j


def answer_array(*_args: object, **_kwargs: object) -> object:
    return Array()


MISDEEDS: dict[str, Any] = {"raises": defy, "nonsense": answer_nonsense, "array": answer_array}
"""What a hostile method may do."""
LOOKS = ("__str__", "__repr__", "__bool__", "__eq__", "__len__", "__hash__", "__format__", "__getattribute__")
"""Methods by which one looks at any object."""
VALUE_LOOKS = (
    *LOOKS,
    "__iter__",
    "__getitem__",
    "__contains__",
    "items",
    "keys",
    "encode",
    "isascii",
    "__abs__",
    "__lt__",
)
"""Methods by which one looks at what may be JSON."""
PARTS = ("__class__", "args", "reason", "delay", "__notes__", "__cause__", "__dict__")
"""What one looks at of an exception."""


@attrs.frozen(kw_only=True)
class ErrorRecipe:
    """How to make an exception, some of whose methods and properties are hostile. The recipe is harmless itself.

    Args:
        base: Its class.
        looks: Name of a method -> its misdeed.
        parts: Name of a property -> its misdeed.
        forgetful: Whether its ``__init__`` calls nobody else's.
    """

    base: type[BaseException]
    looks: dict[str, str]
    parts: dict[str, str]
    forgetful: bool

    def make(self) -> BaseException:
        """Make it."""
        body: dict[str, Any] = {name: MISDEEDS[misdeed] for name, misdeed in self.looks.items()}
        body |= {name: property(MISDEEDS[misdeed]) for name, misdeed in self.parts.items()}
        if self.forgetful or self.parts or self.looks:
            body["__init__"] = lambda _self, *_args: None
        kind: Any = type("Hostile", (self.base,), body)
        needs_one = self.forgetful or self.base in {RetryLater, SkipItem}
        made = kind.__new__(kind, 1) if needs_one else kind.__new__(kind)
        assert issubclass(type(made), BaseException)
        return made  # type: ignore[no-any-return]  # it is one


@attrs.frozen(kw_only=True)
class ValueRecipe:
    """How to make a value of a class derived from another one, some of whose methods are hostile.

    Args:
        base: The class.
        looks: Name of a method -> its misdeed.
    """

    base: type
    looks: dict[str, str]

    def make(self) -> Any:  # noqa: ANN401 - anything
        """Make it."""
        content: dict[type, Any] = {dict: {"a": 1}, list: [1, 2], str: "text", int: 3, float: 0.5}
        kind: Any = type(
            "HostileValue", (self.base,), {name: MISDEEDS[misdeed] for name, misdeed in self.looks.items()}
        )
        given = (content[self.base],) if self.base in content else ()
        made = kind.__new__(kind, *given)
        if self.base in {dict, list}:
            self.base.__init__(made, *given)
        return made


def cook(recipe: Any) -> Any:  # noqa: ANN401 - anything
    """Make what a recipe says, and what the recipes within lists and dicts say."""
    if isinstance(recipe, ErrorRecipe | ValueRecipe):
        return recipe.make()
    if isinstance(recipe, list):
        return [cook(each) for each in recipe]
    if isinstance(recipe, dict):
        return {key: cook(each) for key, each in recipe.items()}
    return recipe
