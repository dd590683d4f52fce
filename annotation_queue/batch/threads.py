"""A labeler function at work in threads."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.batch.labelers import WorkerLost
from annotation_queue.batch.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.batch.work import Outcome
    from annotation_queue.items import Claim

_WATCHES_PER_TIMEOUT: Final = 20
_LONGEST_WATCH: Final = 0.25
"""How late a time limit may be noticed at most, in seconds."""


@attrs.define(eq=False)
class _Worker:
    """One thread, and the item it works on; None once the item was given up, and before and after one."""

    thread: threading.Thread | None = None
    work: Work | None = None


class ThreadLabelers:
    """A labeler function in a number of threads. They are daemons: a labeler that hangs does not keep the process.

    A thread cannot be stopped from outside. If there is a time limit, an item whose time is over is reported as failed,
    and a new thread takes the place of the one that works on it; what that one returns later is dropped, and then it ends.

    Args:
        labeler: The function.
        workers: How many threads.
        policy: How often, how long and how fast it is called.
        report: Takes each outcome; called in the labelers' threads.
    """

    def __init__(
        self, labeler: Labeler, *, workers: int, policy: RetryPolicy, report: Callable[[Outcome], None]
    ) -> None:
        self._labeler = labeler
        self._policy = policy
        self._report = report
        self._claims: deque[Claim] = deque()
        # Wakes idle threads; one that was busy meanwhile looks at the claims once in vain.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._wanted = workers
        self._workers: list[_Worker] = []
        self._started = 0
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Start the threads."""
        self._start_workers()
        if self._policy.timeout is not None:
            watcher = threading.Thread(target=self._watch, name="labelers-watch", daemon=True)
            watcher.start()
            self._watcher = watcher

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        self._claims.extend(claims)
        # For all that wait, not these alone: whoever an earlier wake was for may not have taken its claim yet.
        self._wake(min(len(self._claims), len(self._workers)) - self._wakes.qsize())

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        self._stopping.set()
        withdrawn = []
        with suppress(IndexError):
            while True:
                withdrawn.append(self._claims.popleft())
        return withdrawn

    def check(self) -> None:
        """Make sure that every thread is there."""
        with self._lock:
            threads = [worker.thread for worker in self._workers]
        for thread in (*threads, self._watcher):
            if thread is not None and not thread.is_alive() and not self._closing.is_set():
                raise WorkerLost(f"the thread {thread.name!r} ended without a result")

    def close(self, *, wait: bool) -> None:
        """End the threads: each when its item ends; with ``wait`` not before they ended."""
        self._stopping.set()
        self._closing.set()
        if self._watcher is not None and wait:
            self._watcher.join()
        with self._lock:
            workers = list(self._workers)
        self._wake(self._started)
        for worker in workers:
            if wait and worker.thread is not None:
                worker.thread.join()

    def _start_workers(self) -> None:
        """Start as many threads as are missing."""
        while len(self._workers) < self._wanted:
            worker, name = _Worker(), f"labeler-{self._started + 1}"
            worker.thread = threading.Thread(target=self._run, args=(worker,), name=name, daemon=True)
            worker.thread.start()
            self._started += 1
            self._workers.append(worker)

    def _run(self, worker: _Worker) -> None:
        while not self._closing.is_set():
            try:
                claim = self._claims.popleft()
            except IndexError:
                self._wakes.get()
                continue
            work = worker.work = Work(claim, self._policy)
            try:
                outcome = self._label(work)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the item must not be lost with it
                outcome = work.broken(error)
            with self._lock:
                if worker.work is not work:
                    return  # it was given up, and another thread works in this one's place
                worker.work = None
            self._report(outcome)

    def _wake(self, count: int) -> None:
        for _ in range(count):
            self._wakes.put(None)

    def _label(self, work: Work) -> Outcome:
        while True:
            for wait in work.policy.start_waits():
                if self._stopping.wait(wait):
                    return work.withdrawn()
            if self._stopping.is_set():  # the claim may have been submitted after the others were withdrawn
                return work.withdrawn()
            item = work.item()
            work.begin()
            try:
                label = self._labeler(item)
            except BaseException as error:  # noqa: BLE001 - what is no Exception is raised again in the caller's thread
                judged = work.failed(error)
            else:
                return work.labelled(label)
            if not isinstance(judged, float):
                return judged
            if work.left() == 0:
                return work.timed_out()
            if self._stopping.wait(judged):
                return work.withdrawn()

    def _watch(self) -> None:
        timeout = self._policy.timeout or 0.0
        while not self._closing.wait(min(timeout / _WATCHES_PER_TIMEOUT, _LONGEST_WATCH)):
            given_up = []
            with self._lock:
                for worker in list(self._workers):
                    work = worker.work
                    if work is not None and work.overdue() > 0:
                        worker.work = None
                        self._workers.remove(worker)
                        given_up.append(work)
                with suppress(RuntimeError):  # no thread can be had; the next look tries again
                    self._start_workers()
            for work in given_up:
                self._report(work.timed_out())
