"""What of an item a person is shown: the parts of its payload as text, those that its ``display_fields`` name first."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from annotation_queue.items import QueueItem
    from annotation_queue.json_values import JsonValue

_LONGEST_FACT: Final = 60
"""Most characters of a text that is shown among the small ones."""


class PartKind(StrEnum):
    """How a part is set."""

    TEXT = "text"
    """Running text, to be read."""
    FACT = "fact"
    """A word or a number."""
    JSON = "json"
    """An object or an array, indented."""


@attrs.frozen
class Part:
    """One field of a payload.

    Args:
        name: The field, or the path of names with dots to it.
        kind: How it is set.
        text: What it says. It is text, whatever it looks like.
    """

    name: str
    kind: PartKind
    text: str


@attrs.frozen
class Parts:
    """What is shown of an item.

    Args:
        shown: What an annotator has to see.
        more: What they may look up: the fields that ``display_fields`` leaves out, if it names any that is there.
    """

    shown: tuple[Part, ...]
    more: tuple[Part, ...] = ()


def parts_of(item: QueueItem) -> Parts:
    """Take an item's payload apart.

    Args:
        item: The item, with its payload.

    Returns:
        Its parts. Without ``display_fields`` all are shown: running texts, then words and numbers, then what is nested.
    """
    payload = item.payload or {}
    named: list[Part] = []
    used: set[str] = set()
    for name in dict.fromkeys(item.display_fields):
        found, value = _find(payload, name)
        if found:
            named.append(_part(name, value))
            used.add(name if name in payload else name.partition(".")[0])
    kinds = list(PartKind)
    rest = sorted(
        (_part(name, value) for name, value in payload.items() if name not in used),
        key=lambda part: kinds.index(part.kind),
    )
    return Parts(tuple(named), tuple(rest)) if named else Parts(tuple(rest))


def _find(payload: dict[str, JsonValue], name: str) -> tuple[bool, JsonValue]:
    """Find a field by its name, or by names with dots between them."""
    if name in payload:
        return True, payload[name]
    value: JsonValue = payload
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return False, None
        value = value[step]
    return True, value


def _part(name: str, value: JsonValue) -> Part:
    if isinstance(value, str):
        is_short = len(value) <= _LONGEST_FACT and "\n" not in value
        # A payload of one short text has nothing else to be read.
        return Part(name, PartKind.FACT if is_short else PartKind.TEXT, value)
    if isinstance(value, dict | list) and value:
        return Part(name, PartKind.JSON, json.dumps(value, ensure_ascii=False, indent=2))
    return Part(name, PartKind.FACT, json.dumps(value, ensure_ascii=False))


def pretty(value: JsonValue) -> str:
    """Write a label to be read: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    flat = json.dumps(value, ensure_ascii=False)
    return flat if len(flat) <= _LONGEST_FACT else json.dumps(value, ensure_ascii=False, indent=2)
