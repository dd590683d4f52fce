"""Label schemas: JSON Schema, draft 2020-12, checked by `jsonschema_rs` (extra ``schema``) and compiled once.

Of the two kept libraries `jsonschema-rs` was chosen: it checks a small label in 0.5 us where `jsonschema` takes 17, has no
dependencies, and has wheels for every platform of this library.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

from annotation_queue.errors import InvalidLabel, InvalidValue
from annotation_queue.json_values import copy_json, write_json
from annotation_queue.values import refuse

if TYPE_CHECKING:
    from annotation_queue.json_values import JsonValue

_LONGEST_MESSAGE: Final = 300


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
    if not isinstance(value, dict):
        raise refuse(field, value, "a JSON Schema (an object) or None")
    schema: dict[str, JsonValue] = copy_json(field, value)
    _validator(field, write_json(schema))
    return schema


def check_label(schema: dict[str, JsonValue] | None, label: JsonValue) -> None:
    """Refuse a label that does not satisfy the schema of its queue.

    Args:
        schema: The schema; None accepts every label.
        label: A checked JSON value.

    Raises:
        InvalidLabel: It does not fit; the error says where in the label and why. Cost: that of the label; a schema is compiled
            once for as long as it is among the 128 that were used last.
        ModuleNotFoundError: The extra ``schema`` is not installed.
    """
    if schema is None:
        return
    error = next(_validator("label_schema", write_json(schema)).iter_errors(label), None)
    if error is not None:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        raise InvalidLabel(f"annotation{place}", _shortened(error.message), "a label that satisfies the queue's schema")


@lru_cache(maxsize=128)
def _validator(field: str, text: str) -> Any:  # noqa: ANN401 - the library's class has no type of its own
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
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
