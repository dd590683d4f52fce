"""Rows that only this storage has, and how many rows go to the server at once: as an array for each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs

from annotation_queue.repositories.postgres.cache import FIRST_PLACE, Entry, Mark, QueueKey
from annotation_queue.repositories.sql.rows import ProgressRow, TransitionRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class NewItemRow(NamedTuple):
    """What is stored of an item when it is added."""

    id: str
    call_id: str
    call_started_at: int
    call_ended_at: int | None
    call_op_name: str
    call_trace_id: str
    display_fields: str
    added_by: str
    created_at: int
    updated_at: int
    priority_down: int
    payload: str | None
    assignees: str | None


class PatchRow(NamedTuple):
    """What becomes of an item that is updated."""

    num: int
    priority_down: int
    assignees: str | None


class MoveRow(NamedTuple):
    """The call of an item that gets another place in queue order, and what becomes of its priority."""

    call_id: str
    priority_down: int


class QueueRow(NamedTuple):
    """A queue whose items change, and what it is locked by."""

    queue: int
    lock: int


class StandingRow(NamedTuple):
    """What a change does to an item, and what of the item and its queue must not have changed before it."""

    queue: int
    queue_revision: int
    num: int
    revision: int
    last_tx: int | None
    id: str
    state: int
    annotator: str | None
    completed: int
    skipped: int
    claimable_at: int | None
    updated_at: int
    told: int
    """How many entries the log gets."""


class ItemKey(NamedTuple):
    """The item that a row belongs to."""

    queue: int
    item: int


class EntryKey(NamedTuple):
    """Where an entry of the log stands: in the history of its item, and among those of its transaction."""

    queue: int
    item: int
    step: int
    seq: int


class CounterRow(NamedTuple):
    """What is added to the counters of a queue, and to those of an annotator in it; '' for nobody."""

    queue: int
    annotator: str
    unstarted: int
    in_progress: int
    completed: int
    skipped: int
    settled: int
    finished: int
    own_in_progress: int
    own_completed: int
    own_skipped: int
    openings: int


class LongTextRow(NamedTuple):
    """A long text of a queue, and the key that stands for it."""

    queue: int
    key: str
    text: str


class BlockKeyRow(NamedTuple):
    """The number of an index, and a key as wide as that of a block."""

    lane: int
    op: str
    a: int
    b: int
    id: str


class BlockCountRow(NamedTuple):
    """The number of an index, where a block of it begins, and how many items it has, or are added to it."""

    lane: int
    op: str
    a: int
    b: int
    id: str
    n: int


class HeldRow(NamedTuple):
    """What an annotator holds: an item by its number, with the claim."""

    num: int
    token: int
    lease_expires_at: int


class FirstRow(NamedTuple):
    """What a claim says of the place where it began: the number of its transaction, the openings of the queue, the place."""

    tx: int
    openings: str
    priority_down: int
    created_at: int
    id: str


class PlaceRow(NamedTuple):
    """The columns of ``place_columns``: what a low-water mark rests on, and the place; None for what is not there."""

    openings: str
    tx: int | None
    seq: int | None
    at: int | None
    priority_down: int | None
    created_at: int | None
    id: str | None

    @property
    def mark(self) -> Mark:
        """The mark that this makes; no item is open before the first place of all."""
        newest = None if self.tx is None or self.seq is None or self.at is None else Entry(self.tx, self.seq, self.at)
        if self.priority_down is None or self.created_at is None or self.id is None:
            return Mark(self.openings, newest, FIRST_PLACE)
        return Mark(self.openings, newest, QueueKey(self.priority_down, self.created_at, self.id))


class ChosenRow(NamedTuple):
    """What is read of an item that was locked, and of a progress on it: the first of ``chosen_columns``, behind the version.

    Args:
        tx: The number of this transaction in the log.
        seen: The revision that the item had when its progresses were read; None if no item was chosen.
        place: Counts the progresses on it from 1 on; None if there are none.
    """

    tx: int
    seen: int | None
    place: int | None


class FoundRow(NamedTuple):
    """What is read of an item beside a progress on it: the columns of ``found_columns`` between version and progress.

    Args:
        key: The key of the id that was asked for.
        num: The item's number; None if there is no such live item.
        revision: The item's revision.
        steps: How many transitions the item's history has.
        updated_at: The item's ``updated_at``.
        place: Counts the progresses on it from 1 on; None if there are none.
    """

    key: str
    num: int | None
    revision: int
    steps: int
    updated_at: int
    place: int | None


@attrs.frozen
class RowSet:
    """Rows that a statement takes as an array for each column.

    Args:
        name: What a statement calls it: ``{name}``. Its parameters begin with the first letter.
        kinds: Whose fields, one kind after the other, are its columns.
    """

    name: str
    kinds: tuple[type[tuple[Any, ...]], ...]
    _parameters: tuple[tuple[tuple[str, bool], ...], ...] = attrs.field(init=False)
    """For each kind, the name of the parameter of each field, and whether it is text."""

    @_parameters.default
    def _list_parameters(self) -> tuple[tuple[tuple[str, bool], ...], ...]:
        # What may be text is text here.
        return tuple(
            tuple((f"{self.name[0]}_{field}", "str" in str(kind)) for field, kind in each.__annotations__.items())
            for each in self.kinds
        )

    _names: tuple[str, ...] = attrs.field(init=False)
    """The names of all parameters."""

    @_names.default
    def _list_names(self) -> tuple[str, ...]:
        return tuple(name for of_kind in self._parameters for name, _ in of_kind)

    @property
    def text(self) -> str:
        """What a statement reads the rows from: a table with these columns."""
        parameters = [each for of_kind in self._parameters for each in of_kind]
        arrays = ",".join(f":{name}::{'text' if is_text else 'int8'}[]" for name, is_text in parameters)
        columns = ",".join(name.removeprefix(f"{self.name[0]}_") for name, _ in parameters)
        return f"unnest({arrays}) AS t({columns})"

    def values_of_one(self, *parts: tuple[Any, ...]) -> dict[str, object]:
        """Give the parameters for one row, of which each part has the fields of one kind."""
        # Integers as text, too: see `integers`.
        values = [None if value is None else str(value) for row in parts for value in row]
        return dict(zip(self._names, values, strict=True))

    def values(self, *parts: Sequence[tuple[Any, ...]]) -> dict[str, object]:
        """Give the parameters for rows, of which each part lists the fields of one kind."""
        values: dict[str, object] = {}
        for parameters, rows in zip(self._parameters, parts, strict=True):
            columns = zip(*rows, strict=True) if rows else ((),) * len(parameters)
            for (name, is_text), column in zip(parameters, columns, strict=True):
                values[name] = (texts if is_text else integers)(column)
        return values


def integers(values: Iterable[int | None]) -> str:
    """Write an array of integers: as text, since the driver would give each range of values another type."""
    # A list is made faster than a generator is read, and this is done for every column of everything that is stored.
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Iterable[str | None]) -> str:
    """Write an array of texts: to write one of ids takes the driver several times as long."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(text: str) -> str:
    """Write a text as it stands in an array."""
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def split(row: Sequence[Any], *kinds: Any) -> Iterator[Any]:  # noqa: ANN401 - classes of NamedTuples
    """Cut a row into named ones: its first fields are those of the first kind, and so on."""
    start = 0
    for kind in kinds:
        end = start + len(kind._fields)
        yield kind(*row[start:end])
        start = end


ITEMS: Final = RowSet("items", (NewItemRow,))
QUEUES: Final = RowSet("queues", (QueueRow,))
STANDINGS: Final = RowSet("standings", (StandingRow,))
PROGRESSES: Final = RowSet("progresses", (ItemKey, ProgressRow))
ENTRIES: Final = RowSet("entries", (EntryKey, TransitionRow))
COUNTS: Final = RowSet("counts", (CounterRow,))
LONG_TEXTS: Final = RowSet("long_texts", (LongTextRow,))
PATCHES: Final = RowSet("patches", (PatchRow,))
MOVES: Final = RowSet("moves", (MoveRow,))
BLOCK_KEYS: Final = RowSet("block_keys", (BlockKeyRow,))
BLOCK_COUNTS: Final = RowSet("block_counts", (BlockCountRow,))
ROW_SETS: Final = (
    ITEMS,
    PATCHES,
    MOVES,
    QUEUES,
    STANDINGS,
    PROGRESSES,
    ENTRIES,
    COUNTS,
    LONG_TEXTS,
    BLOCK_KEYS,
    BLOCK_COUNTS,
)
"""All that statements take."""
