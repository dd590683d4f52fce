"""Random histories of calls, to play on a repository beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from annotation_queue.repository import Repository
from annotation_queue.states import SkipPolicy
from annotation_queue.testing import strategies
from annotation_queue.testing.arguments import ARGUMENTS
from annotation_queue.testing.calls import Calls
from annotation_queue.testing.comparison import PROJECTS
from annotation_queue.testing.examples import ANNOTATORS

# Fewer calls and queues meet more often in a short history; what is free text there is any text.
_INSTEAD: Final[dict[str, dict[str, SearchStrategy[Any]]]] = {
    "add_items": {"first": st.integers(0, 7)},
    "create": {"name": strategies.texts()},
    "update": {"name": st.none() | strategies.texts()},
    "query_items": {"sort_by": strategies.item_sorts()},
    "update_progress": {"annotation": st.none() | strategies.json_values(), "reason": st.none() | strategies.texts()},
    "save_draft": {"annotation": st.none() | strategies.json_values()},
    "complete": {"annotation": st.none() | strategies.json_values()},
    "complete_batch": {"annotation": st.none() | strategies.json_values()},
}


@attrs.frozen(repr=False)
class Call:
    """One call of a history.

    Args:
        name: A method of `Calls`.
        arguments: Its arguments by name; indexes count what lives when the call is made.
    """

    name: str
    arguments: Mapping[str, Any]

    def __call__(self, calls: Calls) -> None:
        """Make the call; raises as `Calls` does."""
        getattr(calls, self.name)(**self.arguments)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def arguments_of(name: str) -> dict[str, SearchStrategy[Any]]:
    """Say what each argument of a call may be, the plainest first.

    Args:
        name: A key of `ARGUMENTS`.
    """
    drawn: dict[str, SearchStrategy[Any]] = {key: st.sampled_from(values) for key, values in ARGUMENTS[name].items()}
    return {**drawn, **_INSTEAD.get(name, {})}


def histories(*, max_size: int = 30) -> SearchStrategy[list[Call]]:
    """Lists of calls of the service, for two projects, with right and wrong ids, stale claims and reused cursors.

    Args:
        max_size: At most so many calls.
    """
    calls = [st.builds(Call, st.just(name), st.fixed_dictionaries(arguments_of(name))) for name in ARGUMENTS]
    return st.lists(st.one_of(calls), max_size=max_size)


def begin(
    calls: Calls, needed: Sequence[int] = (1, 2, 3), policies: Sequence[SkipPolicy] = (SkipPolicy.FINAL,) * 3
) -> None:
    """Make three queues in two projects with two items each, and claim one of each.

    Args:
        calls: Makes the calls.
        needed: How many annotations the items of each queue need.
        policies: What a skip means in each queue.
    """
    for index in range(3):
        lease = ARGUMENTS["create"]["lease"][index % 2]
        project, name = PROJECTS[index // 2], ("É", "queue_ß", "100%")[index]
        calls.create(project, name, needed[index], policies[index], lease, id_is_taken=False)
        calls.add_items(index, "right", first=0, count=2, shape=3 * index, added_by="a", end="well")
        calls.claim(index, "right", ANNOTATORS[index], None)


def play(history: Sequence[Call], repository: Repository) -> Calls:
    """Make the calls of a history on an empty repository and on the model, after those of `begin`.

    Args:
        history: The calls.
        repository: The repository; it stays open.

    Returns:
        What made the calls; its ``answers`` count what they returned or raised.

    Raises:
        Disagreement: An answer, the kind of an error or, after a call, anything stored is not that of the model.
    """
    calls = Calls({"the repository": repository})
    begin(calls)
    for call in history:
        call(calls)
        calls.compare()
    return calls
