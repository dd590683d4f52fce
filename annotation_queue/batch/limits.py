"""The times and sizes of a run that its caller does not choose."""

from __future__ import annotations

from typing import Final

import attrs

from annotation_queue.backoff import Backoff

GRACE: Final = 10.0
"""How long running items may go on after an interrupt, in seconds."""
RETRIES: Final = Backoff(first=0.5, longest=30.0)
"""The waits between the attempts on an item."""
STORAGE_RETRIES: Final = Backoff(first=0.05, longest=2.0)
"""The waits between the tries of a call that the storage refused."""


@attrs.frozen(kw_only=True)
class Limits:
    """The times and sizes of a run that its caller does not choose.

    Args:
        grace: How long running items may go on after an interrupt, in seconds.
        patience: How long the storage may fail before the run ends, in seconds.
        poll: The longest sleep of a run, in seconds: a signal that arrives just before it is noticed only after it.
        most_kept: How many items a run keeps until it ends: failed ones to be released then, or those of a dry run.
        retries: The waits between the attempts on an item.
        storage_retries: The waits between the tries of a call that the storage refused.
    """

    grace: float = GRACE
    patience: float = 60.0
    poll: float = 0.25
    most_kept: int = 1_000
    retries: Backoff = RETRIES
    storage_retries: Backoff = STORAGE_RETRIES


LIMITS: Final = Limits()
"""Those of every run, unless a test chooses others."""
