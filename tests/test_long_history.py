"""One long random history, applied to every repository and the model at once."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from annotation_queue import MemoryRepository, SkipPolicy, SQLiteRepository
from annotation_queue.repositories import memory_pages, sorted_keys, sqlite_blocks, sqlite_filters, timed_keys
from annotation_queue.testing import ARGUMENTS, PROJECTS, Calls

if TYPE_CHECKING:
    from pathlib import Path

_SEED: Final = os.environ.get("ANNOTATION_QUEUE_SEED", "2026")
_CALLS: Final = 20_000
_DUMP_EVERY: Final = 500
_QUEUES: Final = 4
_ITEMS: Final = 60
_ANSWERS: Final = {
    "Claim",
    "ClaimLost",
    "Conflict",
    "Interrupted",
    "InvalidCursor",
    "InvalidTransition",
    "ItemNotFound",
    "ItemPage",
    "QueueNotFound",
    "QueuePage",
    "Unavailable",
}
"""What a history has to bring about, or it compared too little."""
_WEIGHTS: Final = {
    "query": 2,
    "update": 2,
    "look": 6,
    "add_items": 4,
    "get_item": 4,
    "query_items": 8,
    "go_on": 6,
    "update_progress": 12,
    "claim": 16,
    "claim_batch": 3,
    "heartbeat": 6,
    "complete": 10,
    "skip": 3,
    "release": 4,
    "remove_items": 4,
    "wait": 12,
    "take_over": 4,
}
"""How often each call is made; queues are made, deleted and emptied as their numbers ask for."""


def _choose(randomness: random.Random, calls: Calls) -> str:
    if len(calls.live_queues()) < _QUEUES:
        return "create"
    if randomness.random() < 0.002:
        return "delete"
    if len(calls.live_items()) > _QUEUES * _ITEMS:
        return "remove_items"
    return randomness.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]


def _arguments(randomness: random.Random, name: str) -> dict[str, Any]:
    return {argument: randomness.choice(values) for argument, values in ARGUMENTS[name].items()}


@pytest.fixture
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few items fill many blocks of every index and count, and be too many to be sorted for each page."""
    for module, size in {sqlite_blocks: 2, sorted_keys: 4, timed_keys: 3}.items():
        monkeypatch.setattr(module, "SIZE" if module is sqlite_blocks else "_FULL", size)
    for module, name, few in ((sqlite_filters, "FEW", 0), (memory_pages, "_FEW", 3), (memory_pages, "_GLANCE", 5)):
        monkeypatch.setattr(module, name, few)


@pytest.mark.slow
@pytest.mark.usefixtures("_short_blocks")
def test_a_long_random_history_gives_the_same_answers_everywhere(tmp_path: Path) -> None:
    randomness = random.Random(_SEED)  # noqa: S311 - repeatable on purpose
    made: Counter[str] = Counter()
    with MemoryRepository() as memory, SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as sqlite:
        calls = Calls({"memory": memory, "sqlite": sqlite})
        for project in PROJECTS * (_QUEUES // 2):
            calls.create(project, "x", 2, SkipPolicy.FINAL, timedelta(minutes=5), id_is_taken=False)
        for number in range(1, _CALLS + 1):
            name = _choose(randomness, calls)
            arguments = _arguments(randomness, name)
            try:
                getattr(calls, name)(**arguments)
                if number % _DUMP_EVERY == 0:
                    calls.compare()
            except AssertionError as error:
                error.add_note(f"at call {number} of seed {_SEED}: {name}(**{arguments})")
                raise
            made[name] += 1

        assert (memory.check(), sqlite.check()) == ((), ())
        assert made.keys() == ARGUMENTS.keys()
        assert _ANSWERS - calls.answers.keys() == set()
        assert sum(len(history) for history in calls.tables.histories.values()) > _CALLS / 5
