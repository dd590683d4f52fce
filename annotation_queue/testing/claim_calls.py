"""Calls about claims, and the clock that ends them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from annotation_queue.json_values import JsonValue
from annotation_queue.testing.aims import Aims
from annotation_queue.testing.examples import STEPS


class ClaimCalls(Aims):
    """Calls about claims, and the clock that ends them. Each method raises what `ask` raises."""

    def claim(self, queue: int, aim: str, annotator: str, lease: timedelta | None, *, resume: bool = False) -> None:
        """Claim an item."""
        project, queue_id = self._queue(queue, aim)
        claim = self.ask(lambda service: service.claim(queue_id, annotator, lease=lease, resume=resume), project)
        self._keep((claim,))

    def claim_item(self, item: int, aim: str, annotator: str, lease: timedelta | None) -> None:
        """Claim a very item."""
        project, item_id = self._item(item, aim)
        self._keep((self.ask(lambda service: service.claim_item(item_id, annotator, lease=lease), project),))

    def claim_batch(self, queue: int, aim: str, annotator: str, limit: int, lease: timedelta | None) -> None:
        """Claim some items."""
        project, queue_id = self._queue(queue, aim)
        claims = self.ask(lambda service: service.claim_batch(queue_id, annotator, limit, lease=lease), project)
        self._keep(claims if isinstance(claims, tuple) else ())

    def holds(self, queue: int, aim: str, annotator: str) -> None:
        """Read what somebody holds."""
        project, queue_id = self._queue(queue, aim)
        claims = self.ask(lambda service: service.holds(queue_id, annotator), project)
        self._keep(claims if isinstance(claims, tuple) else ())

    def heartbeat(self, claim: int, aim: str, lease: timedelta | None, *, by_ref: bool = False) -> None:
        """Prolong a claim, alive or not."""
        for project, held in self._claims(claim, aim, by_ref=by_ref):
            self.ask(lambda service, held=held: service.heartbeat(held, lease=lease), project)  # type: ignore[misc]  # a default binds it now

    def heartbeat_batch(
        self, claim: int, aim: str, count: int, lease: timedelta | None, *, by_ref: bool = False
    ) -> None:
        """Prolong some claims, alive or not."""
        chosen = self._claims(claim, aim, count, by_ref=by_ref)
        if chosen:
            self.ask(lambda service: service.heartbeat_batch((held for _, held in chosen), lease=lease), chosen[0][0])

    def save_draft(
        self,
        claim: int,
        aim: str,
        workflow: str,
        annotation: JsonValue,
        lease: timedelta | None,
        *,
        by_ref: bool = False,
    ) -> None:
        """Store a draft under a claim, alive or not."""
        for project, held in self._claims(claim, aim, by_ref=by_ref):
            self.ask(
                lambda service, held=held: service.save_draft(held, annotation, lease=lease),  # type: ignore[misc]  # as above
                project,
                workflow,
            )

    def complete(self, claim: int, aim: str, workflow: str, annotation: JsonValue, *, by_ref: bool = False) -> None:
        """Finish a claim, alive or not."""
        for project, held in self._claims(claim, aim, by_ref=by_ref):
            self.ask(lambda service, held=held: service.complete(held, annotation), project, workflow)  # type: ignore[misc]  # as above

    def complete_batch(
        self, claim: int, aim: str, count: int, workflow: str, annotation: JsonValue, *, by_ref: bool = False
    ) -> None:
        """Finish some claims, alive or not."""
        chosen = self._claims(claim, aim, count, by_ref=by_ref)
        if chosen:
            self.ask(
                lambda service: service.complete_batch((held, annotation) for _, held in chosen), chosen[0][0], workflow
            )

    def skip(self, claim: int, aim: str, workflow: str, reason: str | None, *, by_ref: bool = False) -> None:
        """Skip a claim, alive or not."""
        for project, held in self._claims(claim, aim, by_ref=by_ref):
            self.ask(lambda service, held=held: service.skip(held, reason), project, workflow)  # type: ignore[misc]  # as above

    def release(self, claim: int, aim: str, workflow: str, reason: str | None, *, by_ref: bool = False) -> None:
        """Release a claim, alive or not."""
        for project, held in self._claims(claim, aim, by_ref=by_ref):
            self.ask(lambda service, held=held: service.release(held, reason), project, workflow)  # type: ignore[misc]  # as above

    # Time

    def wait(self, step: str) -> None:
        """Move the clock; no side is asked."""
        if step in STEPS:
            self.clock.now += STEPS[step]
        elif ending := self._ending():
            self.clock.now = ending[0] - timedelta(microseconds=step == "to just before it")

    def take_over(self, annotator: str, lease: timedelta | None) -> None:
        """Wait to the end of a lease, and claim in its queue at that very instant."""
        if ending := self._ending():
            self.clock.now, queue = ending
            claim = self.ask(lambda service: service.claim(queue["id"], annotator, lease=lease), queue["project_id"])
            self._keep((claim,))

    def _ending(self) -> tuple[datetime, dict[str, Any]] | None:
        """Find the lease that ends next, and its queue."""
        ends = [
            (own["lease_expires_at"], item["queue_id"])
            for item in self.live_items()
            for own in self.tables.progresses[item["id"]].values()
            if own["lease_expires_at"] is not None and own["lease_expires_at"] > self.clock.now
        ]
        if not ends:
            return None
        instant, queue_id = min(ends)
        return instant, self.tables.queues[queue_id]
