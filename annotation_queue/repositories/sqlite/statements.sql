-- Every statement but those that are composed for a query (queries/) or an index (blocks.py). -62135596800000000 is "always", see
-- migrations/0001.sql.

-- Columns

-- name: live_item_columns_without_payload --
w.num, w.revision, w.id, i.call_id, i.call_started_at, i.call_ended_at, w.op, i.call_trace_id, i.display_fields,
    w.added_by, w.state, w.annotator, w.created_at, w.updated_at, w.priority_down

-- name: live_item_columns --
@live_item_columns_without_payload@, i.payload

-- Queues

-- name: queues_by_num --
SELECT num, @queue_columns@
FROM queues WHERE num IN (SELECT value FROM json_each(?))

-- Texts

-- name: text_by_num --
SELECT text FROM texts WHERE num = ?

-- name: text_num --
SELECT num FROM texts WHERE text = ?

-- name: add_text --
INSERT INTO texts (text) VALUES (?) RETURNING num

-- name: op_name_by_num --
SELECT text FROM op_names WHERE num = ?

-- name: op_name_num --
SELECT num FROM op_names WHERE queue = ? AND text = ?

-- name: add_op_name --
INSERT INTO op_names (queue, text) VALUES (?, ?) RETURNING num

-- name: count_op --
UPDATE op_names SET live = live + ? WHERE num = ?

-- name: ops_up --
SELECT num, text, live FROM op_names WHERE queue = ? AND text >= ? ORDER BY text

-- name: ops_down --
SELECT num, text, live FROM op_names WHERE queue = ? AND (? IS NULL OR text <= ?) ORDER BY text DESC

-- name: live_before_op --
SELECT coalesce(sum(live), 0) FROM op_names WHERE queue = ? AND text < ?

-- name: live_after_op --
SELECT coalesce(sum(live), 0) FROM op_names WHERE queue = ? AND text > ?

-- Items

-- CROSS JOIN keeps SQLite from turning the loops round: the list is always the outer one.

-- name: taken_calls --
SELECT i.call_id FROM json_each(?) AS wanted CROSS JOIN items AS i INDEXED BY live_calls
    ON i.queue = ? AND i.call_id = wanted.value AND i.deleted_at IS NULL

-- name: taken_ids --
SELECT i.id FROM json_each(?) AS wanted CROSS JOIN items AS i ON i.id = wanted.value LIMIT 1

-- name: next_item --
SELECT coalesce(max(num), 0) + 1 FROM items

-- name: add_item --
INSERT INTO items (num, queue, id, call_id, call_started_at, call_ended_at, call_trace_id, display_fields, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_work --
INSERT INTO work (num, queue, priority_down, created_at, id, call_started_at, op, added_by, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: item_and_queue --
SELECT q.id, q.project_id FROM items AS i JOIN queues AS q ON q.num = i.queue WHERE i.id = ?

-- name: live_item --
SELECT @live_item_columns@, q.num, q.revision
FROM items AS i JOIN work AS w ON w.num = i.num JOIN queues AS q ON q.num = i.queue WHERE i.id = ? AND q.id = ?

-- A row for each progress, or one without.

-- name: live_record --
SELECT w.num, w.revision, w.priority_down, w.created_at, w.updated_at, q.num, q.revision, @progress_columns@
FROM queues AS q CROSS JOIN work AS w INDEXED BY work_by_id ON w.queue = q.num LEFT JOIN progresses AS p ON p.item = w.num
WHERE w.id = ? AND q.id = ?

-- name: live_record_by_num --
SELECT w.revision, w.priority_down, w.created_at, w.id, w.updated_at FROM work AS w WHERE w.num = ?

-- name: live_items_by_num --
SELECT @live_item_columns@
FROM json_each(?) AS wanted CROSS JOIN work AS w ON w.num = wanted.value JOIN items AS i ON i.num = w.num

-- The payload is the last column of a row: what is not read of it costs nothing, however large it is.

-- name: live_items_by_num_without_payload --
SELECT @live_item_columns_without_payload@, NULL
FROM json_each(?) AS wanted CROSS JOIN work AS w ON w.num = wanted.value JOIN items AS i ON i.num = w.num

-- name: live_nums_by_id --
SELECT DISTINCT w.num FROM json_each(?) AS wanted CROSS JOIN work AS w INDEXED BY work_by_id ON w.queue = ? AND w.id = wanted.value

-- name: progresses --
SELECT @progress_columns@
FROM progresses AS p WHERE p.item = ?

-- name: own_states --
SELECT p.item, p.state FROM json_each(?) AS wanted CROSS JOIN progresses AS p ON p.item = wanted.value AND p.annotator = ?

-- name: live_of_op --
SELECT live FROM op_names WHERE num = ?

-- name: few_of_adder --
SELECT count(*) FROM (SELECT 1 FROM work INDEXED BY work_by_adder WHERE queue = ? AND added_by = ? LIMIT ?)

-- name: delete_item --
UPDATE items SET deleted_at = ? WHERE num = ?

-- name: delete_work --
DELETE FROM work WHERE num = ?

-- Changes

-- name: change_work --
UPDATE work SET state = ?, annotator = ?, completed = ?, skipped = ?, claimable_at = ?, updated_at = ?,
    revision = revision + 1
WHERE num = ? AND revision = ? AND (SELECT q.revision FROM queues AS q WHERE q.num = ?) = ?

-- name: put_progress --
INSERT INTO progresses (item, annotator, state, token, lease_expires_at, annotation, reason, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item, annotator) DO UPDATE SET state = excluded.state, token = excluded.token,
    lease_expires_at = excluded.lease_expires_at, annotation = CASE excluded.annotation WHEN '' THEN annotation ELSE excluded.annotation END, reason = excluded.reason,
    updated_at = excluded.updated_at

-- name: add_transition --
INSERT INTO transitions (item, revision, step, annotator, from_state, to_state, at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: transitions --
SELECT annotator, from_state, to_state, at, reason FROM transitions WHERE item = ? ORDER BY revision, step

-- Blocks

-- name: first_block --
INSERT INTO blocks (queue, lane, a, b, id, n) VALUES (?, ?, ?, ?, ?, 0)

-- name: block_of --
SELECT a, b, id FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) <= (?, ?, ?) ORDER BY a DESC, b DESC, id DESC LIMIT 1

-- name: block_after --
SELECT a, b, id FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) > (?, ?, ?) ORDER BY a, b, id LIMIT 1

-- name: nth_block --
SELECT a, b, id FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) >= (?, ?, ?) ORDER BY a, b, id LIMIT 1 OFFSET ?

-- name: sum_of_blocks --
SELECT coalesce(sum(n), 0) FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) >= (?, ?, ?) AND (a, b, id) < (?, ?, ?)

-- name: add_to_block --
UPDATE blocks SET n = n + ?, unstarted = unstarted + ?, in_progress = in_progress + ?, completed = completed + ?,
    skipped = skipped + ?
WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ? RETURNING n

-- The items that a block loses go to a new one.

-- name: cut_block --
INSERT INTO blocks (queue, lane, a, b, id, n, unstarted, in_progress, completed, skipped)
SELECT ?, ?, ?, ?, ?, n - ?, unstarted - ?, in_progress - ?, completed - ?, skipped - ?
FROM blocks WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ?

-- name: set_block --
UPDATE blocks SET n = ?, unstarted = ?, in_progress = ?, completed = ?, skipped = ?
WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ?

-- name: delete_block --
DELETE FROM blocks WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ?

-- name: place_of --
SELECT priority_down, created_at, id, call_started_at, op, state FROM work WHERE num = ?

-- name: blocks --
SELECT a, b, id, n, unstarted, in_progress, completed, skipped FROM blocks WHERE queue = ? AND lane = ? ORDER BY a, b, id

-- name: count_states --
UPDATE blocks SET unstarted = unstarted + ?, in_progress = in_progress + ?, completed = completed + ?, skipped = skipped + ?
WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ?

-- Counters

-- name: count --
INSERT INTO counters (queue, annotator, unstarted, in_progress, completed, skipped, settled, finished)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (queue, annotator) DO UPDATE SET unstarted = unstarted + excluded.unstarted,
    in_progress = in_progress + excluded.in_progress, completed = completed + excluded.completed,
    skipped = skipped + excluded.skipped, settled = settled + excluded.settled, finished = finished + excluded.finished

-- name: counters --
SELECT annotator, unstarted, in_progress, completed, skipped, settled, finished FROM counters WHERE queue = ?

-- name: live --
SELECT coalesce(sum(unstarted + in_progress + completed + skipped), 0) FROM counters WHERE queue = ? AND annotator = 0

-- name: opened --
UPDATE counters SET openings = openings + 1 WHERE queue = ? AND annotator = 0

-- name: set_next_expiry --
UPDATE counters SET next_expiry = ?2 WHERE queue = ?1 AND annotator = 0

-- name: next_expiry --
SELECT next_expiry FROM counters WHERE queue = ? AND annotator = 0

-- Claims. An annotator is kept from an item by having settled it, or by a live hold of their own.

-- name: claim_context --
SELECT q.num, q.revision, coalesce((SELECT num FROM texts WHERE text = ?), 0), c.next_expiry, c.openings
FROM queues AS q LEFT JOIN counters AS c ON c.queue = q.num AND c.annotator = 0 WHERE q.id = ?

-- name: first_open --
SELECT @live_item_columns@
FROM work AS w INDEXED BY work_open CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND NOT EXISTS (
        SELECT 1 FROM progresses AS p
        WHERE p.item = w.num AND p.annotator = ? AND (p.state >= 2 OR p.lease_expires_at > ?))
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- name: first_unsettled --
SELECT w.priority_down, w.created_at, w.id FROM work AS w INDEXED BY work_open
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND NOT EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.annotator = ? AND p.state >= 2)
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- name: last_open --
SELECT w.priority_down, w.created_at, w.id FROM work AS w INDEXED BY work_open
WHERE w.queue = ? AND w.claimable_at = -62135596800000000
ORDER BY w.priority_down DESC, w.created_at DESC, w.id DESC LIMIT 1

-- name: first_expired --
SELECT @live_item_columns@
FROM work AS w INDEXED BY work_waiting CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = ? AND w.claimable_at > -62135596800000000 AND w.claimable_at <= ? AND NOT EXISTS (
    SELECT 1 FROM progresses AS p
    WHERE p.item = w.num AND p.annotator = ? AND (p.state >= 2 OR p.lease_expires_at > ?))
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- name: least_expiry --
SELECT min(w.claimable_at) FROM work AS w INDEXED BY work_waiting
WHERE w.queue = ? AND w.claimable_at > -62135596800000000

-- name: retry_at --
SELECT min(max(w.claimable_at, coalesce(p.lease_expires_at, w.claimable_at)))
FROM work AS w INDEXED BY work_waiting LEFT JOIN progresses AS p ON p.item = w.num AND p.annotator = ?
WHERE w.queue = ? AND w.claimable_at > -62135596800000000 AND (p.state IS NULL OR p.state < 2)

-- name: own_retry_at --
SELECT min(p.lease_expires_at)
FROM work AS w INDEXED BY work_open JOIN progresses AS p ON p.item = w.num AND p.annotator = ?
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND p.state = 1

-- Policies. An item that nobody touched keeps its standing under any of them.

-- name: kinds_without_hold --
SELECT w.completed, w.skipped, count(*) FROM work AS w
WHERE w.queue = ? AND w.revision > 0 AND NOT EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.state = 1)
GROUP BY w.completed, w.skipped

-- name: refresh_kind --
UPDATE work AS w SET claimable_at = ?, revision = revision + 1
WHERE w.queue = ? AND w.completed = ? AND w.skipped = ? AND w.revision > 0
    AND NOT EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.state = 1)

-- name: held_nums --
SELECT w.num FROM work AS w
WHERE w.queue = ? AND w.revision > 0 AND EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.state = 1)

-- Checks

-- name: live_nums --
SELECT num FROM work WHERE queue = ? ORDER BY num

-- name: kept_standing --
SELECT state, annotator, completed, skipped, claimable_at FROM work WHERE num = ?

-- name: integrity --
PRAGMA integrity_check

-- name: foreign_keys --
PRAGMA foreign_key_check
