"""Agreement: random calls have the answers of the independent model, and what must be refused changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from annotation_queue.states import SkipPolicy
from annotation_queue.testing.calls import Calls
from annotation_queue.testing.contracts.base import Contract
from annotation_queue.testing.machine import repository_state_machine
from annotation_queue.testing.strategies import REFUSED_CALLS

_CALLS_IN_A_HISTORY: Final = 30


class AgreementContract(Contract):
    """Agreement: random calls have the answers of the independent model, and what must be refused changes nothing.

    The profile of hypothesis that is loaded says how many histories are tried, by its ``max_examples``.
    """

    histories_per_example: float = 1
    """How many histories are tried for each example of the profile; less than one where every call takes its time."""

    @pytest.mark.hypothesis
    def test_random_histories_have_the_answers_of_the_model(self) -> None:
        # Histories are many and short: a fault shows early in one of them, and then it is easy to read.
        profile = settings(
            deadline=None,
            max_examples=max(1, round(self.histories_per_example * settings().max_examples)),
            stateful_step_count=_CALLS_IN_A_HISTORY,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
        )
        run_state_machine_as_test(repository_state_machine(self.make_repository), settings=profile)

    def test_what_must_be_refused_is_refused_and_changes_nothing(self) -> None:
        with self.make_repository() as repository:
            calls = Calls({"the repository": repository})
            calls.create("left", "x", 1, SkipPolicy.FINAL, timedelta(minutes=5), id_is_taken=False)
            calls.add_items(0, "right", first=0, count=2, shape=0, added_by="a", end="well")
            (queue_id,), item_id = calls.tables.queues, next(iter(calls.tables.items))

            for hostile in REFUSED_CALLS:
                calls.refuse(lambda service, call=hostile: call(service, queue_id, item_id), hostile.error)  # type: ignore[misc]  # a default binds it now
            calls.compare()
