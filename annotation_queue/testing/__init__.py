"""Tests for anybody's repository: a model of the service, and a state machine that compares a repository with it.

In a test module of your own, with the extra ``testing``::

    from annotation_queue.testing import repository_state_machine

    TestMyRepository = repository_state_machine(MyRepository).TestCase

`strategies` makes what the service takes and what it must refuse; `Calls` compares several repositories at once.
"""

try:
    from annotation_queue.testing import strategies
    from annotation_queue.testing.machine import repository_state_machine
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    message = "annotation_queue.testing needs hypothesis: pip install 'annotation-queue[testing]'"
    raise ModuleNotFoundError(message, name="hypothesis") from error

from annotation_queue.testing.arguments import ARGUMENTS
from annotation_queue.testing.bench import PROJECTS, Bench, Disagreement
from annotation_queue.testing.calls import Calls
from annotation_queue.testing.model import Model
from annotation_queue.testing.tables import Tables

__all__ = [
    "ARGUMENTS",
    "PROJECTS",
    "Bench",
    "Calls",
    "Disagreement",
    "Model",
    "Tables",
    "repository_state_machine",
    "strategies",
]
