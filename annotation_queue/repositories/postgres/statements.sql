-- Every statement but those that queries.py composes. -62135596800000000 is "always", see migrations/0001.sql.
-- Lists are given as arrays. {name} is a table t of rows that the statement is given, see rows.py.

-- Columns

-- name: live_item_columns_without_payload --
w.num, w.revision, w.id, i.call_id, i.call_started_at, i.call_ended_at, i.call_op_name, i.call_trace_id, i.display_fields,
    i.added_by, w.state, w.annotator, w.created_at, w.updated_at, w.priority_down

-- name: live_item_columns --
@live_item_columns_without_payload@, i.payload

-- Those of a progress; '' instead of the label, unless the label of this annotator, or everybody's, is asked for.

-- name: seen_progress_columns --
p.annotator, p.state, p.token, p.lease_expires_at,
    CASE WHEN :all_labels OR p.annotator = ANY(:labels_of::text[]) THEN p.annotation ELSE '' END,
    p.reason, p.created_at, p.updated_at

-- What tells apart how a queue was at different times; its other columns are kept by the reader.

-- name: queue_version --
q.num, q.revision, q.updated_at

-- Queues

-- Finds a queue by its id.

-- name: queue_by_id --
SELECT @queue_version@ FROM queues AS q WHERE q.id = ?

-- Lists the live queues of a project whose names match.

-- name: queues_of_project --
SELECT @queue_columns@
FROM queues WHERE project_id = ? AND deleted_at IS NULL AND (?::text IS NULL OR strpos(search_name, ?::text) > 0)

-- Long texts

-- Reads what a key stands for.

-- name: long_text --
SELECT text FROM long_texts WHERE queue = ? AND key = ?

-- Stores what keys stand for.

-- name: add_long_texts --
INSERT INTO long_texts (queue, key, text) SELECT t.queue, t.key, t.text FROM {long_texts} ON CONFLICT DO NOTHING

-- Tells whether a queue has any, and so holds keys that do not sort like the texts.

-- name: has_long_texts --
SELECT EXISTS (SELECT FROM long_texts WHERE queue = ?)

-- Items

-- Finds those of some calls that live items of a queue have.

-- name: taken_calls --
SELECT t.call_id FROM unnest(:call_ids::text[]) AS t(call_id)
WHERE (SELECT TRUE FROM calls AS c WHERE c.queue = :queue AND c.call_id = t.call_id)

-- Finds one of some item ids that any item has.

-- name: taken_ids --
SELECT t.id FROM unnest(?::text[]) AS t(id) WHERE (SELECT TRUE FROM item_ids AS k WHERE k.id = t.id) LIMIT 1

-- Adds items to a queue.

-- name: add_items --
WITH new AS MATERIALIZED (
    SELECT nextval('item_nums') AS num, t.* FROM {items}
), ids AS (
    INSERT INTO item_ids (id, queue, num) SELECT n.id, :queue, n.num FROM new AS n ORDER BY n.id
), given AS (
    INSERT INTO calls (queue, num, call_id) SELECT :queue, n.num, n.call_id FROM new AS n
), lists AS (
    INSERT INTO items (queue, num, priority_down, created_at, call_started_at, call_ended_at, id, call_id, call_op_name,
        call_trace_id, added_by, display_fields, payload)
    SELECT :queue, n.num, n.priority_down, n.created_at, n.call_started_at, n.call_ended_at, n.id, n.call_id, n.call_op_name,
        n.call_trace_id, n.added_by, n.display_fields, n.payload
    FROM new AS n
)
INSERT INTO work (queue, num, priority_down, created_at, updated_at, id)
SELECT :queue, n.num, n.priority_down, n.created_at, n.updated_at, n.id FROM new AS n

-- Items in a queue, or without the id of a queue each in the one it is in; a row for each progress on an item, or one without.
-- An item that is not there has a row of NULLs, with its queue if that is there.
-- OFFSET 0 keeps the order of the joins, one key after the other: a plan that is kept from when the tables were small would
-- otherwise be free to begin with all items of the queue.

-- name: items_by_id --
FROM unnest(:ids::text[]) AS t(id)
    LEFT JOIN LATERAL (SELECT o.queue, o.num FROM item_ids AS o WHERE o.id = t.id OFFSET 0) AS k ON TRUE
    LEFT JOIN LATERAL (
        SELECT * FROM queues AS o
        WHERE o.num = CASE WHEN :queue_id::text IS NULL THEN k.queue ELSE (SELECT s.num FROM queues AS s WHERE s.id = :queue_id) END
        OFFSET 0
    ) AS q ON TRUE
    LEFT JOIN LATERAL (SELECT * FROM work AS o WHERE o.queue = q.num AND o.num = k.num OFFSET 0) AS w ON TRUE
    LEFT JOIN LATERAL (
        SELECT *, row_number() OVER () AS place FROM progresses AS o WHERE o.queue = q.num AND o.item = w.num OFFSET 0
    ) AS p ON TRUE

-- name: found_columns --
@queue_version@, t.id, w.num, w.revision, w.updated_at, p.place, @seen_progress_columns@

-- Reads what decisions about items rest on.

-- name: records --
SELECT @found_columns@ @items_by_id@

-- The same with the items, which stand in the first row of each.

-- name: records_with_items --
SELECT @found_columns@, @live_item_columns@
@items_by_id@
    LEFT JOIN LATERAL (
        SELECT * FROM items AS o WHERE o.queue = q.num AND o.num = w.num AND coalesce(p.place, 1) = 1 OFFSET 0
    ) AS i ON TRUE

-- Reads live items of a queue by their numbers.

-- name: live_items_by_num --
WITH w AS MATERIALIZED (SELECT * FROM work WHERE queue = :queue AND num = ANY(:nums::bigint[]))
SELECT @live_item_columns@
FROM w JOIN items AS i ON i.queue = w.queue AND i.num = w.num

-- Reads the progresses on items of a queue.

-- name: progresses_by_num --
SELECT p.item, @seen_progress_columns@
FROM progresses AS p WHERE p.queue = :queue AND p.item = ANY(:nums::bigint[])

-- Reads in which states an annotator's progresses on items are.

-- name: own_states --
SELECT p.item, p.state FROM progresses AS p WHERE p.queue = ? AND p.annotator = ? AND p.item = ANY(?::bigint[])

-- Locks those of some items that are live items of a queue, in one order.

-- name: lock_by_id --
WITH k AS MATERIALIZED (SELECT queue, num FROM item_ids WHERE id = ANY(:ids::text[]) AND queue = :queue)
SELECT w.num FROM k JOIN work AS w ON w.queue = k.queue AND w.num = k.num ORDER BY w.num FOR UPDATE OF w

-- Deletes items softly.

-- name: delete_items --
WITH gone AS (
    DELETE FROM work WHERE queue = :queue AND num = ANY(:nums::bigint[])
), deleted AS (
    UPDATE items SET deleted_at = :at WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING queue, call_id
)
DELETE FROM calls AS c USING deleted AS d WHERE c.queue = d.queue AND c.call_id = d.call_id

-- Counts come by queue and annotator, and are added to what the server's process has counted so far.

-- name: counts --
INSERT INTO counters AS c (queue, annotator, unstarted, in_progress, completed, skipped, settled, finished, openings, shard)
SELECT t.queue, t.annotator, t.unstarted, t.in_progress, t.completed, t.skipped, t.settled, t.finished, t.openings,
    pg_backend_pid() % 64
FROM {counts}

-- name: summed --
ON CONFLICT (queue, annotator, shard) DO UPDATE SET unstarted = c.unstarted + excluded.unstarted,
    in_progress = c.in_progress + excluded.in_progress, completed = c.completed + excluded.completed,
    skipped = c.skipped + excluded.skipped, settled = c.settled + excluded.settled,
    finished = c.finished + excluded.finished, openings = c.openings + excluded.openings

-- Stores changes. The items are locked in one order, whatever the plan; what changed meanwhile is left alone; and nothing else
-- is written unless every item was.

-- name: store --
WITH changed AS MATERIALIZED (
    SELECT t.* FROM {standings}
), locked AS MATERIALIZED (
    SELECT w.queue, w.num
    FROM changed AS t JOIN work AS w ON w.queue = t.queue AND w.num = t.num
    ORDER BY w.queue, w.num FOR UPDATE OF w
), stored AS (
    UPDATE work AS w SET state = t.state, annotator = t.annotator, completed = t.completed, skipped = t.skipped,
        claimable_at = t.claimable_at, updated_at = t.updated_at, revision = w.revision + 1
    FROM changed AS t
    WHERE (SELECT count(*) FROM locked) > 0 AND w.queue = t.queue AND w.num = t.num AND w.revision = t.revision
        AND (SELECT q.revision FROM queues AS q WHERE q.num = t.queue) = t.queue_revision
    RETURNING w.num
), written AS (
    INSERT INTO progresses (queue, item, annotator, state, token, lease_expires_at, annotation, reason, created_at, updated_at)
    SELECT t.queue, t.item, t.annotator, t.state, t.token, t.lease_expires_at, t.annotation, t.reason, t.created_at, t.updated_at
    FROM {progresses}
    WHERE (SELECT count(*) FROM stored) = :n
    ON CONFLICT (queue, item, annotator) DO UPDATE SET state = excluded.state, token = excluded.token,
        lease_expires_at = excluded.lease_expires_at, reason = excluded.reason,
        annotation = CASE excluded.annotation WHEN '' THEN progresses.annotation ELSE excluded.annotation END,
        updated_at = excluded.updated_at
), told AS (
    INSERT INTO transitions (queue, item, revision, step, annotator, from_state, to_state, at, reason)
    SELECT t.queue, t.item, t.revision, t.step, t.annotator, t.from_state, t.to_state, t.at, t.reason
    FROM {transitions}
    WHERE (SELECT count(*) FROM stored) = :n
), counted AS (
    @counts@
    WHERE (SELECT count(*) FROM stored) = :n
    @summed@
)
SELECT count(*) FROM stored

-- Reads the history of an item.

-- name: transitions --
SELECT @transition_columns@ FROM transitions WHERE queue = ? AND item = ? ORDER BY revision, step

-- Counters

-- Adds to counters.

-- name: count --
@counts@ @summed@

-- Reads the counters of queues.

-- name: counters --
SELECT queue, annotator, sum(unstarted)::bigint, sum(in_progress)::bigint, sum(completed)::bigint, sum(skipped)::bigint,
    sum(settled)::bigint, sum(finished)::bigint
FROM counters WHERE queue = ANY(?::bigint[]) GROUP BY queue, annotator

-- Tells how often items of a queue became open.

-- name: openings --
SELECT coalesce(sum(openings), 0)::bigint FROM counters WHERE queue = ? AND annotator = ''

-- Claims. An annotator is kept from an item by having settled it, or by a live hold of their own.

-- name: is_kept --
coalesce((SELECT p.state >= 2 OR p.lease_expires_at > :at
    FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.annotator = :annotator), FALSE)

-- name: from_place --
(w.priority_down, w.created_at, w.id) >= (:priority_down, :created_at, :id)

-- name: open_items --
SELECT w.* FROM work AS w
WHERE w.queue = :queue AND w.claimable_at = -62135596800000000 AND @from_place@ AND NOT @is_kept@
ORDER BY w.priority_down, w.created_at, w.id LIMIT :limit

-- name: expired_items --
SELECT w.* FROM work AS w
WHERE w.queue = :queue AND w.claimable_at > -62135596800000000 AND w.claimable_at <= :at AND NOT @is_kept@
ORDER BY w.priority_down, w.created_at, w.id LIMIT :limit

-- Chooses and locks items for claims. The rows of work are as they are since they are locked; there is a row without an item if
-- there is none. What follows in the transaction has one good plan, whatever its values are.

-- name: lock_claimable --
WITH open AS MATERIALIZED (@open_items@ FOR UPDATE OF w SKIP LOCKED),
    expired AS MATERIALIZED (@expired_items@ FOR UPDATE OF w SKIP LOCKED)
SELECT @queue_version@, @live_item_columns@, (SELECT set_config('plan_cache_mode', 'force_generic_plan', TRUE))
FROM queues AS q LEFT JOIN ((SELECT * FROM open UNION ALL SELECT * FROM expired) AS w
    JOIN items AS i ON i.queue = w.queue AND i.num = w.num) ON w.queue = q.num
WHERE q.num = :queue

-- Tells whether there is something that can be claimed.

-- name: is_claimable --
SELECT EXISTS (@open_items@) OR EXISTS (@expired_items@)

-- Finds the first open item from a place on that an annotator has not settled.

-- name: first_unsettled --
SELECT w.priority_down, w.created_at, w.id FROM work AS w
WHERE w.queue = :queue AND w.claimable_at = -62135596800000000 AND @from_place@
    AND NOT coalesce((SELECT p.state >= 2 FROM progresses AS p
        WHERE p.queue = w.queue AND p.item = w.num AND p.annotator = :annotator), FALSE)
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- Finds the last open item of a queue.

-- name: last_open --
SELECT w.priority_down, w.created_at, w.id FROM work AS w
WHERE w.queue = ? AND w.claimable_at = -62135596800000000
ORDER BY w.priority_down DESC, w.created_at DESC, w.id DESC LIMIT 1

-- Finds when the first lease ends that keeps an item from an annotator who has not settled the item.

-- name: retry_at --
SELECT min(greatest(w.claimable_at, coalesce(p.lease_expires_at, w.claimable_at)))
FROM work AS w LEFT JOIN progresses AS p ON p.queue = w.queue AND p.item = w.num AND p.annotator = :annotator
WHERE w.queue = :queue AND w.claimable_at > -62135596800000000 AND (p.state IS NULL OR p.state < 2)

-- Finds when the first lease of an annotator's own ends on an item that others could claim.

-- name: own_retry_at --
SELECT min(p.lease_expires_at)
FROM work AS w JOIN progresses AS p ON p.queue = w.queue AND p.item = w.num AND p.annotator = :annotator
WHERE w.queue = :queue AND w.claimable_at = -62135596800000000 AND @from_place@ AND p.state = 1

-- Policies. An item that nobody touched keeps its standing under any of them.

-- Groups the touched items of a queue that nobody holds by how many completed and skipped them.

-- name: kinds_without_hold --
SELECT w.completed, w.skipped, count(*), min(w.num), max(w.num) FROM work AS w
WHERE w.queue = ? AND w.revision > 0
    AND NOT EXISTS (SELECT FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.state = 1)
GROUP BY w.completed, w.skipped

-- Gives the items of such a group that have certain numbers another standing.

-- name: refresh_kind --
UPDATE work AS w SET claimable_at = :claimable_at, revision = revision + 1
WHERE w.queue = :queue AND w.num >= :first AND w.num < :behind AND w.completed = :completed AND w.skipped = :skipped
    AND w.revision > 0
    AND NOT EXISTS (SELECT FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.state = 1)

-- Lists the items of a queue that somebody holds.

-- name: held_nums --
SELECT w.num FROM work AS w
WHERE w.queue = ? AND w.revision > 0
    AND EXISTS (SELECT FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.state = 1)
