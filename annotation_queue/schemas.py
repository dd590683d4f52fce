"""Label schemas: JSON Schema, draft 2020-12, checked by `jsonschema_rs` (extra ``schema``) and compiled once.

Of the two kept libraries ``jsonschema-rs`` was chosen: it checks a small label in 0.5 us where ``jsonschema`` takes 17, has no
dependencies, and has wheels for every platform of this library.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final, NoReturn

from annotation_queue.errors import InvalidLabel, InvalidValue
from annotation_queue.json_values import JsonValue, copy_json, load_json, path_of, write_json
from annotation_queue.values import is_a, refuse

_LONGEST_MESSAGE: Final = 300
_MOST_KEPT: Final = 1 << 22
"""Most characters of the schemas that stay compiled."""


def check_schema(field: str, value: object) -> dict[str, JsonValue] | None:
    """Accept a JSON Schema or None, and give a copy that nobody else holds.

    Args:
        field: Name of the field, for the error.
        value: What was given: an object; ``$ref`` may point within it only.

    Returns:
        The copy.

    Raises:
        InvalidValue: It is something else, or no valid schema.
        ModuleNotFoundError: The extra ``schema`` is not installed.
    """
    if value is None:
        return None
    if not is_a(value, dict):
        raise refuse(field, value, "a JSON Schema (an object) or None")
    schema: dict[str, JsonValue] = copy_json(field, value)
    _VALIDATORS.of(write_json(schema), field)
    return schema


def check_label(schema: dict[str, JsonValue] | None, label: JsonValue) -> None:
    """Refuse a label that does not satisfy the schema of its queue.

    Args:
        schema: The schema; None accepts every label.
        label: A checked JSON value.

    Raises:
        InvalidLabel: It does not fit; the error says where in the label and why. The cost is linear in the label and in the
            schema; a schema is compiled once for as long as those that were used after it fill less than 4 MiB.
        ModuleNotFoundError: The extra ``schema`` is not installed.
    """
    if schema is None:
        return
    validator = _VALIDATORS.of(write_json(schema), "label_schema")
    try:
        error = next(validator.iter_errors(label), None)
    except ValueError:
        # A subclass of a text or a number, which the library does not take: JSON has what it stands for.
        error = next(validator.iter_errors(load_json(write_json(label))), None)
    if error is not None:
        place = path_of("annotation", error.instance_path)
        raise InvalidLabel(place, _shortened(error.message), "a label that satisfies the queue's schema")


class _Validators:
    """The compiled schemas that were used last, by their text; bounded by what they hold and not by their number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._held = 0

    def of(self, text: str, field: str) -> Any:  # noqa: ANN401 - the library's class has no type of its own
        """Give the compiled schema; errors name the field."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        made = _compiled(field, text)
        with self._lock:
            if text not in self._kept:
                self._kept[text] = made
                self._held += len(text)
            while self._held > _MOST_KEPT and len(self._kept) > 1:
                oldest, _ = self._kept.popitem(last=False)
                self._held -= len(oldest)
        return made


_VALIDATORS: Final = _Validators()


def _compiled(field: str, text: str) -> Any:  # noqa: ANN401 - the library's class has no type of its own
    try:
        import jsonschema_rs  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        message = 'a queue\'s label_schema needs an extra: pip install "annotation-queue[schema]"'
        raise ModuleNotFoundError(message, name=error.name) from error
    try:
        return jsonschema_rs.Draft202012Validator(text, retriever=_refuse_to_fetch)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise InvalidValue(field, _shortened(first), "a valid JSON Schema of draft 2020-12") from None


def _refuse_to_fetch(address: str) -> NoReturn:
    """Keep a schema from reading files or the network."""
    raise ValueError(f"{address} lies outside the schema")


def _shortened(message: str) -> str:
    # Whatever the label or the schema holds, the message stays in one line and can be read.
    message = message if message.isprintable() else ascii(message)[1:-1]
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
