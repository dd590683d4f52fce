"""How the small arguments of a call become queues, items, claims and cursors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from annotation_queue.items import Claim, ClaimRef
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.repository import Repository
from annotation_queue.testing.arguments import OLD_CLAIMS, OLD_WALKS, STRANGER, UNKNOWN
from annotation_queue.testing.comparison import PROJECTS, Bench, Walk


class Aims(Bench):
    """A bench that remembers claims and pages, and finds things by index and aim.

    Args:
        repositories: As for `Bench`.
    """

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        super().__init__(repositories)
        self.claims: list[Claim] = []
        self.walks: list[Walk] = []

    def live_queues(self) -> list[dict[str, Any]]:
        """List the fields of the queues that are not deleted, in the order of creation."""
        return [row for row in self.tables.queues.values() if row["deleted_at"] is None]

    def live_items(self) -> list[dict[str, Any]]:
        """List the fields of the items that can be reached, in the order of adding."""
        return [row for row in self.tables.items.values() if self.tables.queues[row["queue_id"]]["deleted_at"] is None]

    def _queue(self, index: int, aim: str) -> tuple[str, str]:
        deleted = [row for row in self.tables.queues.values() if row["deleted_at"] is not None]
        return self._aim([*self.live_queues(), *deleted[-1:]], index, aim)

    def _item(self, index: int, aim: str) -> tuple[str, str]:
        items = self.tables.items.values()
        in_deleted = [row for row in items if self.tables.queues[row["queue_id"]]["deleted_at"] is not None]
        gone = [*[*self.tables.removed.values()][-2:], *in_deleted[-1:]]
        return self._aim([*self.live_items(), *gone], index, aim)

    def _aim(self, rows: list[dict[str, Any]], index: int, aim: str) -> tuple[str, str]:
        if not rows or aim == UNKNOWN:
            return PROJECTS[index % 2], "missing"
        row = rows[index % len(rows)]
        return self._project(row["project_id"], aim), row["id"]

    def _claims(self, index: int, aim: str, count: int = 1, *, by_ref: bool) -> list[tuple[str, Claim | ClaimRef]]:
        """Choose claims, or their references, all of one queue, each with the project to use it in."""
        if not self.claims:
            return []
        first = self.claims[index % len(self.claims)]
        claims = [each for each in self.claims if each.item.queue_id == first.item.queue_id]
        chosen: list[tuple[str, Claim | ClaimRef]] = []
        for claim in (first, *claims)[:count]:
            aimed = attrs.evolve(claim, token=claim.token + 1) if aim == UNKNOWN else claim
            chosen.append((self._project(claim.item.project_id, aim), aimed.ref if by_ref else aimed))
        return chosen

    def _project(self, owner: str, aim: str) -> str:
        return PROJECTS[owner == PROJECTS[0]] if aim == STRANGER else owner

    def _keep(self, claims: tuple[object, ...]) -> None:
        self.claims = [*(claim for claim in claims if isinstance(claim, Claim)), *self.claims][:OLD_CLAIMS]

    def _remember(self, project: str, queue_id: str | None, query: ItemQuery | QueueQuery | LabelQuery | None) -> None:
        cursors = {side.name: side.cursor for side in self.sides}
        if None not in cursors.values():
            self.walks = [Walk(project, queue_id, query, cursors), *self.walks][:OLD_WALKS]
