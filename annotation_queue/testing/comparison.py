"""Makes the same call on several repositories and on the model, and compares what they answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import attrs

from annotation_queue.changes import ChangePage
from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    InvalidTransition,
    ItemNotFound,
    QueueNotFound,
)
from annotation_queue.items import QueueStats
from annotation_queue.labels import LabelPage, LabelQuery
from annotation_queue.query import ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.repository import Repository
from annotation_queue.states import REOPENABLE, STANDARD, STRICT, AnnotationState
from annotation_queue.testing.clock import Clock
from annotation_queue.testing.examples import ANNOTATORS, SORTS
from annotation_queue.testing.model import Model
from annotation_queue.testing.tables import Tables

PROJECTS: Final = ("left", "right")
WORKFLOWS: Final = {workflow.name: workflow for workflow in (STANDARD, STRICT, REOPENABLE)}

_TELLING: Final = (ClaimLost, InvalidTransition, ItemNotFound, QueueNotFound)
"""The errors whose data is compared too; the others say it in words of their own."""

Services: TypeAlias = Callable[[str, str], AnnotationQueues]


class Disagreement(AssertionError):
    """Two sides answered the same call differently."""


class Interrupted(Exception):
    """What a generator of items raises in the middle."""


@attrs.frozen
class Failure:
    """A call that raised.

    Args:
        kind: The class of the error.
        data: What it carries, where that is compared.
    """

    kind: type[Exception]
    data: tuple[object, ...] = ()


class Ids:
    """Makes the ids of one call, the same on every side, and not in the order in which things are made."""

    def __init__(self) -> None:
        self._call = 0
        self._made = 0
        self.taken: str | None = None

    def begin_call(self) -> None:
        """Go on to ids that no call has had, and forget which id was taken."""
        self._call += 1
        self._made = 0
        self.taken = None

    def begin_side(self) -> None:
        """Give the next side what the one before got."""
        self._made = 0

    def __call__(self) -> str:
        """Make an id."""
        if self.taken is not None:
            return self.taken
        self._made += 1
        return f"{'aBé'[self._call % 3]}{self._call:06}"[::-1] + f"-{99 - self._made}"


@attrs.define
class Side:
    """One of those that are compared.

    Args:
        name: What it is called in a report.
        services: By project and name of the workflow.
        cursor: The cursor of the page it gave last.
        followed: By queue id, up to where its changes were compared.
    """

    name: str
    services: Services
    cursor: str | None = None
    followed: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Walk:
    """A page after which one can go on.

    Args:
        project: Whose.
        queue_id: Of which queue; None for a page of queues.
        query: What was asked; None for a page of changes.
        cursors: By name of the side, the cursor it gave.
    """

    project: str
    queue_id: str | None
    query: ItemQuery | QueueQuery | LabelQuery | None
    cursors: Mapping[str, str | None]


class Bench:
    """The model and any number of repositories, all empty at first, that get the same calls.

    Its ``answers`` count, by the name of the class, what the calls returned or raised.

    Args:
        repositories: What to compare with the model, by the name it has in a report.
    """

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = repositories
        self.clock: Clock = Clock()
        self.ids: Ids = Ids()
        self.tables: Tables = Tables()
        self._dumps = 0
        self.answers: Counter[str] = Counter()
        self.sides: list[Side] = [
            Side("the model", self._model),
            *(Side(name, self._real(r)) for name, r in repositories.items()),
        ]

    def _model(self, project: str, workflow: str) -> AnnotationQueues:
        model = Model(self.tables, project, workflow=workflow, clock=self.clock, new_id=self.ids)
        return cast("AnnotationQueues", model)

    def _real(self, repository: Repository) -> Services:
        def service(project: str, workflow: str) -> AnnotationQueues:
            return AnnotationQueues(
                repository, project, workflow=WORKFLOWS[workflow], clock=self.clock, new_id=self.ids
            )

        return service

    def ask(self, call: Callable[[AnnotationQueues], Any], project: str, workflow: str = "standard") -> Any:  # noqa: ANN401 - any answer
        """Make a call on every side.

        Args:
            call: The call, on the service that it is given.
            project: The project of the service.
            workflow: Its workflow, a key of `WORKFLOWS`.

        Returns:
            The answer, or a `Failure`. A page has the model's cursor.

        Raises:
            Disagreement: The answers differ, or a service read the clock twice.
        """
        return self.ask_sides(lambda side: call(side.services(project, workflow)))

    def ask_sides(self, call: Callable[[Side], Any]) -> Any:  # noqa: ANN401 - any answer
        """Make a call that differs by side; else as `ask`."""
        expected = self._answer(call, self.sides[0])
        for side in self.sides[1:]:
            self.clock.reads = 0
            answer = self._answer(call, side)
            if self.clock.reads > 1:
                raise Disagreement(f"the service over {side.name} read the clock {self.clock.reads} times")
            if not _same(answer, expected):
                first = _first_difference("the answer", answer, expected)
                raise Disagreement(f"{first}\n{side.name} answered\n  {answer}\nand the model\n  {expected}")
        kind = expected.kind if isinstance(expected, Failure) else type(expected)
        self.answers[kind.__name__] += 1
        return expected

    def _answer(self, call: Callable[[Side], Any], side: Side) -> object:
        self.ids.begin_side()
        side.cursor = None
        try:
            answer = call(side)
        except AnnotationQueueError as error:
            return Failure(type(error), error.args if isinstance(error, _TELLING) else ())
        except Interrupted:
            return Failure(Interrupted)
        if isinstance(answer, ItemPage | QueuePage | LabelPage) and answer.next_cursor is not None:
            side.cursor = answer.next_cursor
            return attrs.evolve(answer, next_cursor="there is more")
        if isinstance(answer, ChangePage):
            side.cursor = answer.cursor
            return attrs.evolve(answer, cursor="where to go on")
        if isinstance(answer, tuple):
            return tuple(Failure(type(each), each.args) if isinstance(each, ClaimLost) else each for each in answer)
        return answer

    def refuse(
        self, call: Callable[[AnnotationQueues], object], kind: type[Exception] | tuple[type[Exception], ...]
    ) -> None:
        """Make a call that every repository's service must refuse, whatever is stored; the model is not asked.

        Args:
            call: The call.
            kind: The error that it must raise, or several out of which one.

        Raises:
            Disagreement: It raised nothing.
        """
        self.ids.begin_call()
        for side in self.sides[1:]:
            try:
                answer = call(side.services(PROJECTS[0], "standard"))
            except kind:
                continue
            raise Disagreement(f"{side.name} answered\n  {answer}\nto what it has to refuse")

    def compare(self) -> None:
        """Compare everything that can be read on every side, each time in some other order and perspective.

        Every repository that has a method ``check`` must find nothing wrong with itself: it returns an empty tuple.

        Raises:
            Disagreement: Something differs, or a repository is broken.
        """
        self._dumps += 1
        for project in PROJECTS:
            queue_ids = [row["id"] for row in self.tables.queues.values() if _lives(row, project)]
            self.ask(lambda service: service.query(QueueQuery()), project)
            self.ask(lambda service, ids=tuple(queue_ids): service.stats(ids), project)  # type: ignore[misc]  # a default binds it now
            for queue_id in queue_ids:
                self._compare_queue(project, queue_id)
        for name, repository in self.repositories.items():
            problems: object = getattr(repository, "check", tuple)()
            if problems != ():
                raise Disagreement(f"{name} is broken: {problems}")

    def _compare_queue(self, project: str, queue_id: str) -> None:
        whole = ItemQuery(include_position=True, include_total=True)
        sort_by = SORTS[self._dumps % len(SORTS)]
        annotator_id = ANNOTATORS[self._dumps % len(ANNOTATORS)]
        for query in (whole, attrs.evolve(whole, sort_by=sort_by, annotator_id=annotator_id)):
            self.ask(lambda service, query=query: service.query_items(queue_id, query), project)  # type: ignore[misc]  # as above
        of_all = LabelQuery(states=frozenset(AnnotationState), newest_first=self._dumps % 2 == 0)
        self.ask(lambda service: service.labels(queue_id, of_all), project)
        self.ask(lambda service: service.holds(queue_id, annotator_id), project)
        self._follow(project, queue_id)
        for item_id in [row["id"] for row in self.tables.items.values() if row["queue_id"] == queue_id]:
            self.ask(lambda service, item_id=item_id: service.progress(item_id), project)  # type: ignore[misc]  # as above
            self.ask(lambda service, item_id=item_id: service.history(item_id), project)  # type: ignore[misc]  # as above

    def _follow(self, project: str, queue_id: str) -> None:
        """Compare what the queue's log got since the last time, as somebody sees it who follows the cursors."""

        def read(side: Side) -> object:
            service = side.services(project, "standard")
            return service.changes(queue_id, after=side.followed.get(queue_id))

        self.ask_sides(read)
        for side in self.sides:
            if side.cursor is not None:
                side.followed[queue_id] = side.cursor


def _lives(queue: dict[str, Any], project: str) -> bool:
    return queue["project_id"] == project and queue["deleted_at"] is None


def _same(answer: object, expected: object) -> bool:
    # 1, 1.0 and True are equal, and so are objects whose keys come in another order: their texts are not.
    if answer != expected:
        return False
    holds_stats = isinstance(answer, tuple) and any(isinstance(each, QueueStats) for each in answer)
    return holds_stats or repr(answer) == repr(expected)


def _first_difference(name: str, answer: object, expected: object) -> str:
    """Say where two answers differ first, by the name of the part."""
    parts: list[tuple[str, object, object]] = []
    if type(answer) is type(expected) and attrs.has(type(answer)):
        names = [field.name for field in attrs.fields(cast("Any", type(answer)))]
        parts = [(f"{name}.{field}", getattr(answer, field), getattr(expected, field)) for field in names]
    elif isinstance(answer, tuple) and isinstance(expected, tuple):
        parts = [(f"{name}[{index}]", *pair) for index, pair in enumerate(zip(answer, expected, strict=False))]
        parts.append((f"the length of {name}", len(answer), len(expected)))
    for part, mine, theirs in parts:
        if not _same(mine, theirs):
            return _first_difference(part, mine, theirs)
    return f"{name} is {answer!r} and should be {expected!r}"
