"""Changing many items of a queue at once: which ones are meant, and what becomes of them, inside one write transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.patches import StoredPatch, given
from annotation_queue.repositories.sqlite.blocks import count_reordered, kind_of
from annotation_queue.repositories.sqlite.items import assigned
from annotation_queue.repositories.sqlite.queries.filters import Filter, among_nums
from annotation_queue.repositories.sqlite.queries.sorts import Sort
from annotation_queue.repositories.sqlite.session import lists
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.repositories.sqlite.stretches import count_untold
from annotation_queue.values import MAX_INTEGER, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from annotation_queue.items import ItemPatch
    from annotation_queue.repositories.sqlite.session import Session


def find_items(
    session: Session, queue: int, which: Sequence[str] | ItemFilter, among: Sequence[int] | None = None
) -> list[int]:
    """Find the numbers of the live items that are meant. Cost: linear in the ids, or as a query for a filter.

    Args:
        session: The session.
        queue: The queue's number.
        which: Ids, as for `Repository.update_items`, or a filter.
        among: For a filter, numbers of items out of which it chooses; None for all of the queue.

    Returns:
        The numbers, each once.
    """
    if not isinstance(which, ItemFilter):
        # All numbers of a list are one row: to fetch a row for each costs as much as to find it.
        asked = ({"ids": wanted, "queue": queue} for wanted in lists([*dict.fromkeys(which)]))
        return [num for each in asked for num in json.loads(*session.execute(SQL["live_nums_in"], each).fetchone())]
    wanted = Filter(session, queue, ItemQuery(filter=which), 0)
    if wanted.matches_nothing:
        return []
    conditions, index = [*wanted.conditions()], "" if among is not None else wanted.rare_index(None)
    if among is None and not index:
        among = wanted.rare_nums(None)
    if among is not None:
        conditions.append(among_nums(among))
    return Sort(session, queue, 0, ()).nums(conditions, index, None, limit=MAX_INTEGER, offset=0)


def numbers(session: Session, queue: int, item_ids: Iterable[str]) -> Iterable[tuple[int, str]]:
    """Find the numbers of those of some items that are live items of a queue, each once with its id."""
    for wanted in lists([*dict.fromkeys(item_ids)]):
        yield from session.execute(SQL["live_nums_by_id"], {"ids": wanted, "queue": queue}).fetchall()


class _Patchable(NamedTuple):
    """The columns of ``patchable``."""

    num: int
    priority_down: int
    created_at: int
    id: str
    state: int
    waits: int | None
    display_fields: int
    assignees: int | None
    has_payload: int


def update_items(session: Session, queue: int, nums: Sequence[int], patch: ItemPatch, at: datetime) -> int:
    """Change live items of a queue, given by their numbers; the result is that of `Repository.update_items`."""
    stored = StoredPatch.of(
        patch,
        lambda fields: session.text_num(json.dumps(fields, ensure_ascii=False)),
        lambda assignees: assigned(session, assignees),
    )
    return _update(session, queue, ((num, stored) for num in nums), len(nums), at)


def reprioritise(session: Session, queue: int, priorities: Mapping[str, int], at: datetime) -> int:
    """Change priorities; the result is that of `Repository.reprioritise`."""
    found = [*numbers(session, queue, priorities)]
    patches = ((num, StoredPatch(priority_down=~priorities[item_id])) for num, item_id in found)
    return _update(session, queue, patches, len(found), at)


def _update(session: Session, queue: int, patches: Iterable[tuple[int, StoredPatch]], count: int, at: datetime) -> int:
    changed = 0
    left = iter(patches)
    for part in in_chunks(range(count)):
        chunk = dict(next(left) for _ in part)
        compared = next(iter(chunk.values())).compared
        asked = {"nums": json.dumps([*chunk]), "queue": queue, **compared}
        rows = [*map(_Patchable._make, session.execute(SQL["patchable"], asked).fetchall())]
        rows = [row for row in rows if chunk[row.num].changes(row)]
        changed += len(rows)
        _store(session, queue, [(row, chunk[row.num]) for row in rows], to_micros(at))
    if changed:
        session.reopened(queue)
        # What is reserved no longer may wait for a lease that ends before all that were looked at since.
        (least,) = session.execute(SQL["least_expiry"], (queue,)).fetchone()
        if least is not None and least < session.next_expiry(queue):
            session.set_next_expiry(queue, least)
    return changed


def _store(session: Session, queue: int, changes: Sequence[tuple[_Patchable, StoredPatch]], at: int) -> None:
    moved: dict[int, int] = {}
    in_place: list[int] = []
    reserved: dict[int | None, list[int]] = {}
    before, after = {}, {}
    for row, patch in changes:
        place, assignees = patch.place(row), patch.reserved(row)
        if assignees != row.assignees:
            reserved.setdefault(assignees, []).append(row.num)
        if place == row.priority_down:
            in_place.append(row.num)
        else:
            moved[row.num] = place
            before[row.priority_down, row.created_at, row.id] = kind_of(row.state, row.waits)
            after[place, row.created_at, row.id] = kind_of(row.state, row.waits)
    count_untold(session, queue, json.dumps([row.num for row, _ in changes]))
    # One statement for all: one for each item writes the pages that it touches to a temporary file every time.
    for assignees, nums in reserved.items():
        session.execute(SQL["patch_assignees"], {"nums": json.dumps(nums), "assignees": assignees})
    if moved:
        session.execute(SQL["patch_priority"], {"places": json.dumps(moved), "at": at})
    if in_place:
        session.execute(SQL["patch_in_place"], {"nums": json.dumps(in_place), "at": at})
    for column in ("payload", "display_fields"):
        rows = (
            {"num": num, column: value} for num, value in given(column, ((row.num, patch) for row, patch in changes))
        )
        session.executemany(SQL[f"patch_{column}"], rows)
    count_reordered(session, queue, before, after)
