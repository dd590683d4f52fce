"""One long random history, applied to several repositories and the model at once."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from annotation_queue import SkipPolicy
from annotation_queue.testing import ARGUMENTS, PROJECTS, Calls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annotation_queue import Repository

_SEED: Final = os.environ.get("ANNOTATION_QUEUE_SEED", "2026")
_DUMP_EVERY: Final = 500
_QUEUES: Final = 4
_ITEMS: Final = 60
_ANSWERS: Final = {
    "AnnotationQueue",
    "ChangePage",
    "Claim",
    "ClaimLost",
    "Conflict",
    "Interrupted",
    "InvalidCursor",
    "InvalidLabel",
    "InvalidTransition",
    "InvalidValue",
    "ItemNotFound",
    "ItemPage",
    "LabelPage",
    "QueueNotFound",
    "QueuePage",
    "Throughput",
    "Unavailable",
}
"""What a history has to bring about, or it compared too little."""
_WEIGHTS: Final = {
    "create": 0.1,
    "create_again": 0.3,
    "get_or_create": 0.5,
    "prescribe": 1,
    "query": 2,
    "update": 2,
    "look": 6,
    "add_items": 4,
    "get_item": 4,
    "query_items": 8,
    "go_on": 6,
    "update_progress": 60,
    "reset": 1,
    "claim": 44,
    "claim_batch": 3,
    "holds": 1,
    "heartbeat": 6,
    "heartbeat_batch": 2,
    "save_draft": 4,
    "complete": 26,
    "complete_batch": 3,
    "skip": 3,
    "release": 4,
    "remove_items": 1,
    "claim_item": 4,
    "update_items": 3,
    "reprioritise": 2,
    "restore_items": 2,
    "restore": 1,
    "purge": 0.2,
    "pause": 1,
    "labels": 4,
    "changes": 1,
    "throughput": 1,
    "wait": 12,
    "take_over": 22,
}
"""How often each call is made; queues are made, deleted and emptied as their numbers ask for."""


def _choose(randomness: random.Random, calls: Calls) -> str:
    if len(calls.live_queues()) < _QUEUES:
        return "create"
    if randomness.random() < 0.002 or len(calls.live_queues()) > 2 * _QUEUES:
        return "delete"
    if len(calls.live_items()) > _QUEUES * _ITEMS:
        return "remove_items"
    return randomness.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]


def _arguments(randomness: random.Random, name: str) -> dict[str, Any]:
    return {argument: randomness.choice(values) for argument, values in ARGUMENTS[name].items()}


def _kept(calls: Calls) -> int:
    """Count the steps that the histories have."""
    return sum(len(history) for history in calls.tables.histories.values())


def compare_long_history(repositories: Mapping[str, Repository], most: int) -> None:
    """Make so many random calls on every repository, and compare what they answer and, at times, all that they hold."""
    randomness = random.Random(_SEED)  # noqa: S311 - repeatable on purpose
    made: Counter[str] = Counter()
    erased = 0
    calls = Calls(dict(repositories))
    for project in PROJECTS * (_QUEUES // 2):
        calls.create(project, "x", 2, SkipPolicy.FINAL, timedelta(minutes=5), id_is_taken=False)
    for number in range(1, most + 1):
        name = _choose(randomness, calls)
        arguments = _arguments(randomness, name)
        before = _kept(calls) if name == "purge" else 0
        try:
            getattr(calls, name)(**arguments)
            erased += before - _kept(calls) if name == "purge" else 0
            if number % _DUMP_EVERY == 0:
                calls.compare()
        except AssertionError as error:
            error.add_note(f"at call {number} of seed {_SEED}: {name}(**{arguments})")
            raise
        made[name] += 1

    assert made.keys() == ARGUMENTS.keys()
    assert not (missing := _ANSWERS - calls.answers.keys()), missing
    # Most calls are for what is there, and more than a fifth of all leave a step, although a paused queue hands out nothing.
    assert (steps := erased + _kept(calls)) > most / 5, (steps, calls.answers)
