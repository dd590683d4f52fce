"""What the tests of faults share: a scene, everything that can be done to it, and all that is stored as one text."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from annotation_queue import (
    AnnotationQueueError,
    AnnotationQueues,
    AnnotationState,
    Claim,
    ItemFilter,
    ItemQuery,
    NewItem,
    SkipPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from annotation_queue import Repository
    from helpers.clocks import Clock

NIGHTLY: Final = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
"""Whether there is time for the long form of a test."""
FAST: Final = "HYPOTHESIS_PROFILE" not in os.environ
"""Whether this is the fast run, which tries fewer examples than every change is tried with before it lands."""

LEASE: Final = timedelta(seconds=60)
IN_PROGRESS, COMPLETED = AnnotationState.IN_PROGRESS, AnnotationState.COMPLETED


def counting(prefix: str) -> Callable[[], str]:
    """Make an id factory whose ids count up after a prefix."""
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers):06}"


def service(repository: Repository, clock: Clock, ids: str, project: str = "project") -> AnnotationQueues:
    """Make a service whose ids have a prefix of their own."""
    return AnnotationQueues(repository, project, clock=clock, new_id=counting(ids))


@attrs.frozen
class Scene:
    """A queue with a first item that Bob claimed, a second that Hal completed and a third that nobody touched.

    Args:
        queue_id: The queue.
        item_ids: The items, in queue order.
        claim: Bob's claim on the first.
    """

    queue_id: str
    item_ids: tuple[str, ...]
    claim: Claim


def set_up(queues: AnnotationQueues, needed: int) -> Scene:
    """Set a scene up; the model of the service will do too.

    Args:
        queues: Where.
        needed: How many annotations each item needs.

    Returns:
        The scene.
    """
    queue = queues.create("queue", created_by="ann", annotations_per_item=needed, lease=LEASE)
    news = [NewItem(call_id=call, priority=-number, payload={"n": number}) for number, call in enumerate("xyz")]
    items = queues.add_items(queue.id, news, added_by="ann").added
    claim = queues.claim(queue.id, "bob")
    assert isinstance(claim, Claim)
    queues.update_progress(items[1].id, "hal", COMPLETED, annotation={"by": "hal"})
    return Scene(queue.id, tuple(item.id for item in items), claim)


Operation: TypeAlias = "Callable[[AnnotationQueues, Scene], object]"

OPERATIONS: Final[dict[str, Operation]] = {
    "create": lambda queues, _: queues.create("another", created_by="ann", scorer_refs=["a", "b"]),
    "update": lambda queues, it: queues.update(it.queue_id, name="renamed", annotations_per_item=1),
    "change the policies": lambda queues, it: queues.update(
        it.queue_id, annotations_per_item=3, skip_policy=SkipPolicy.REQUEUE
    ),
    "delete": lambda queues, it: queues.delete(it.queue_id),
    "add_items": lambda queues, it: queues.add_items(
        it.queue_id, [NewItem(call_id=call, call_op_name="op", payload={"new": call}) for call in "xuv"], added_by="eve"
    ),
    "remove_items": lambda queues, it: queues.remove_items(it.queue_id, it.item_ids[:2]),
    "claim": lambda queues, it: queues.claim(it.queue_id, "eve"),
    "claim again": lambda queues, it: queues.claim(it.queue_id, "bob"),
    "claim_batch": lambda queues, it: queues.claim_batch(it.queue_id, "fay", 3),
    "heartbeat": lambda queues, it: queues.heartbeat(it.claim, lease=timedelta(seconds=90)),
    "complete": lambda queues, it: queues.complete(it.claim, {"label": "good"}),
    "complete_batch": lambda queues, it: queues.complete_batch([(it.claim, {"label": "bad"})]),
    "skip": lambda queues, it: queues.skip(it.claim, "too hard"),
    "release": lambda queues, it: queues.release(it.claim, "no time"),
    "start directly": lambda queues, it: queues.update_progress(it.item_ids[0], "gus", IN_PROGRESS),
    "finish directly": lambda queues, it: queues.update_progress(
        it.item_ids[0], "bob", COMPLETED, annotation=["direct"], reason="sure"
    ),
}
"""Every mutation, on the same item wherever it takes one."""

BULK: Final[dict[str, Operation]] = {
    "reset": lambda queues, it: queues.reset(it.queue_id, it.item_ids, actor_id="boss", reason="anew"),
    "reset by a filter": lambda queues, it: queues.reset(
        it.queue_id, ItemFilter(), actor_id="boss", annotator_id="hal"
    ),
}
"""Mutations of many items, of which the files that older versions left know nothing."""


def outcome(operation: Operation, queues: AnnotationQueues, scene: Scene) -> object:
    """Give what an operation returns, or the error of ours that it raises."""
    try:
        return operation(queues, scene)
    except AnnotationQueueError as error:
        return error


def all_of(queues: AnnotationQueues) -> list[object]:
    """Read all that can be read of a project."""
    return [
        (
            queue,
            queues.stats([queue.id]),
            [
                (item, queues.progress(item.id), queues.history(item.id))
                for item in queues.query_items(queue.id, ItemQuery(include_position=True)).items
            ],
        )
        for queue in queues.query().queues
    ]


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever the service answers
    """Take an answer apart into lists of texts and numbers, so that equal ones are equal as JSON too.

    Objects give their class and their fields, mappings are sorted by key.
    """
    if isinstance(value, BaseException):
        return [type(value).__name__, *map(plain, value.args)]
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return [type(value).__name__, *([field.name, plain(getattr(value, field.name))] for field in fields)]
    if isinstance(value, Mapping):
        return [[str(key), plain(each)] for key, each in sorted(value.items())]
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def rows_of(path: Path) -> list[str]:
    """Read all that a SQLite file stores but what is drawn by lot: its schema, and each row with its table."""
    with closing(sqlite3.connect(path)) as connection:
        execute = connection.cursor().execute  # a fault strikes the calls of the connection only
        schema = execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
        columns = {name: "num" if name == "epochs" else "*" for kind, name, _ in schema if kind == "table"}
        rows = [
            f"{table}: {row}"
            for table, shown in columns.items()
            for row in execute(f'SELECT {shown} FROM "{table}"').fetchall()  # noqa: S608
        ]
        return [*map(str, schema), *rows]


class Fault:
    """Makes one SQL call of this process fail, or every one from it on.

    Args:
        at: The how many-th call fails, from 1 on; 0 for none.
        how: ``before`` it ran, ``after`` it ran, ``interrupted`` after it ran, or ``dead`` from there on.
    """

    def __init__(self, at: int, how: str) -> None:
        self.at = at
        self.how = how
        self.calls = 0

    @property
    def struck(self) -> bool:
        """Whether the call came."""
        return 0 < self.at <= self.calls

    def around(self, run: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """Run a call, or fail."""
        self.calls += 1
        if self.how == "dead" and self.struck:
            raise _broken("the device is gone")
        if self.calls != self.at:
            return run()
        if self.how == "before":
            raise _broken("the device failed before the call")
        cursor = run()
        cursor.close()
        if self.how == "interrupted":
            raise KeyboardInterrupt
        raise _broken("the device failed after the call")


def _broken(why: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def failing(fault: Fault) -> Callable[..., sqlite3.Connection]:
    """Make what `sqlite3.connect` does, with connections that a fault strikes."""
    connect = sqlite3.connect

    class Failing(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as the method
            run = super().execute
            return fault.around(lambda: run(*args))

        def executemany(self, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as the method
            run = super().executemany
            return fault.around(lambda: run(*args))

    def connect_failing(*args: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - as the function
        return connect(*args, factory=Failing, **options)

    return connect_failing
