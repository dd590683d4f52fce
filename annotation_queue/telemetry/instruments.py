"""The metrics: what is measured, in which unit, and of which queues."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar, Final

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from annotation_queue.telemetry.watched import QueueKey, WatchedQueues

NAME: Final = "annotation_queue"
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Instruments:
    """The instruments of one provider, which takes each name only once, and the queues that they are read of."""

    _all: ClassVar[weakref.WeakKeyDictionary[MeterProvider, Instruments]] = weakref.WeakKeyDictionary()
    _lock: ClassVar = threading.Lock()

    @classmethod
    def of(cls, provider: MeterProvider) -> Instruments:
        """Give the instruments of a provider."""
        with cls._lock:
            if provider not in cls._all:
                cls._all[provider] = cls(provider.get_meter(NAME))
            return cls._all[provider]

    def __init__(self, meter: Meter) -> None:
        self.watched: weakref.WeakSet[WatchedQueues] = weakref.WeakSet()
        self.seconds = meter.create_histogram(
            f"{NAME}.call.duration",
            "s",
            "Seconds of each call of the repository",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.claims = meter.create_counter(f"{NAME}.claims", "{claim}", "Claims granted")
        self.unavailable = meter.create_counter(f"{NAME}.claims.unavailable", "{call}", "Claims that got nothing")
        self.lost = meter.create_counter(f"{NAME}.claims.lost", "{claim}", "Claims found lost when they were used")
        self.conflicts = meter.create_counter(
            f"{NAME}.conflicts", "{call}", "Writes that somebody else was faster than"
        )
        meter.create_observable_counter(
            f"{NAME}.queue.expiries",
            [partial(self._observe, WatchedQueues.expiries)],
            "{lease}",
            "Leases that ran out and whose item was granted again",
        )
        meter.create_observable_gauge(
            f"{NAME}.queue.depth",
            [partial(self._observe, WatchedQueues.depths)],
            "{item}",
            "Live items that are not finished",
        )
        meter.create_observable_gauge(
            f"{NAME}.queue.oldest.age",
            [partial(self._observe, WatchedQueues.ages)],
            "s",
            "Seconds since the oldest item was added that nobody has settled",
        )

    def _observe(
        self, read: Callable[[WatchedQueues], dict[QueueKey, float]], _options: CallbackOptions
    ) -> Iterable[Observation]:
        # Several repositories may be open on one storage, and watch the same queue.
        found: dict[QueueKey, float] = {}
        for watched in list(self.watched):
            found.update(read(watched))
        return [Observation(value, key.attributes()) for key, value in found.items()]
