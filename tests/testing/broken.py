"""Deliberately wrong repositories, each by one fault, with the part of the contract that has to find it."""

from __future__ import annotations

import re
import sqlite3
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue import MemoryRepository, decisions, sorting, testing
from annotation_queue import query as query_module
from annotation_queue.ids import uuid7
from annotation_queue.records import own_progress
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite import changes as sqlite_changes
from annotation_queue.sorting import Order
from helpers.sqlite_files import empty_repository
from testing import broken_dictionaries as wrong
from testing import broken_lists as wrong_list
from testing import broken_logs as wrong_log
from testing.dictionary import MyRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    import pytest

    from annotation_queue import (
        AnnotationQueue,
        ClaimRef,
        ItemPage,
        ItemQuery,
        QueueStats,
        Repository,
        SQLiteRepository,
    )
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.sqlite.session import Session
    from annotation_queue.repositories.sqlite.statements import CounterRow
    from annotation_queue.sorting import SortBy
    from annotation_queue.states import Progress


@attrs.frozen
class Broken:
    """A wrong repository.

    Args:
        contract: Which part of the contract must find the fault.
        make: Makes an empty one in an empty folder, where it needs one.
        spoil: Puts the fault in, for as long as the patch lasts.
        hits: How often the fault was met; None where it is there from the start.
    """

    contract: type[testing.Contract]
    make: Callable[[Path], Repository]
    spoil: Callable[[pytest.MonkeyPatch], object] = lambda _patch: None
    hits: list[str] | None = None


class StaleStatistics(MemoryRepository):
    """Counts what there was before the last save."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[tuple[str, ...], tuple[QueueStats, ...]] = {}

    def save(self, writes: Any) -> None:  # noqa: ANN401 - as it is given
        for record, _ in writes:
            key = (record.queue.project_id, record.queue.id)
            self._before[key] = super().stats(record.queue.project_id, [record.queue.id])
        super().save(writes)

    def stats(self, project_id: str, queue_ids: Any) -> tuple[QueueStats, ...]:  # noqa: ANN401 - as it is given
        fresh = super().stats(project_id, queue_ids)
        return tuple(self._before.get((project_id, each.queue_id), (each,))[0] for each in fresh)


class IgnoresPolicyChanges(MemoryRepository):
    """Leaves the standings of items as they were when the policies of their queue change."""

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        policies = attrs.evolve(after, annotations_per_item=before.annotations_per_item, skip_policy=before.skip_policy)
        super().replace_queue(before, policies)
        self._queues[before.id].queue = after


class SwallowsConflicts(MemoryRepository):
    """Takes the newest revision for the one that was read."""

    def save(self, writes: Any) -> None:  # noqa: ANN401 - as it is given
        newest: list[tuple[ItemRecord, Change]] = []
        for record, change in writes:
            now = super().get_records(record.queue.project_id, [record.item_id], with_items=False)[record.item_id]
            newest.append((attrs.evolve(record, revision=now.revision), change))
        super().save(newest)


class SharesPages(MemoryRepository):
    """Answers a query that it was asked before from its notes."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[tuple[str, str, ItemQuery], ItemPage] = {}

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        page = super().query_items(project_id, queue_id, query)
        return self._pages.setdefault((project_id, queue_id, query), page)


def on_a_file(folder: Path) -> SQLiteRepository:
    """Make a repository on a fresh file, whose tables were made before anything was broken."""
    return empty_repository(folder / f"{uuid7()}.db", busy_timeout=2)


def sql(contract: type[testing.Contract], pattern: str, replacement: str) -> Broken:
    """Break SQLite's repository by executing other statements than those it means.

    Args:
        contract: Which part of the contract must find the fault.
        pattern: What to find in its statements.
        replacement: What to put there.
    """
    hits: list[str] = []

    def other(statement: str) -> str:
        changed = re.sub(pattern, replacement, statement)
        if changed != statement:
            hits.append(statement)
        return changed

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3
            return super().execute(other(statement), *parameters)

        def executemany(self, statement: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3
            return super().executemany(other(statement), *parameters)

    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))

    return Broken(contract, on_a_file, spoil, hits)


def blocks(pattern: str, replacement: str) -> Broken:
    """Break, as `sql` does, how SQLite's repository counts in blocks; they are short, so that few items fill several."""
    broken = sql(testing.PositionsContract, pattern, replacement)

    def spoil(patch: pytest.MonkeyPatch) -> None:
        _short_blocks(patch)
        broken.spoil(patch)

    return attrs.evolve(broken, spoil=spoil)


def _short_blocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite_blocks, "SIZE", 1)


def _long_blocks(patch: pytest.MonkeyPatch) -> None:
    _short_blocks(patch)
    patch.setattr(sqlite_blocks, "_split", lambda *_: None)


def _no_moves(patch: pytest.MonkeyPatch) -> None:
    _short_blocks(patch)
    patch.setattr(sqlite_changes, "moved_blocks", lambda *_: [])


def _one_block(patch: pytest.MonkeyPatch) -> None:
    def moved(session: Session, queue: int, moves: Sequence[sqlite_blocks.Move]) -> list[CounterRow]:
        return [row._replace(num=1) for row in sqlite_blocks.moved_blocks(session, queue, moves)]

    _short_blocks(patch)
    patch.setattr(sqlite_changes, "moved_blocks", moved)


def _no_token(patch: pytest.MonkeyPatch) -> None:
    def own(record: ItemRecord | None, claim: ClaimRef) -> tuple[ItemRecord, Progress]:
        stored = None if record is None else own_progress(record, claim.annotator_id)
        return checked(record, attrs.evolve(claim, token=claim.token if stored is None else stored.token))

    checked: Callable[[ItemRecord | None, ClaimRef], tuple[ItemRecord, Progress]] = decisions._own
    patch.setattr(decisions, "_own", own)


def _float_times(patch: pytest.MonkeyPatch) -> None:
    def to_micros(moment: datetime) -> int:
        return int(moment.timestamp() * 1e6)

    for name, module in list(sys.modules.items()):
        if name.startswith("annotation_queue.repositories.sql") and hasattr(module, "to_micros"):
            patch.setattr(module, "to_micros", to_micros)


def _plain_search(patch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("annotation_queue.repositories.sql") and hasattr(module, "search_text"):
            patch.setattr(module, "search_text", str.lower)


def _orders_behind_the_id(patch: pytest.MonkeyPatch) -> None:
    def whole(sort_by: tuple[SortBy, ...]) -> Order:
        order = sorting.item_order(sort_by)
        behind = sort_by[[by.field for by in sort_by].index("id") + 1 :] if len(order.sort_by) < len(sort_by) else ()
        every = (*order.sort_by, *behind)
        return Order(every, tuple(sorting.ITEM_FIELDS[by.field] for by in every))

    patch.setattr(query_module, "item_order", whole)


def _dictionary(contract: type[testing.Contract], kind: Callable[[], Repository]) -> Broken:
    return Broken(contract, lambda _folder: kind())


BROKEN: Final = {
    "saves without comparing": _dictionary(testing.StoringContract, wrong.SavesWithoutComparing),
    "compares the item and not its queue": _dictionary(testing.StoringContract, wrong.ComparesTheItemOnly),
    "saves one after the other": _dictionary(testing.StoringContract, wrong.SavesOneAfterTheOther),
    "saves the first only": _dictionary(testing.StoringContract, wrong.SavesTheFirstOnly),
    "replaces queues without comparing": _dictionary(testing.StoringContract, wrong.ReplacesWithoutComparing),
    "keeps part of what failed": _dictionary(testing.ItemsContract, wrong.KeepsPartOfWhatFailed),
    "reads before it looks": _dictionary(testing.ItemsContract, wrong.ReadsBeforeItLooks),
    "checks duplicates without a lock": _dictionary(testing.ThreadsContract, wrong.ChecksDuplicatesWithoutALock),
    "overwrites taken ids": _dictionary(testing.ItemsContract, wrong.OverwritesTakenIds),
    "sorts ties backwards": _dictionary(testing.QueriesContract, wrong.SortsTiesBackwards),
    "sorts absent values first": _dictionary(testing.QueriesContract, wrong.SortsAbsentValuesFirst),
    "repeats the item of the cursor": _dictionary(testing.CursorsContract, wrong.RepeatsTheItemOfTheCursor),
    "skips ties behind the cursor": _dictionary(testing.CursorsContract, wrong.SkipsTiesBehindTheCursor),
    "skips one too many by offset": _dictionary(testing.QueriesContract, wrong.SkipsOneTooManyByOffset),
    "stops at the limit": _dictionary(testing.QueriesContract, wrong.StopsAtTheLimit),
    "numbers what is shown": _dictionary(testing.PositionsContract, wrong.NumbersWhatIsShown),
    "numbers deleted items too": _dictionary(testing.PositionsContract, wrong.NumbersDeletedItemsToo),
    "counts the page": _dictionary(testing.QueriesContract, wrong.CountsThePage),
    "filters without case": _dictionary(testing.QueriesContract, wrong.FiltersWithoutCase),
    "ignores the states of a perspective": _dictionary(testing.QueriesContract, wrong.IgnoresTheStatesOfAPerspective),
    "loses payloads when it filters": _dictionary(testing.QueriesContract, wrong.ForgetsThePayloadOfAFilter),
    "shows payloads that nobody asked for": _dictionary(testing.QueriesContract, wrong.ShowsPayloadsUnasked),
    "ends at its bytes": _dictionary(testing.QueriesContract, wrong.EndsAtItsBytes),
    "searches with case": _dictionary(testing.QueuePagesContract, wrong.SearchesWithCase),
    "counts deleted items": _dictionary(testing.StatisticsContract, wrong.CountsDeletedItems),
    "counts once": _dictionary(testing.StatisticsContract, wrong.CountsOnce),
    "stores what it was given": _dictionary(testing.AliasingContract, wrong.StoresWhatItWasGiven),
    "hands out its labels": _dictionary(testing.AliasingContract, wrong.HandsOutItsLabels),
    "hands out its payloads": _dictionary(testing.AliasingContract, wrong.HandsOutItsPayloads),
    "sorts histories by time": _dictionary(testing.HistoryContract, wrong.SortsHistoriesByTime),
    "forgets releases in histories": _dictionary(testing.ClaimsContract, wrong.ForgetsReleasesInHistories),
    "moves the time at a heartbeat": _dictionary(testing.FencingContract, wrong.MovesTheTimeAtAHeartbeat),
    "ignores live holds": _dictionary(testing.ClaimsContract, wrong.IgnoresLiveHolds),
    "passes over expired holds": _dictionary(testing.ClaimsContract, wrong.PassesOverExpiredHolds),
    "lets an annotator in twice": _dictionary(testing.ClaimsContract, wrong.LetsAnAnnotatorInTwice),
    "tells a wrong time to come back": _dictionary(testing.ClaimsContract, wrong.TellsAWrongTimeToComeBack),
    "claims one too many": _dictionary(testing.ClaimsContract, wrong.ClaimsOneTooMany),
    "claims without a lock": _dictionary(testing.ThreadsContract, wrong.ClaimsWithoutALock),
    "forgets the lease of the claim": _dictionary(testing.ClaimsContract, wrong.ForgetsTheLeaseOfTheClaim),
    "leaks queues": _dictionary(testing.IsolationContract, wrong.LeaksQueues),
    "leaks items": _dictionary(testing.IsolationContract, wrong.LeaksItems),
    "keeps deleted queues": _dictionary(testing.QueuesContract, wrong.KeepsDeletedQueues),
    "keeps deleted items": _dictionary(testing.ItemsContract, wrong.KeepsDeletedItems),
    "answers when it is closed": _dictionary(testing.StoringContract, wrong.AnswersWhenItIsClosed),
    "memory: orders by what follows the id": Broken(
        testing.CursorsContract, lambda _folder: MemoryRepository(), _orders_behind_the_id
    ),
    "skips a late commit": _dictionary(testing.ThreadsContract, wrong_log.SkipsALateCommit),
    "drops revisions": _dictionary(testing.RevisionsContract, wrong_log.DropsRevisions),
    "drops drafts": _dictionary(testing.RevisionsContract, wrong_log.DropsDrafts),
    "keeps labels after a reset": _dictionary(testing.OverridesContract, wrong_log.KeepsLabelsAfterAReset),
    "forgets actors": _dictionary(testing.RevisionsContract, wrong_log.ForgetsActors),
    "forgets earlier labels": _dictionary(testing.RevisionsContract, wrong_log.ForgetsEarlierLabels),
    "writes drafts into the history": _dictionary(testing.RevisionsContract, wrong_log.ToldOfDrafts),
    "counts progresses as steps": _dictionary(testing.ProgressContract, wrong_log.CountsProgressesAsSteps),
    "lets the time go back": _dictionary(testing.ProgressContract, wrong_log.LetsTheTimeGoBack),
    "stores writes by their ids": _dictionary(testing.ChangesContract, wrong_log.StoresWritesByTheirIds),
    "sorts labels by the clock": _dictionary(testing.LabelsContract, wrong_log.SortsLabelsByTheClock),
    "moves labels by drafts": _dictionary(testing.LabelsContract, wrong_log.MovesLabelsByDrafts),
    "repeats the label of the cursor": _dictionary(testing.LabelsContract, wrong_log.RepeatsTheLabelOfTheCursor),
    "walks labels by offset": _dictionary(testing.LabelsContract, wrong_log.WalksLabelsByOffset),
    "ends labels at their bytes": _dictionary(testing.LabelsContract, wrong_log.EndsLabelsAtTheirBytes),
    "finds labels of removed items": _dictionary(testing.LabelsContract, wrong_log.FindsLabelsOfRemovedItems),
    "shows payloads of labels unasked": _dictionary(testing.LabelsContract, wrong_log.ShowsPayloadsOfLabelsUnasked),
    "writes texts as they are stored": _dictionary(testing.LabelsContract, wrong_log.WritesTextsAsTheyAreStored),
    "ends texts of labels at their bytes": _dictionary(testing.LabelsContract, wrong_log.EndsTextsOfLabelsAtTheirBytes),
    "sorts the log by time": _dictionary(testing.ChangesContract, wrong_log.SortsTheLogByTime),
    "forgets the log of removed items": _dictionary(testing.ChangesContract, wrong_log.ForgetsTheLogOfRemovedItems),
    "hands out its log": _dictionary(testing.AliasingContract, wrong_log.HandsOutItsLog),
    "hands out its schemas": _dictionary(testing.AliasingContract, wrong_log.HandsOutItsSchemas),
    "counts revisions as settled": _dictionary(testing.ChangesContract, wrong_log.CountsRevisionsAsSettled),
    "forgets when work began": _dictionary(testing.ChangesContract, wrong_log.ForgetsWhenWorkBegan),
    "shows holds of others": _dictionary(testing.HoldsContract, wrong_log.ShowsHoldsOfOthers),
    "lists holds by their ends": _dictionary(testing.HoldsContract, wrong_log.ListsHoldsByTheirEnds),
    "keeps holds after a reset": _dictionary(testing.HoldsContract, wrong_log.KeepsHoldsAfterAReset),
    "gets or creates without a lock": _dictionary(testing.ThreadsContract, wrong_log.GetsOrCreatesWithoutALock),
    "gets the newest queue of a name": _dictionary(testing.RepeatingContract, wrong_log.GetsTheNewestOfAName),
    "gets a deleted queue of a name": _dictionary(testing.RepeatingContract, wrong_log.GetsADeletedQueueOfAName),
    "hands reserved items to others": _dictionary(testing.AssignmentsContract, wrong_list.HandsReservedItemsToOthers),
    "keeps reserved items from everybody": _dictionary(
        testing.AssignmentsContract, wrong_list.KeepsReservedItemsFromEverybody
    ),
    "forgets its pauses": _dictionary(testing.AssignmentsContract, wrong_list.ForgetsItsPauses),
    "says seen for assigned": _dictionary(testing.AssignmentsContract, wrong_list.SaysSeenForAssigned),
    "counts what is the same": _dictionary(testing.BulkContract, wrong_list.CountsWhatIsTheSame),
    "lets updates turn back the time": _dictionary(testing.BulkContract, wrong_list.LetsUpdatesTurnBackTheTime),
    "updates payloads only": _dictionary(testing.BulkContract, wrong_list.UpdatesPayloadsOnly),
    "gives all the first priority": _dictionary(testing.BulkContract, wrong_list.GivesAllTheFirstPriority),
    "resets in the order of addition": _dictionary(testing.OverridesContract, wrong_list.ResetsInTheOrderOfAddition),
    "resets what it found before": _dictionary(testing.ThreadsContract, wrong_list.ResetsWhatItFoundBefore),
    "restores beside a live call": _dictionary(testing.BulkContract, wrong_list.RestoresBesideALiveCall),
    "restores without progresses": _dictionary(testing.BulkContract, wrong_list.RestoresWithoutProgresses),
    "purges without the log": _dictionary(testing.BulkContract, wrong_list.PurgesWithoutTheLog),
    "purges what was removed later": _dictionary(testing.BulkContract, wrong_list.PurgesWhatWasRemovedLater),
    "purges other projects": _dictionary(testing.BulkContract, wrong_list.PurgesOtherProjects),
    "sqlite: moves items but not their block counts": sql(
        testing.BulkContract,
        "SET priority_down = places.priority_down,",
        "SET priority_down = places.priority_down + 1,",
    ),
    "sqlite: a reserved item is found along the order": sql(
        testing.AssignmentsContract, "AND r.annotator = :annotator", "AND r.annotator >= :annotator - 1"
    ),
    "sqlite: purges without the log": sql(
        testing.BulkContract,
        "^DELETE FROM log WHERE queue = :queue AND item IN",
        "DELETE FROM log WHERE queue = -:queue AND item IN",
    ),
    "memory: counts what was before": _dictionary(testing.StatisticsContract, StaleStatistics),
    "memory: ignores policy changes": _dictionary(testing.PoliciesContract, IgnoresPolicyChanges),
    "memory: swallows conflicts": _dictionary(testing.StoringContract, SwallowsConflicts),
    "memory: answers from its notes": _dictionary(testing.StatisticsContract, SharesPages),
    "sqlite: begins to write too late": sql(testing.ThreadsContract, "^BEGIN IMMEDIATE$", "BEGIN"),
    "sqlite: ignores the revision": sql(
        testing.StoringContract, r"AND id = \? AND revision = \?", "AND id = ? AND coalesce(?, 0) >= 0"
    ),
    "sqlite: sorts absent values first": sql(testing.QueriesContract, "NULLS LAST", "NULLS FIRST"),
    "sqlite: claims ties backwards": sql(testing.ClaimsContract, r"w\.id LIMIT 1$", "w.id DESC LIMIT 1"),
    "sqlite: expires too late": sql(testing.ClaimsContract, "w.claimable_at <= :now", "w.claimable_at < :now"),
    "sqlite: keeps deleted items": sql(
        testing.ItemsContract, "^DELETE FROM work WHERE num IN", "DELETE FROM work WHERE -1 - num IN"
    ),
    "sqlite: counts no changes": sql(
        testing.StatisticsContract, r"(unstarted|in_progress|completed|settled) = \1 \+ \?", r"\1 = \1 + 0 * ?"
    ),
    "sqlite: sorts histories by time": sql(
        testing.HistoryContract, "FROM entry ORDER BY num", "FROM entry ORDER BY at, num"
    ),
    "sqlite: lists every project's queues": sql(
        testing.IsolationContract, r"(FROM queues AS q .* WHERE) q\.project_id = \?", r"\1 ? <> ''"
    ),
    "sqlite: keeps times as floats": Broken(testing.HostileInputContract, on_a_file, _float_times),
    "sqlite: never splits a block": Broken(testing.PositionsContract, on_a_file, _long_blocks),
    "sqlite: counts the states that a cut block lost": blocks(
        "^SELECT unstarted, in_progress, completed, skipped, waiting FROM",
        "SELECT unstarted + 1, in_progress, completed, skipped, waiting FROM",
    ),
    "sqlite: gives a new block one item too few": blocks(
        r"id, num, n\) VALUES (.*)\?\)", r"id, num, n) VALUES \1? - 1)"
    ),
    "sqlite: counts removed items in blocks": blocks(r"blocks SET n = n \+ \?", "blocks SET n = n + max(?, 0)"),
    "sqlite: does not move items between the states of a block": Broken(
        testing.PositionsContract, on_a_file, _no_moves
    ),
    "sqlite: moves items between the states of one block alone": Broken(
        testing.PositionsContract, on_a_file, _one_block
    ),
    "sqlite: adds to the first block": blocks(
        r"(<= \(\?, \?, \?\)) ORDER BY a DESC, b DESC, id DESC", r"\1 ORDER BY a, b, id"
    ),
    "sqlite: walks over queues in one range": sql(
        testing.QueuePagesContract, r"AND q\.\w+ = \? AND q\.id ([<>]) \?", r"AND ? IS NOT NULL AND q.id \1 ?"
    ),
    "sqlite: sorts queues by the index for the other direction": sql(
        testing.QueuePagesContract, r"(q\.\w+) DESC, q\.id ASC", r"\1 DESC, q.id DESC"
    ),
    "forgets the token of the claim": Broken(testing.FencingContract, lambda _folder: MyRepository(), _no_token),
    "sqlite: searches in lower case": Broken(testing.QueuePagesContract, on_a_file, _plain_search),
}
