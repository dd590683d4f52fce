"""Labels as a pandas frame, and items out of one (extra ``pandas``).

>>> import pandas
>>> from annotation_queue import AnnotationQueues, MemoryRepository
>>> queues = AnnotationQueues(MemoryRepository(), "acme/chatbot")
>>> queue = queues.create("Reviews", created_by="ann")
>>> reviews = pandas.DataFrame({"id": [7, 8], "text": ["Great!", "Dull."], "stars": [5, None]})
>>> len(queues.add_items(queue.id, new_items(reviews, call_id="id", payload=["text", "stars"]), added_by="ann").added)
2
>>> while claim := queues.claim(queue.id, "bob"):
...     _ = queues.complete(claim, {"good": claim.item.payload["stars"] is not None})
>>> label_frame(queues, queue.id)[["call_id", "annotation.good", "payload.stars"]].values.tolist()
[['7', True, 5.0], ['8', False, nan]]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from annotation_queue.errors import InvalidValue
from annotation_queue.items import NewItem
from annotation_queue.json_values import JsonValue
from annotation_queue.labels import Label, LabelQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import MAX_INTEGER, MIN_INTEGER, class_name, describe

try:
    import numpy as np
    import pandas as pd
except ModuleNotFoundError as error:
    message = f"annotation_queue.frames needs {error.name}: pip install 'annotation-queue[pandas]'"
    raise ModuleNotFoundError(message, name=error.name) from error

__all__ = ["label_frame", "new_items"]

_COLUMNS: Final[dict[str, Callable[[Label], object]]] = {
    "item_id": lambda label: label.item.id,
    "call_id": lambda label: label.item.call_id,
    "annotator_id": lambda label: label.progress.annotator_id,
    "state": lambda label: label.progress.state.value,
    "reason": lambda label: label.progress.reason,
    "started_at": lambda label: label.progress.started_at,
    "updated_at": lambda label: label.progress.updated_at,
}
_TIMES: Final = ("started_at", "updated_at")


def label_frame(
    queues: AnnotationQueues,
    queue_id: str,
    query: LabelQuery = LabelQuery(),  # noqa: B008 - a frozen value
    flatten: bool = True,  # noqa: FBT001, FBT002 - as pandas takes its own
) -> pd.DataFrame:
    """Read the labels of a queue as a frame.

    Args:
        queues: The service.
        queue_id: The queue.
        query: Which labels, and in which direction; by default all that are completed or skipped, the oldest first.
        flatten: Whether objects become columns: ``annotation.stars`` is the field ``stars`` of the labels, ``payload.user.id``
            the field ``id`` of ``user`` in the items' payloads. Labels that are no objects stand in ``annotation``. Without it
            ``annotation`` and ``payload`` hold what JSON says, each in one column.

    Returns:
        A row for each label, with the columns item_id, call_id, annotator_id, state, reason, started_at and updated_at (UTC),
        and those of the label and the payload. Numbers stay numbers: integers with gaps are ``Int64``, booleans with gaps
        ``boolean``. Cost: linear in the labels, all of which are in memory then.

    Raises:
        QueueNotFound: There is no such live queue in the project.
        InvalidValue: ``flatten``, and two fields of an object make the same column (``{"a.b": 1, "a": {"b": 2}}``).
    """
    labels = list(queues.iter_labels(queue_id, query))
    columns: dict[str, list[Any]] = {name: [read(label) for label in labels] for name, read in _COLUMNS.items()}
    values: dict[str, list[Any]] = {
        "annotation": [label.progress.annotation for label in labels],
        "payload": [label.item.payload for label in labels],
    }
    for name, given in values.items():
        columns |= _flattened(name, given) if flatten else {name: given}
    return pd.DataFrame({name: _series(name, given) for name, given in columns.items()})


def _flattened(name: str, values: Sequence[JsonValue]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for row, value in enumerate(values):
        for path, each in _leaves(name, value):
            column = columns.setdefault(path, [None] * len(values))
            if column[row] is not None:
                raise InvalidValue(
                    "flatten", f"two fields that both make the column {path!r}", "distinct columns, or False"
                )
            column[row] = each
    return dict(sorted(columns.items()))


def _leaves(path: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(f"{path}.{key}", each)
    elif value is not None:
        yield path, value


def _series(name: str, values: list[Any]) -> pd.Series[Any]:
    """Make a column of the type that loses nothing."""
    if name in _TIMES:
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), utc=True).astype("datetime64[us, UTC]"))
    kinds = {type(value) for value in values if value is not None}
    has_gaps = None in values
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if has_gaps else "bool")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64" if has_gaps else "int64")
    if kinds and kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="str" if kinds == {str} and not has_gaps else "object")


def new_items(
    frame: pd.DataFrame, *, call_id: str, payload: str | Sequence[str] | None = None, priority: str | None = None
) -> Iterator[NewItem]:
    """Make an item of each row of a frame, for `AnnotationQueues.add_items`.

    What frames hold becomes JSON: numpy's numbers and booleans are numbers and booleans, times are RFC 3339 texts, durations
    are seconds, arrays are lists, and what is missing (NaN, NaT, NA) is null.

    Args:
        frame: The rows. Nothing of it changes.
        call_id: The column that says what is to be annotated: texts, or integers, which become texts.
        payload: The columns that an annotator sees; None for all of them. One column alone, given as text, holds objects,
            which are the payloads.
        priority: The column with the priorities, integers; None for 0.

    Yields:
        The items, in the order of the rows.

    Raises:
        InvalidValue: A column is missing, or a value is none of these; the error names the row by its index and says the value.
    """
    wanted = [call_id, *([payload] if isinstance(payload, str) else payload or ()), *([priority] if priority else ())]
    for name in wanted:
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise InvalidValue("frame", f"no column {name!r}", f"a column out of {known}")
    shown = [str(name) for name in frame.columns] if payload is None else payload
    columns = {str(name): frame[name].tolist() for name in frame.columns if payload is None or name in wanted}
    for place, index in enumerate(frame.index.tolist()):
        values = {name: column[place] for name, column in columns.items()}
        try:
            yield NewItem(
                call_id=_call_id(values[call_id]),
                payload=_payload(shown, values),
                priority=0 if priority is None else _json("priority", values[priority]),
            )
        except InvalidValue as error:
            kind = error.kind.removeprefix("float ")  # "nan" and "inf" say it all
            raise InvalidValue(error.field, f"{kind} in row {index!r}", error.expected) from None


def _call_id(value: object) -> str:
    plain = _json("call_id", value)
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(plain)
    if isinstance(plain, str):
        return plain
    raise InvalidValue("call_id", describe(value), "text or an integer")


def _payload(shown: str | Sequence[str], values: Mapping[str, Any]) -> dict[str, JsonValue] | None:
    if not isinstance(shown, str):
        return {name: _json(f"payload.{name}", values[name]) for name in shown}
    given: Any = _json("payload", values[shown])
    if given is not None and not isinstance(given, dict):
        raise InvalidValue("payload", describe(values[shown]), "an object, or columns to make it of")
    return given


def _json(field: str, value: Any) -> Any:  # noqa: ANN401 - whatever a frame holds, and whatever JSON can say
    """Turn one value of a frame into JSON; what is no JSON stays, and is refused when the item is made."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _json(f"{field}.{key}", each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(f"{field}[{place}]", each) for place, each in enumerate(value)]
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, date):  # a Timestamp and a datetime are dates too
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and math.isinf(value):
        raise InvalidValue(field, str(value), "a finite number")
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise InvalidValue(field, str(value), "an integer within 64 bits")
    if not isinstance(value, bool | int | float | str):
        raise InvalidValue(field, class_name(value), "a value that JSON can say")
    return value
