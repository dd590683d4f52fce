"""Filled repositories: each is built once in a run, below one temporary folder, and copied from there."""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import attrs

from annotation_queue import AnnotationQueues, MemoryRepository, NewItem, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue import Claim, QueueItem, Repository
    from benchmarks.contestants import QueueContestant

_Contestant = TypeVar("_Contestant", bound="QueueContestant")

PROJECT: Final = "acme/chatbot"
START: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
OPS: Final = tuple(
    f"op:///acme/chatbot/{verb}_{noun}" for verb in ("rank", "find", "plan", "judge") for noun in "abcde"
)
USERS: Final = tuple(f"user-{number}" for number in range(5))
ANNOTATORS: Final = ("ann", "bob", "cy")
LONG_LEASE: Final = timedelta(days=365)
_DISPLAY_FIELDS: Final = (("input",), ("input", "output"), ("input.messages", "output.choices", "attributes.model"))
_ADD_CHUNK: Final = 500
_CLAIM_CHUNK: Final = 500


class Ticking:
    """A clock that moves on by a millisecond whenever it is read: the same history gives the same times."""

    def __init__(self) -> None:
        self._now = START

    def __call__(self) -> datetime:
        """Tell the time."""
        self._now += timedelta(milliseconds=1)
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


def counting_ids() -> Callable[[], str]:
    """Make ids that look like ours, ascend, and are the same in every repository."""
    numbers = count(1)
    return lambda: str(UUID(int=(0x0194_0000_0000_7000_8000 << 48) + next(numbers)))


def new_items(size: int) -> Iterator[NewItem]:
    """Make what is added: the same for the same size.

    Args:
        size: How many.

    Yields:
        Items of 20 operations, ten calls to a trace, one in ten with a higher priority.
    """
    chance = random.Random(size)  # noqa: S311 - data, not a secret
    for number in range(size):
        started = START - timedelta(seconds=chance.randrange(10_000_000))
        yield NewItem(
            call_id=f"call-{number:08}",
            call_started_at=started,
            call_ended_at=started + timedelta(milliseconds=chance.randrange(60_000)),
            call_op_name=chance.choice(OPS),
            call_trace_id=f"trace-{number // 10:08}",
            display_fields=chance.choice(_DISPLAY_FIELDS),
            priority=1 if chance.random() < 0.1 else 0,
        )


def stays_open(item: QueueItem) -> bool:
    """Tell whether an item is among the tenth that nobody has completed, spread over the whole queue."""
    return int(item.call_id[5:]) * 2_654_435_761 % 1_000 < 100


@attrs.frozen
class Filled:
    """A repository with one queue in it.

    Args:
        repository: The repository.
        queues: The service.
        queue_id: The queue.
        clock: Of the service.
    """

    repository: Repository
    queues: AnnotationQueues
    queue_id: str
    clock: Ticking


def fill(repository: Repository, size: int) -> Filled:
    """Make a queue with so many items, added in chunks, so that there are many times of creation."""
    clock = Ticking()
    queues = AnnotationQueues(repository, PROJECT, clock=clock, new_id=counting_ids())
    queue = queues.create("Triage", created_by="ann", lease=LONG_LEASE)
    items = new_items(size)
    number = 0
    while chunk := list(islice(items, _ADD_CHUNK)):
        queues.add_items(queue.id, chunk, added_by=USERS[number % len(USERS)])
        number += 1
    return Filled(repository, queues, queue.id, clock)


def complete(filled: Filled, annotator: str, limit: int) -> None:
    """Let an annotator complete so many items from the head of the queue."""
    while limit:
        claims = filled.queues.claim_batch(filled.queue_id, annotator, min(limit, _CLAIM_CHUNK))
        assert claims, "the queue is too short"
        filled.queues.complete_batch([(claim, None) for claim in claims])
        limit -= len(claims)


def work_off(filled: Filled) -> None:
    """Complete nine of ten items, by three annotators; the others are claimed and released."""
    kept: list[Claim] = []
    for number in count():
        annotator = ANNOTATORS[number % len(ANNOTATORS)]
        claims = filled.queues.claim_batch(filled.queue_id, annotator, _CLAIM_CHUNK)
        if not claims:
            break
        kept += (claim for claim in claims if stays_open(claim.item))
        filled.queues.complete_batch([(claim, {"label": "good"}) for claim in claims if not stays_open(claim.item)])
    for claim in kept:
        filled.queues.release(claim)


class Fixtures:
    """What was built, by kind and size.

    Args:
        folder: Where the files are; the caller removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._worked: dict[int, tuple[Filled, Filled]] = {}
        self._items: dict[int, list[QueueItem]] = {}

    def scratch(self) -> Path:
        """Make a new empty folder."""
        folder = self._folder / f"scratch-{next(self._numbers)}"
        folder.mkdir()
        return folder

    @contextmanager
    def queue(self, kind: type[_Contestant], size: int, synchronous: str) -> Iterator[_Contestant]:
        """Lend a contestant whose queue holds so many items, none of them claimed.

        Args:
            kind: Which contestant.
            size: How many items.
            synchronous: ``NORMAL`` or ``FULL``.
        """
        template = self._folder / f"{kind.__name__}-{size}"
        if not template.exists():
            template.mkdir()
            filling = kind(template, "OFF")
            filling.fill(new_items(size))
            if not kind.on_disk:
                shutil.rmtree(template)
                try:
                    yield filling
                finally:
                    filling.close()
                return
            filling.close()
        folder = self._folder / f"scratch-{next(self._numbers)}"
        shutil.copytree(template, folder)
        contestant = kind(folder, synchronous)
        try:
            yield contestant
        finally:
            contestant.close()
            shutil.rmtree(folder)

    def worked(self, size: int) -> tuple[Filled, Filled]:
        """Give a SQLite and a memory repository with the same queue, nine of ten items completed. To be read only."""
        if size not in self._worked:
            path = self.scratch() / "worked.db"
            with SQLiteRepository(path, synchronous="OFF") as repository:
                on_disk = fill(repository, size)
                work_off(on_disk)
            in_memory = fill(MemoryRepository(), size)
            work_off(in_memory)
            reopened = SQLiteRepository(path, synchronous="NORMAL")
            queues = AnnotationQueues(reopened, PROJECT, clock=on_disk.clock)
            self._worked[size] = Filled(reopened, queues, on_disk.queue_id, on_disk.clock), in_memory
        return self._worked[size]

    def items(self, size: int) -> list[QueueItem]:
        """Give the items of `worked`, in no useful order: what the contestants are filled with."""
        if size not in self._items:
            on_disk, in_memory = self.worked(size)
            items = list(in_memory.queues.iter_items(in_memory.queue_id))
            assert items == list(on_disk.queues.iter_items(on_disk.queue_id)), "the repositories disagree"
            random.Random(0).shuffle(items)  # noqa: S311 - data, not a secret
            self._items[size] = items
        return self._items[size]

    def close(self) -> None:
        """Close every repository."""
        for pair in self._worked.values():
            for filled in pair:
                filled.repository.close()
        self._worked.clear()


@contextmanager
def opened_fixtures() -> Iterator[Fixtures]:
    """Lend fixtures in a temporary folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="annotation-queue-bench-", ignore_cleanup_errors=True) as folder:
        fixtures = Fixtures(Path(folder))
        try:
            yield fixtures
        finally:
            fixtures.close()
