"""A state machine of hypothesis that drives any repository beside the model.

In a test of your own storage::

    from annotation_queue.testing import repository_state_machine

    TestMyRepository = repository_state_machine(MyRepository).TestCase
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from annotation_queue.errors import NotFound
from annotation_queue.states import SkipPolicy
from annotation_queue.testing import strategies
from annotation_queue.testing.arguments import ARGUMENTS
from annotation_queue.testing.bench import PROJECTS
from annotation_queue.testing.calls import Calls
from annotation_queue.testing.examples import ANNOTATORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from annotation_queue.repository import Repository

# Fewer calls and queues meet more often in a short history; what is free text there is any text.
_INSTEAD: Final[dict[str, dict[str, SearchStrategy[Any]]]] = {
    "add_items": {"first": st.integers(0, 7)},
    "create": {"name": strategies.texts()},
    "update": {"name": st.none() | strategies.texts()},
    "query_items": {"sort_by": strategies.item_sorts()},
    "update_progress": {"annotation": st.none() | strategies.json_values(), "reason": st.none() | strategies.texts()},
    "complete": {"annotation": st.none() | strategies.json_values()},
}


class _RepositoryStateMachine(RuleBasedStateMachine):
    """Makes random calls on a repository and the model; after each, everything that is stored must be the same."""

    make_repository: Callable[[], Repository]

    def __init__(self) -> None:
        super().__init__()
        self.repository = type(self).make_repository()
        self.calls = Calls({"the repository": self.repository})

    @initialize(needed=st.tuples(*[st.integers(1, 3)] * 3), policies=st.tuples(*[st.sampled_from(SkipPolicy)] * 3))
    def begin(self, needed: tuple[int, ...], policies: tuple[SkipPolicy, ...]) -> None:
        """Make three queues with some items, and claim one of each."""
        for index in range(3):
            lease = ARGUMENTS["create"]["lease"][index % 2]
            project = PROJECTS[index // 2]
            name = ("É", "queue_ß", "100%")[index]
            self.calls.create(project, name, needed[index], policies[index], lease, id_is_taken=False)
            self.calls.add_items(index, "right", first=0, count=2, shape=3 * index, added_by="a", end="well")
            self.calls.claim(index, "right", ANNOTATORS[index], None)

    @rule(hostile=strategies.refused_calls())
    def refuse(self, hostile: strategies.RefusedCall) -> None:
        """Make a call that must be refused, whatever is stored."""
        queues = [row["id"] for row in self.calls.live_queues() if row["project_id"] == PROJECTS[0]]
        items = [row["id"] for row in self.calls.live_items() if row["project_id"] == PROJECTS[0]]
        queue_id, item_id = [*queues, "missing"][0], [*items, "missing"][0]
        # A queue or an item that is missing may be found out first.
        error = hostile.error if queues and items else (hostile.error, NotFound)
        self.calls.refuse(lambda service: hostile(service, queue_id, item_id), error)

    @invariant()
    def everything_stored_is_the_same(self) -> None:
        """Compare all that can be read."""
        self.calls.compare()

    def teardown(self) -> None:
        """Close the repository."""
        self.repository.close()


def repository_state_machine(make_repository: Callable[[], Repository]) -> type[RuleBasedStateMachine]:
    """Make a state machine that compares a repository with the model.

    It makes every call of the service, for two projects, with right and wrong ids, stale claims and reused cursors,
    while the clock stands still, goes on or back; it compares each answer, and after each call all that is stored.

    Args:
        make_repository: Makes an empty repository; each history has one of its own and closes it.

    Returns:
        The state machine; its attribute ``TestCase`` is what pytest collects.
    """
    rules = {name: _rule(name) for name in ARGUMENTS}
    members = {"make_repository": staticmethod(make_repository), "__module__": __name__, **rules}
    return type("RepositoryStateMachine", (_RepositoryStateMachine,), members)


def _rule(name: str) -> object:
    def call(self: _RepositoryStateMachine, **arguments: Any) -> None:  # noqa: ANN401 - whatever the call takes
        getattr(self.calls, name)(**arguments)

    call.__name__ = call.__qualname__ = name
    drawn: dict[str, Any] = {key: st.sampled_from(values) for key, values in ARGUMENTS[name].items()}
    drawn.update(_INSTEAD.get(name, {}))
    return cast("Any", rule)(**drawn)(call)
