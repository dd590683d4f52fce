"""On a PostgreSQL server: statements by hand on our own schema, and two task queues."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.queries import EntrypointExecutionParameter, Queries
from procrastinate import App, SyncPsycopgConnector, jobs, manager
from procrastinate.sql import queries as procrastinate_sql

from annotation_queue import uuid7
from annotation_queue.repositories.postgres.blocks import SIZE
from benchmarks.postgres import OursOnPostgres, address_of, options_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from pathlib import Path
    from typing import LiteralString

    from annotation_queue import JsonValue, NewItem

_ALWAYS: Final = -62_135_596_800_000_000
_LEASE: Final = 365 * 86_400_000_000
_HEARTBEAT: Final = timedelta(hours=1)

_CLAIM: Final = f"""
WITH open AS MATERIALIZED (
    SELECT num FROM work WHERE queue = %(queue)s AND claimable_at = {_ALWAYS} AND assignees IS NULL
    ORDER BY priority_down, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
), stored AS (
    UPDATE work AS w SET state = 1, annotator = 'ann', claimable_at = %(ends)s, updated_at = %(at)s, revision = w.revision + 1,
        steps = w.steps + 1, tx = pg_current_xact_id()::text::bigint
    FROM open AS o WHERE w.queue = %(queue)s AND w.num = o.num RETURNING w.*
), written AS (
    INSERT INTO progresses (queue, item, annotator, state, token, lease_expires_at, created_at, updated_at, started_at, step)
    SELECT queue, num, 'ann', 1, 1, %(ends)s, %(at)s, %(at)s, %(at)s, steps FROM stored
), told AS (
    INSERT INTO log (queue, item, step, tx, seq, annotator, from_state, to_state, at, actor)
    SELECT queue, num, steps, tx, 1, 'ann', 0, 1, %(at)s, 'ann' FROM stored
), counted AS (
    INSERT INTO counters (queue, annotator, unstarted, in_progress, completed, skipped, settled, finished, own_in_progress)
    SELECT queue, 'ann', -1, 1, 0, 0, 0, 0, 1 FROM stored
)
SELECT w.num, i.id, i.call_id, i.call_op_name, i.call_trace_id, i.display_fields, i.payload
FROM stored AS w JOIN items AS i ON i.queue = w.queue AND i.num = w.num
"""
_COMPLETE: Final = """
WITH stored AS (
    UPDATE work AS w SET state = 2, annotator = 'ann', completed = w.completed + 1, claimable_at = NULL, updated_at = %(at)s,
        revision = w.revision + 1, steps = w.steps + 1, tx = pg_current_xact_id()::text::bigint
    FROM progresses AS p
    WHERE w.queue = %(queue)s AND w.num = %(num)s AND p.queue = %(queue)s AND p.item = %(num)s AND p.annotator = 'ann'
        AND p.token = 1 AND p.state = 1
    RETURNING w.*
), written AS (
    UPDATE progresses AS p SET state = 2, lease_expires_at = NULL, updated_at = %(at)s, step = s.steps
    FROM stored AS s WHERE p.queue = %(queue)s AND p.item = %(num)s AND p.annotator = 'ann'
), told AS (
    INSERT INTO log (queue, item, step, tx, seq, annotator, from_state, to_state, at, actor, annotation)
    SELECT queue, num, steps, tx, 1, 'ann', 1, 2, %(at)s, 'ann', %(label)s FROM stored
), counted AS (
    INSERT INTO counters (queue, annotator, unstarted, in_progress, completed, skipped, settled, finished, own_in_progress,
        own_completed)
    SELECT queue, 'ann', 0, -1, 1, 0, 1, 1, -1, 1 FROM stored
)
SELECT count(*) FROM stored
"""
_ADD_BLOCKS: Final = """
INSERT INTO blocks (queue, lane, op, a, b, id, n)
SELECT k.queue, k.lane, CASE k.place WHEN 0 THEN '' ELSE k.op END, CASE k.place WHEN 0 THEN -1::bigint << 63 ELSE k.a END,
    CASE k.place WHEN 0 THEN -1::bigint << 63 ELSE k.b END, CASE k.place WHEN 0 THEN '' ELSE k.id END,
    least(%(size)s, k.total - k.place)
FROM (
    SELECT i.queue, l.lane, l.op, l.a, l.b, i.id, count(*) OVER (PARTITION BY l.lane) AS total,
        row_number() OVER (PARTITION BY l.lane ORDER BY l.op COLLATE "C", l.a, l.b, i.id) - 1 AS place
    FROM items AS i JOIN calls AS c ON c.queue = i.queue AND c.num = i.num CROSS JOIN LATERAL (VALUES
        (1, '', c.priority_down, c.created_at), (2, '', c.created_at, 0), (3, '', i.call_started_at, 0),
        (4, '', i.call_started_at, i.created_at), (5, '', 0, 0), (6, i.call_op_name, 0, 0), (7, i.call_op_name, i.created_at, 0)
    ) AS l(lane, op, a, b)
    WHERE i.queue = %(queue)s
) AS k
WHERE k.place %% %(size)s = 0
"""
"""Blocks of all orders, as a migration fills them."""
_COPIES: Final = (
    "item_ids (id, queue, num)",
    "calls (queue, num, priority_down, created_at, id, call_id)",
    (
        "items (queue, num, created_at, call_started_at, call_ended_at, id, call_id, call_op_name, call_trace_id, "
        "added_by, display_fields)"
    ),
    "work (queue, num, priority_down, created_at, updated_at, id)",
)


class RawPostgres(OursOnPostgres):
    """The limit: a statement for a claim and one for a completion on our own schema, with history and counters.

    Left out is what costs nothing here: several annotations per item, other policies, leases that have ended, reservations,
    checks of arguments, entities. What is done is checked as ours is.
    """

    name: ClassVar[str] = "psycopg by hand"

    def __init__(self, folder: Path, synchronous: str) -> None:
        super().__init__(folder, synchronous)
        settings = (
            f'SET search_path TO "{folder.name}"; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan'
        )
        self._connection = psycopg.connect(address_of(folder), autocommit=True, options=options_of(synchronous))
        self._connection.execute(settings.encode())
        found = self._connection.execute("SELECT num FROM queues WHERE id = %s", (self.queue_id,)).fetchone()
        assert found is not None
        (self._num,) = found

    def fill(self, items: Iterable[NewItem]) -> None:
        """Copy rows into the tables, in one transaction."""
        now = time.time_ns() // 1_000
        rows = [(number, uuid7(), new) for number, new in enumerate(items, 1)]
        at = {new.call_id: round(new.call_started_at.timestamp() * 1e6) for _, _, new in rows if new.call_started_at}
        ended = {new.call_id: round(new.call_ended_at.timestamp() * 1e6) for _, _, new in rows if new.call_ended_at}
        tables: Sequence[Iterable[Sequence[object]]] = (
            ((item_id, self._num, number) for number, item_id, _ in rows),
            ((self._num, number, ~new.priority, now, item_id, new.call_id) for number, item_id, new in rows),
            (
                (
                    self._num,
                    number,
                    now,
                    at[new.call_id],
                    ended.get(new.call_id),
                    item_id,
                    new.call_id,
                    new.call_op_name,
                    new.call_trace_id,
                    "ann",
                    json.dumps(new.display_fields),
                )
                for number, item_id, new in rows
            ),
            ((self._num, number, ~new.priority, now, now, item_id) for number, item_id, new in rows),
        )
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for into, values in zip(_COPIES, tables, strict=True):
                with cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
                    for row in values:
                        copy.write_row(row)
            counted = (
                "INSERT INTO counters (queue, unstarted, in_progress, completed, skipped, settled, finished, annotator)"
            )
            cursor.execute(f"{counted} VALUES (%s, %s, 0, 0, 0, 0, 0, '')".encode(), (self._num, len(rows)))
            cursor.execute(_ADD_BLOCKS, {"queue": self._num, "size": SIZE})
        self._connection.execute("ANALYZE items, work, item_ids, calls")

    def claim(self) -> tuple[str, Any] | None:
        """Take the first open item."""
        at = time.time_ns() // 1_000
        found = self._connection.execute(_CLAIM, {"queue": self._num, "at": at, "ends": at + _LEASE}).fetchone()
        return None if found is None else (found[2], found[0])

    def complete(self, claim: Any, label: dict[str, JsonValue]) -> None:  # noqa: ANN401 - the number of an item
        """Finish it, if it is still held."""
        values = {
            "queue": self._num,
            "num": claim,
            "at": time.time_ns() // 1_000,
            "label": json.dumps(label, separators=(",", ":")),
        }
        assert self._connection.execute(_COMPLETE, values).fetchone() == (1,)

    def done(self) -> Sequence[str]:
        """Read what was completed, as ours does, once all that is kept was recounted."""
        assert self.repository.check() == ()
        return super().done()

    def close(self) -> None:
        """Close the connection and the repository that the schema was made by."""
        self._connection.close()
        super().close()


def _message(new: NewItem) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {
        "call_id": new.call_id,
        "call_op_name": new.call_op_name,
        "call_trace_id": new.call_trace_id,
        "display_fields": list(new.display_fields),
    }
    return fields


class Procrastinate:
    """Procrastinate's jobs through its synchronous connector, without its worker; it keeps no label, but a log of events."""

    name: ClassVar[str] = "procrastinate"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = True

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._address = address_of(folder)
        with psycopg.connect(self._address, autocommit=True) as connection:
            is_made = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (folder.name,)).fetchone() == (True,)
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{folder.name}"'.encode())
        self._connector = SyncPsycopgConnector(
            conninfo=self._address,
            min_size=1,
            max_size=1,
            kwargs={"options": f"-c search_path={folder.name} {options_of(synchronous)}"},
        )
        self._app = App(connector=self._connector)
        self._app.open()
        if not is_made:
            self._app.schema_manager.apply_schema()
        self._worker = self._one("register_worker")["worker_id"]

    def _one(self, name: str, **values: object) -> dict[str, Any]:
        query: LiteralString = procrastinate_sql[name]
        found: dict[str, Any] = self._connector.execute_query_one(query=query, **values)
        return found

    def fill(self, items: Iterable[NewItem]) -> None:
        """Defer all jobs at once."""
        deferred = [
            jobs.Job(
                id=None,
                queue="q",
                lock=None,
                queueing_lock=None,
                task_name="label",
                priority=new.priority,
                task_kwargs=_message(new),
            )
            for new in items
        ]
        manager.JobManager(self._connector).batch_defer_jobs(deferred)

    def claim(self) -> tuple[str, int] | None:
        """Fetch a job."""
        found = self._one("fetch_job", queues=None, worker_id=self._worker)
        return None if found["id"] is None else (found["args"]["call_id"], found["id"])

    def complete(self, claim: int, label: dict[str, JsonValue]) -> None:  # noqa: ARG002 - it keeps none
        """Mark it as succeeded."""
        self._connector.execute_query(
            query=procrastinate_sql["finish_job"], job_id=claim, status="succeeded", delete_job=False
        )

    def done(self) -> Sequence[str]:
        """Read which jobs succeeded."""
        found = self._connector.execute_query_all(
            query="SELECT args FROM procrastinate_jobs WHERE status = 'succeeded'"
        )
        return [row["args"]["call_id"] for row in found]

    def close(self) -> None:
        """Close its pool."""
        self._app.close()


class PgQueuer:
    """pgqueuer's queries through psycopg, without its manager; what is done moves to its log."""

    name: ClassVar[str] = "pgqueuer"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = True

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._loop = asyncio.new_event_loop()
        options = f"-c search_path={folder.name} {options_of(synchronous)}"
        connect = psycopg.AsyncConnection.connect(address_of(folder), autocommit=True, options=options)
        self._connection = self._run(connect)
        self._queries = Queries(PsycopgDriver(self._connection))
        # Its names for texts and UUIDs are types to its checker alone.
        self._entrypoints: Any = {"label": EntrypointExecutionParameter(0)}
        self._manager: Any = uuid.uuid4()
        self._done: list[str] = []
        if not self._run(self._queries.schema_is_installed()):
            self._run(self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{folder.name}"'.encode()))
            self._run(self._queries.install())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever it gives
        return self._loop.run_until_complete(coroutine)

    def fill(self, items: Iterable[NewItem]) -> None:
        """Enqueue all at once."""
        given = [(json.dumps(_message(new)).encode(), new.priority) for new in items]
        names = ["label"] * len(given)
        self._run(self._queries.enqueue(names, [payload for payload, _ in given], [priority for _, priority in given]))

    def claim(self) -> tuple[str, Any] | None:
        """Dequeue one."""
        found = self._run(
            self._queries.dequeue(
                batch_size=1,
                entrypoints=self._entrypoints,
                queue_manager_id=self._manager,
                global_concurrency_limit=None,
                heartbeat_timeout=_HEARTBEAT,
            )
        )
        return (json.loads(found[0].payload)["call_id"], found[0]) if found else None

    def complete(self, claim: Any, label: dict[str, JsonValue]) -> None:  # noqa: ANN401, ARG002 - its job; it keeps no label
        """Move it to the log."""
        self._run(self._queries.log_jobs([(claim, "successful", None)]))
        self._done.append(json.loads(claim.payload)["call_id"])

    def done(self) -> Sequence[str]:
        """Tell which jobs were completed here; the log does not keep what they were, but how many."""
        rows = self._run(self._queries.queue_log())
        assert sum(row.status == "successful" for row in rows) == len(self._done)
        return self._done

    def close(self) -> None:
        """Close its connection and the loop."""
        self._run(self._connection.close())
        self._loop.close()
