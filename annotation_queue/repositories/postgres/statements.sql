-- Every statement but those that postgres_queries.py composes. -62135596800000000 is "always", see postgres_0001.sql.
-- Lists are given as arrays.

-- Columns

-- name: item_columns --
w.num, w.revision, w.id, i.call_id, i.call_started_at, i.call_ended_at, i.call_op_name, i.call_trace_id, i.display_fields,
    i.added_by, w.state, w.annotator, w.created_at, w.updated_at, w.priority_down, i.payload

-- What tells apart how a queue was at different times; its other columns are kept by the reader.

-- name: queue_version --
q.num, q.revision, q.updated_at

-- Queues

-- name: queue_by_id --
SELECT @queue_version@ FROM queues AS q WHERE q.id = ?

-- name: queues_of_project --
SELECT @queue_columns@
FROM queues WHERE project_id = ? AND deleted_at IS NULL AND (?::text IS NULL OR strpos(search_name, ?::text) > 0)

-- Long texts

-- name: long_text --
SELECT text FROM long_texts WHERE queue = ? AND key = ?

-- name: add_long_texts --
INSERT INTO long_texts (queue, key, text)
SELECT * FROM unnest(?::bigint[], ?::text[], ?::text[]) ON CONFLICT DO NOTHING

-- name: has_long_texts --
SELECT EXISTS (SELECT FROM long_texts WHERE queue = ?)

-- Items

-- name: taken_calls --
SELECT t.call_id FROM unnest(?::text[]) AS t(call_id)
WHERE (SELECT TRUE FROM calls AS c WHERE c.queue = ? AND c.call_id = t.call_id)

-- name: taken_ids --
SELECT t.id FROM unnest(?::text[]) AS t(id) WHERE (SELECT TRUE FROM item_ids AS k WHERE k.id = t.id) LIMIT 1

-- name: add_items --
WITH new AS MATERIALIZED (
    SELECT nextval('item_nums') AS num, t.*
    FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[],
        ?::text[], ?::text[], ?::text[])
        AS t(priority_down, created_at, call_started_at, call_ended_at, updated_at, id, call_id, call_op_name, call_trace_id,
            added_by, display_fields, payload)
), ids AS (
    INSERT INTO item_ids (id, queue, num) SELECT id, ?, num FROM new ORDER BY id
), given AS (
    INSERT INTO calls (queue, num, call_id) SELECT ?, num, call_id FROM new
), lists AS (
    INSERT INTO items (queue, num, priority_down, created_at, call_started_at, call_ended_at, id, call_id, call_op_name,
        call_trace_id, added_by, display_fields, payload)
    SELECT ?, num, priority_down, created_at, call_started_at, call_ended_at, id, call_id, call_op_name, call_trace_id,
        added_by, display_fields, payload
    FROM new
)
INSERT INTO work (queue, num, priority_down, created_at, updated_at, id)
SELECT ?, num, priority_down, created_at, updated_at, id FROM new

-- An item in a queue, or without a number of a queue in the one it is in; a row without an item where there is only the queue.
-- OFFSET 0 keeps the order of the joins, one key after the other: a plan that is kept from when the tables were small would
-- otherwise be free to begin with all items of the queue.

-- name: item_in_queue --
FROM queues AS q
    LEFT JOIN LATERAL (SELECT o.num FROM item_ids AS o WHERE o.id = ? AND o.queue = q.num OFFSET 0) AS k ON TRUE
    LEFT JOIN LATERAL (SELECT * FROM work AS o WHERE o.queue = q.num AND o.num = k.num OFFSET 0) AS w ON TRUE

-- name: live_item --
SELECT @queue_version@, @item_columns@
@item_in_queue@ LEFT JOIN LATERAL (SELECT * FROM items AS o WHERE o.queue = q.num AND o.num = w.num OFFSET 0) AS i ON TRUE
WHERE q.num = coalesce(?::bigint, (SELECT o.queue FROM item_ids AS o WHERE o.id = ?))

-- The same; a row for each progress, or one without.

-- name: live_record --
SELECT @queue_version@, w.num, w.revision, w.updated_at, @progress_columns@
@item_in_queue@ LEFT JOIN LATERAL (SELECT * FROM progresses AS o WHERE o.queue = q.num AND o.item = w.num OFFSET 0) AS p ON TRUE
WHERE q.num = coalesce(?::bigint, (SELECT o.queue FROM item_ids AS o WHERE o.id = ?))

-- name: live_items_by_num --
WITH w AS MATERIALIZED (SELECT * FROM work WHERE queue = ? AND num = ANY(?::bigint[]))
SELECT @item_columns@
FROM w JOIN items AS i ON i.queue = w.queue AND i.num = w.num

-- name: progresses_by_num --
SELECT p.item, @progress_columns@
FROM progresses AS p WHERE p.queue = ? AND p.item = ANY(?::bigint[])

-- name: own_states --
SELECT p.item, p.state FROM progresses AS p WHERE p.queue = ? AND p.annotator = ? AND p.item = ANY(?::bigint[])

-- name: lock_by_id --
WITH k AS MATERIALIZED (SELECT queue, num FROM item_ids WHERE id = ANY(?::text[]) AND queue = ?)
SELECT w.num FROM k JOIN work AS w ON w.queue = k.queue AND w.num = k.num ORDER BY w.num FOR UPDATE OF w

-- name: delete_items --
WITH gone AS (
    DELETE FROM work WHERE queue = ? AND num = ANY(?::bigint[])
), deleted AS (
    UPDATE items SET deleted_at = ? WHERE queue = ? AND num = ANY(?::bigint[]) RETURNING queue, call_id
)
DELETE FROM calls AS c USING deleted AS d WHERE c.queue = d.queue AND c.call_id = d.call_id

-- Counts come by queue and annotator, and are added to what the server's process has counted so far.

-- name: counts --
INSERT INTO counters AS c (queue, unstarted, in_progress, completed, skipped, settled, finished, openings, annotator, shard)
SELECT t.*, pg_backend_pid() % 64
FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[],
    ?::text[]) AS t

-- name: summed --
ON CONFLICT (queue, annotator, shard) DO UPDATE SET unstarted = c.unstarted + excluded.unstarted,
    in_progress = c.in_progress + excluded.in_progress, completed = c.completed + excluded.completed,
    skipped = c.skipped + excluded.skipped, settled = c.settled + excluded.settled,
    finished = c.finished + excluded.finished, openings = c.openings + excluded.openings

-- Changes. The items are locked in one order, whatever the plan; what changed meanwhile is left alone; and nothing else is
-- written unless every item was.

-- name: store --
WITH locked AS MATERIALIZED (
    SELECT w.queue, w.num
    FROM unnest(?::bigint[], ?::bigint[]) AS t(queue, num) JOIN work AS w ON w.queue = t.queue AND w.num = t.num
    ORDER BY w.queue, w.num FOR UPDATE OF w
), stored AS (
    UPDATE work AS w SET state = t.state, annotator = t.annotator, completed = t.completed, skipped = t.skipped,
        claimable_at = t.claimable_at, updated_at = t.updated_at, revision = w.revision + 1
    FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[],
        ?::bigint[], ?::text[])
        AS t(queue, queue_revision, num, revision, state, completed, skipped, claimable_at, updated_at, annotator)
    WHERE (SELECT count(*) FROM locked) > 0 AND w.queue = t.queue AND w.num = t.num AND w.revision = t.revision
        AND (SELECT q.revision FROM queues AS q WHERE q.num = t.queue) = t.queue_revision
    RETURNING w.num
), written AS (
    INSERT INTO progresses (queue, item, state, token, lease_expires_at, created_at, updated_at, annotator, annotation, reason)
    SELECT *
    FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[],
        ?::text[], ?::text[])
    WHERE (SELECT count(*) FROM stored) = ?
    ON CONFLICT (queue, item, annotator) DO UPDATE SET state = excluded.state, token = excluded.token,
        lease_expires_at = excluded.lease_expires_at, reason = excluded.reason,
        annotation = CASE excluded.annotation WHEN '' THEN progresses.annotation ELSE excluded.annotation END,
        updated_at = excluded.updated_at
), told AS (
    INSERT INTO transitions (queue, item, revision, step, at, from_state, to_state, annotator, reason)
    SELECT *
    FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::text[],
        ?::text[])
    WHERE (SELECT count(*) FROM stored) = ?
), counted AS (
    @counts@
    WHERE (SELECT count(*) FROM stored) = ?
    @summed@
)
SELECT count(*) FROM stored

-- name: transitions --
SELECT annotator, from_state, to_state, at, reason FROM transitions WHERE queue = ? AND item = ? ORDER BY revision, step

-- Counters

-- name: count --
@counts@ @summed@

-- name: counters --
SELECT queue, annotator, sum(unstarted)::bigint, sum(in_progress)::bigint, sum(completed)::bigint, sum(skipped)::bigint,
    sum(settled)::bigint, sum(finished)::bigint
FROM counters WHERE queue = ANY(?::bigint[]) GROUP BY queue, annotator

-- name: openings --
SELECT coalesce(sum(openings), 0)::bigint FROM counters WHERE queue = ? AND annotator = ''

-- Claims. An annotator is kept from an item by having settled it, or by a live hold of their own.

-- name: is_kept --
coalesce((SELECT p.state >= 2 OR p.lease_expires_at > ?
    FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.annotator = ?), FALSE)

-- name: open_items --
SELECT w.* FROM work AS w
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND NOT @is_kept@
ORDER BY w.priority_down, w.created_at, w.id LIMIT ?

-- name: expired_items --
SELECT w.* FROM work AS w
WHERE w.queue = ? AND w.claimable_at > -62135596800000000 AND w.claimable_at <= ? AND NOT @is_kept@
ORDER BY w.priority_down, w.created_at, w.id LIMIT ?

-- The rows of work are as they are since they are locked. A row without an item where there is none. What follows in the
-- transaction has one good plan, whatever its values are.

-- name: lock_claimable --
WITH open AS MATERIALIZED (@open_items@ FOR UPDATE OF w SKIP LOCKED),
    expired AS MATERIALIZED (@expired_items@ FOR UPDATE OF w SKIP LOCKED)
SELECT @queue_version@, @item_columns@, (SELECT set_config('plan_cache_mode', 'force_generic_plan', TRUE))
FROM queues AS q LEFT JOIN ((SELECT * FROM open UNION ALL SELECT * FROM expired) AS w
    JOIN items AS i ON i.queue = w.queue AND i.num = w.num) ON w.queue = q.num
WHERE q.num = ?

-- name: is_claimable --
SELECT EXISTS (@open_items@), EXISTS (@expired_items@)

-- name: first_unsettled --
SELECT w.priority_down, w.created_at, w.id FROM work AS w
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND NOT coalesce((SELECT p.state >= 2 FROM progresses AS p
        WHERE p.queue = w.queue AND p.item = w.num AND p.annotator = ?), FALSE)
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- name: last_open --
SELECT w.priority_down, w.created_at, w.id FROM work AS w
WHERE w.queue = ? AND w.claimable_at = -62135596800000000
ORDER BY w.priority_down DESC, w.created_at DESC, w.id DESC LIMIT 1

-- name: retry_at --
SELECT min(greatest(w.claimable_at, coalesce(p.lease_expires_at, w.claimable_at)))
FROM work AS w LEFT JOIN progresses AS p ON p.queue = w.queue AND p.item = w.num AND p.annotator = ?
WHERE w.queue = ? AND w.claimable_at > -62135596800000000 AND (p.state IS NULL OR p.state < 2)

-- name: own_retry_at --
SELECT min(p.lease_expires_at)
FROM work AS w JOIN progresses AS p ON p.queue = w.queue AND p.item = w.num AND p.annotator = ?
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND p.state = 1

-- Policies. An item that nobody touched keeps its standing under any of them.

-- name: kinds_without_hold --
SELECT w.completed, w.skipped, count(*), min(w.num), max(w.num) FROM work AS w
WHERE w.queue = ? AND w.revision > 0
    AND NOT EXISTS (SELECT FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.state = 1)
GROUP BY w.completed, w.skipped

-- name: refresh_kind --
UPDATE work AS w SET claimable_at = ?, revision = revision + 1
WHERE w.queue = ? AND w.num >= ? AND w.num < ? AND w.completed = ? AND w.skipped = ? AND w.revision > 0
    AND NOT EXISTS (SELECT FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.state = 1)

-- name: held_nums --
SELECT w.num FROM work AS w
WHERE w.queue = ? AND w.revision > 0
    AND EXISTS (SELECT FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.state = 1)
