"""A state machine of hypothesis that drives any repository beside the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from annotation_queue.errors import NotFound
from annotation_queue.repository import Repository
from annotation_queue.states import SkipPolicy
from annotation_queue.testing import strategies
from annotation_queue.testing.arguments import ARGUMENTS
from annotation_queue.testing.calls import Calls
from annotation_queue.testing.comparison import PROJECTS
from annotation_queue.testing.histories import arguments_of, begin


class _RepositoryStateMachine(RuleBasedStateMachine):
    """Makes random calls on a repository and the model; after each, everything that is stored must be the same."""

    make_repository: Callable[[], Repository]

    def __init__(self) -> None:
        super().__init__()
        self.repository = type(self).make_repository()
        self.calls = Calls({"the repository": self.repository})

    @initialize(needed=st.tuples(*[st.integers(1, 3)] * 3), policies=st.tuples(*[st.sampled_from(SkipPolicy)] * 3))
    def some_queues(self, needed: tuple[int, ...], policies: tuple[SkipPolicy, ...]) -> None:
        """Make three queues with some items, and claim one of each."""
        begin(self.calls, needed, policies)

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
    return cast("Any", rule)(**arguments_of(name))(call)
