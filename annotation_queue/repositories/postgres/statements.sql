-- Every statement but those that queries.py, queue_queries.py and log.py compose. -62135596800000000 is "always", see
-- migrations/0001.sql.
-- Lists are given as arrays. {name} is a table t of rows that the statement is given, see rows.py.

-- Columns

-- What joins w with its item i: looked up for each of w. Of tables that it has not looked at yet the server believes anything, and
-- would read all items of the queue.

-- name: its_item --
JOIN LATERAL (SELECT * FROM items AS o WHERE o.queue = w.queue AND o.num = w.num OFFSET 0) AS i ON TRUE

-- name: live_item_columns_without_payload --
w.num, w.revision, w.steps, w.id, i.call_id, i.call_started_at, i.call_ended_at, i.call_op_name, i.call_trace_id,
    i.display_fields,
    i.added_by, w.state, w.annotator, w.created_at, w.updated_at, w.priority_down, w.assignees

-- name: live_item_columns --
@live_item_columns_without_payload@, i.payload

-- The same where nobody looks at the payload.

-- name: live_item_columns_bare --
@live_item_columns_without_payload@, NULL::text

-- The label of a progress, which stands in the log if the progress is completed, or the draft.

-- name: label --
CASE p.state WHEN 2
    THEN (SELECT l.annotation FROM log AS l WHERE l.queue = p.queue AND l.item = p.item AND l.step = p.step)
    ELSE p.annotation END

-- The columns of a progress, with '' instead of the label unless the label of this annotator, or everybody's, is asked for.

-- name: seen_progress_columns --
p.annotator, p.state, p.token, p.lease_expires_at,
    CASE WHEN :all_labels OR p.annotator = ANY(:labels_of::text[]) THEN @label@ ELSE '' END,
    p.reason, p.created_at, p.updated_at, p.started_at, p.step

-- The columns of a progress with its label, beside the entry of the log that changed it last.

-- name: progress_columns_of_entry --
p.annotator, p.state, p.token, p.lease_expires_at, CASE p.state WHEN 2 THEN l.annotation ELSE p.annotation END, p.reason,
    p.created_at, p.updated_at, p.started_at, p.step

-- What an export tells of a label, beside the entry of the log that changed its progress last.

-- name: label_text_columns_of_entry --
w.id, i.call_id, p.annotator, p.state, CASE p.state WHEN 2 THEN l.annotation ELSE p.annotation END, p.reason, p.updated_at

-- What tells apart how a queue was at different times; its other columns are kept by the reader.

-- name: queue_version --
q.num, q.revision

-- Queues

-- Finds a queue by its id.

-- name: queue_by_id --
SELECT @queue_version@ FROM queues AS q WHERE q.id = ?

-- Keeps others from changing a queue.

-- name: lock_queue --
SELECT FROM queues WHERE num = ? FOR NO KEY UPDATE

-- Stores a new queue; gives nothing if the id is taken.

-- name: store_queue --
INSERT INTO queues (@new_queue_columns@, revision) VALUES (@new_queue_values@, :revision) ON CONFLICT DO NOTHING RETURNING num

-- Changes a queue; its id, project and creation stay.

-- name: change_queue --
UPDATE queues SET @queue_changes@, revision = :revision WHERE num = :num

-- Finds the oldest live queue of a name, in the words of an index.

-- name: oldest_of_name --
SELECT @queue_columns@ FROM queues
WHERE left(project_id, 160) || ' by name' = left(:project_id, 160) || ' by name' AND left(name, 160) = left(:name, 160)
    AND project_id = :project_id AND name = :name AND deleted_at IS NULL
ORDER BY created_at, id LIMIT 1

-- Reads queues by their numbers.

-- name: queues_by_num --
SELECT num, @queue_columns@
FROM queues WHERE num = ANY(?::bigint[])

-- Tells whether ids and names of a project's queues are longer than what the indexes hold of them.

-- name: has_long_queue_texts --
SELECT EXISTS (SELECT FROM queues WHERE left(project_id, 160) || ' with long ids' = left(?, 160) || ' with long ids'
        AND project_id = ? AND deleted_at IS NULL AND length(id) > 160),
    EXISTS (SELECT FROM queues WHERE left(project_id, 160) || ' with long names' = left(?, 160) || ' with long names'
        AND project_id = ? AND deleted_at IS NULL AND length(name) > 160)

-- Long texts

-- Reads what a key stands for.

-- name: long_text --
SELECT text FROM long_texts WHERE queue = ? AND key = ?

-- Stores what keys stand for, and keeps whoever purges from erasing what is there already; counts both. It is fewer than there
-- are keys if some were stored or erased by others meanwhile: then once more.

-- name: add_long_texts --
WITH given AS MATERIALIZED (SELECT t.* FROM {long_texts}), added AS (
    INSERT INTO long_texts (queue, key, text) SELECT g.queue, g.key, g.text FROM given AS g ON CONFLICT DO NOTHING RETURNING key
), kept AS MATERIALIZED (
    SELECT l.key FROM given AS g JOIN long_texts AS l ON l.queue = g.queue AND l.key = g.key
    ORDER BY l.queue, l.key FOR KEY SHARE OF l
)
SELECT (SELECT count(*) FROM added) + (SELECT count(*) FROM kept)

-- The same in two steps, for a schema that is distributed: there Citus misreads what one part gives to another.

-- name: add_long_texts_distributed --
INSERT INTO long_texts (queue, key, text) SELECT t.queue, t.key, t.text FROM {long_texts} ON CONFLICT DO NOTHING

-- name: keep_long_texts_distributed --
SELECT l.key FROM {long_texts} JOIN long_texts AS l ON l.queue = t.queue AND l.key = t.key
ORDER BY l.queue, l.key FOR KEY SHARE OF l

-- Tells whether a queue has any, and so holds keys that do not sort like the texts.

-- name: has_long_texts --
SELECT EXISTS (SELECT FROM long_texts WHERE queue = ?)

-- Items

-- Finds those of some calls that live items of a queue have.

-- name: taken_calls --
SELECT t.call_id FROM unnest(:call_ids::text[]) AS t(call_id)
WHERE (SELECT TRUE FROM calls AS c WHERE c.queue = :queue AND c.call_id = t.call_id)

-- Finds the numbers of those of some ids that items of a queue have.

-- name: nums_of_ids --
SELECT num FROM item_ids WHERE id = ANY(:ids::text[]) AND queue = :queue

-- Adds items to a queue.

-- name: add_items --
WITH new AS MATERIALIZED (
    SELECT nextval('item_nums') AS num, t.* FROM {items}
), ids AS (
    INSERT INTO item_ids (id, queue, num) SELECT n.id, :queue, n.num FROM new AS n ORDER BY n.id
), given AS (
    INSERT INTO calls (queue, num, priority_down, created_at, id, call_id)
    SELECT :queue, n.num, n.priority_down, n.created_at, n.id, n.call_id FROM new AS n
), lists AS (
    INSERT INTO items (queue, num, created_at, call_started_at, call_ended_at, id, call_id, call_op_name, call_trace_id, added_by,
        display_fields, payload)
    SELECT :queue, n.num, n.created_at, n.call_started_at, n.call_ended_at, n.id, n.call_id, n.call_op_name, n.call_trace_id,
        n.added_by, n.display_fields, n.payload
    FROM new AS n
)
INSERT INTO work (queue, num, priority_down, created_at, updated_at, id, assignees)
SELECT :queue, n.num, n.priority_down, n.created_at, n.updated_at, n.id, n.assignees FROM new AS n

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
@queue_version@, t.id, w.num, w.revision, w.steps, w.updated_at, p.place, @seen_progress_columns@

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

-- Reads live items of a queue by their numbers. OFFSET 0 as above.

-- name: live_by_num --
FROM unnest(:nums::bigint[]) AS t(num)
    JOIN LATERAL (SELECT * FROM work AS o WHERE o.queue = :queue AND o.num = t.num OFFSET 0) AS w ON TRUE

-- name: live_items_by_num --
SELECT @live_item_columns@
@live_by_num@ @its_item@

-- name: live_items_by_num_without_payload --
SELECT @live_item_columns_bare@
@live_by_num@ @its_item@

-- Reads how many bytes the payloads of items have. The server knows the size of a text without reading it.

-- name: payload_sizes --
SELECT i.num, coalesce(octet_length(i.payload), 0) FROM items AS i WHERE i.queue = ? AND i.num = ANY(?::bigint[])

-- Reads the progresses on items of a queue.

-- name: progresses_by_num --
SELECT p.item, @seen_progress_columns@
FROM unnest(:nums::bigint[]) AS t(num)
    JOIN LATERAL (SELECT * FROM progresses AS o WHERE o.queue = :queue AND o.item = t.num OFFSET 0) AS p ON TRUE

-- Reads in which states an annotator's progresses on items are.

-- name: own_states --
SELECT p.item, p.state FROM progresses AS p WHERE p.queue = ? AND p.annotator = ? AND p.item = ANY(?::bigint[])

-- Locks those of some items that are live items of a queue, in one order.

-- name: lock_by_id --
WITH k AS MATERIALIZED (SELECT queue, num FROM item_ids WHERE id = ANY(:ids::text[]) AND queue = :queue)
SELECT w.num, w.id FROM k JOIN work AS w ON w.queue = k.queue AND w.num = k.num ORDER BY w.num FOR UPDATE OF w

-- Reads what of live items of a queue can be updated.

-- name: patchable --
SELECT w.num, w.priority_down, i.display_fields, w.assignees,
    NOT :compares_payload OR i.payload IS NOT DISTINCT FROM :payload::text, w.created_at, w.id, i.call_id
@live_by_num@ @its_item@

-- Gives items other places or assignees, and moves their times, which never go back.

-- name: patch_work --
UPDATE work AS w SET priority_down = t.priority_down, assignees = t.assignees, updated_at = greatest(w.updated_at, :at::bigint),
    revision = w.revision + 1
FROM {patches} WHERE w.queue = :queue AND w.num = t.num

-- The places stand here too.

-- name: move_places --
UPDATE calls AS c SET priority_down = t.priority_down FROM {moves}
WHERE c.queue = :queue AND c.call_id = t.call_id

-- name: patch_payload --
UPDATE items SET payload = :value::text WHERE queue = :queue AND num = ANY(:nums::bigint[])

-- name: patch_display_fields --
UPDATE items SET display_fields = :value::text WHERE queue = :queue AND num = ANY(:nums::bigint[])

-- Reads where those of some items stand that anybody ever touched.

-- name: touched_places --
SELECT w.priority_down, w.created_at, w.id @live_by_num@ WHERE w.revision > 0

-- The number of this transaction in the log; the second one is NULL in a transaction that has changed and locked nothing.

-- name: tx --
((SELECT s.era FROM annotation_queue_schema AS s) + pg_current_xact_id()::text::bigint)

-- name: own_tx --
((SELECT s.era FROM annotation_queue_schema AS s) + pg_current_xact_id_if_assigned()::text::bigint)

-- Counts come by queue and annotator. What they open is added to what the server's process has opened so far.

-- name: count_columns --
queue, annotator, unstarted, in_progress, completed, skipped, settled, finished, own_in_progress, own_completed, own_skipped

-- name: counts --
INSERT INTO counters (@count_columns@) SELECT @count_columns@ FROM counts AS t

-- name: opened --
INSERT INTO openings AS o (queue, shard, openings)
SELECT t.queue, pg_backend_pid() % 64, t.openings FROM counts AS t WHERE t.openings <> 0

-- name: summed --
ON CONFLICT (queue, shard) DO UPDATE SET openings = o.openings + excluded.openings

-- Deletes items softly, and takes what they and the progresses on them counted for from the counters.

-- name: delete_items --
WITH gone AS (
    DELETE FROM work WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING *
), kept AS (
    INSERT INTO removed SELECT * FROM gone
), deleted AS (
    UPDATE items SET deleted_at = :at WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING queue, call_id
), free AS (
    DELETE FROM calls AS c USING deleted AS d WHERE c.queue = d.queue AND c.call_id = d.call_id
), counted AS (
    SELECT '' AS annotator, g.state, count(*) AS n, 0 AS own, count(*) FILTER (WHERE g.completed + g.skipped > 0) AS settled,
        count(*) FILTER (WHERE g.claimable_at IS NULL) AS finished
    FROM gone AS g GROUP BY g.state
    UNION ALL
    SELECT p.annotator, p.state, 0, count(*), 0, 0
    FROM progresses AS p
    WHERE p.queue = :queue AND p.item = ANY(:nums::bigint[]) AND p.state > 0 GROUP BY p.annotator, p.state
)
INSERT INTO counters (@count_columns@)
SELECT :queue, t.annotator, -coalesce(sum(t.n) FILTER (WHERE t.state = 0), 0), -coalesce(sum(t.n) FILTER (WHERE t.state = 1), 0),
    -coalesce(sum(t.n) FILTER (WHERE t.state = 2), 0), -coalesce(sum(t.n) FILTER (WHERE t.state = 3), 0), -sum(t.settled),
    -sum(t.finished), -coalesce(sum(t.own) FILTER (WHERE t.state = 1), 0), -coalesce(sum(t.own) FILTER (WHERE t.state = 2), 0),
    -coalesce(sum(t.own) FILTER (WHERE t.state = 3), 0)
FROM counted AS t GROUP BY t.annotator

-- Blocks. Reads where live items stand in the indexes that are counted.

-- name: places --
SELECT w.priority_down, w.created_at, i.call_started_at, i.call_op_name, w.id
@live_by_num@ @its_item@

-- Finds the blocks into which keys fall: of each the last that does not begin behind it.

-- name: blocks_of --
SELECT DISTINCT t.lane, s.op, s.a, s.b, s.id
FROM {block_keys} CROSS JOIN LATERAL (
    SELECT o.op, o.a, o.b, o.id FROM blocks AS o
    WHERE o.queue = :queue AND o.lane = t.lane AND (o.op, o.a, o.b, o.id) <= (t.op, t.a, t.b, t.id)
    ORDER BY o.op DESC, o.a DESC, o.b DESC, o.id DESC LIMIT 1
) AS s

-- Reads where all blocks of some indexes begin.

-- name: blocks_in --
SELECT b.lane, b.op, b.a, b.b, b.id FROM blocks AS b WHERE b.queue = :queue AND b.lane = ANY(:lanes::bigint[])

-- Adds to what blocks count, or takes from it; blocks that are not there yet are made.

-- name: add_to_blocks --
INSERT INTO blocks AS o (queue, lane, op, a, b, id, n) SELECT :queue, t.lane, t.op, t.a, t.b, t.id, t.n FROM {block_counts}
ON CONFLICT (queue, lane, op, a, b, id) DO UPDATE SET n = o.n + excluded.n
RETURNING lane, op, a, b, id, n

-- name: delete_blocks --
DELETE FROM blocks AS o USING {block_keys}
WHERE o.queue = :queue AND o.lane = t.lane AND o.op = t.op AND o.a = t.a AND o.b = t.b AND o.id = t.id

-- Reads removed items of a queue, in the order of their ids in the list.

-- name: removed_by_id --
SELECT r.num, i.call_id
FROM unnest(:ids::text[]) WITH ORDINALITY AS t(id, place) JOIN item_ids AS k ON k.id = t.id AND k.queue = :queue
    JOIN removed AS r ON r.queue = k.queue AND r.num = k.num JOIN items AS i ON i.queue = k.queue AND i.num = k.num
ORDER BY t.place

-- Takes removed items, in order.

-- name: lock_removed --
SELECT num FROM items WHERE queue = :queue AND num = ANY(:nums::bigint[]) AND deleted_at IS NOT NULL ORDER BY num FOR UPDATE

-- Brings items back, with a revision that nobody has read; those that are still removed.

-- name: restore_items --
WITH back AS (
    DELETE FROM removed WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING *
), live AS (
    UPDATE items AS i SET deleted_at = NULL FROM back AS b WHERE i.queue = b.queue AND i.num = b.num
), given AS (
    INSERT INTO calls (queue, num, priority_down, created_at, id, call_id)
    SELECT b.queue, b.num, b.priority_down, b.created_at, b.id, i.call_id
    FROM back AS b JOIN items AS i ON i.queue = b.queue AND i.num = b.num
)
INSERT INTO work (queue, num, priority_down, created_at, updated_at, claimable_at, revision, completed, skipped, state, id, annotator,
    tx, steps, assignees)
SELECT b.queue, b.num, b.priority_down, b.created_at, greatest(b.updated_at, i.deleted_at, :at::bigint), b.claimable_at,
    b.revision + 1, b.completed, b.skipped, b.state, b.id, b.annotator, b.tx, b.steps, b.assignees
FROM back AS b JOIN items AS i ON i.queue = b.queue AND i.num = b.num
RETURNING num

-- Gives a restored item the standing that it has by now.

-- name: stand_again --
UPDATE work SET claimable_at = :claimable_at::bigint WHERE queue = :queue AND num = :num

-- Finds what of a project was deleted before a time, and locks it.

-- name: lock_purgeable_queues --
SELECT num FROM queues WHERE project_id = :project_id AND deleted_at < :before ORDER BY num FOR UPDATE

-- name: lock_purgeable_items --
SELECT i.queue, i.num FROM queues AS q JOIN items AS i ON i.queue = q.num
WHERE q.project_id = :project_id AND i.deleted_at IS NOT NULL AND i.deleted_at < :before ORDER BY i.queue, i.num FOR UPDATE OF i

-- Counts what can be purged: items of queues that stay, and queues.

-- name: count_purgeable --
SELECT (SELECT count(*) FROM queues AS q JOIN items AS i ON i.queue = q.num
    WHERE q.project_id = :project_id AND (q.deleted_at IS NULL OR q.deleted_at >= :before)
        AND i.deleted_at IS NOT NULL AND i.deleted_at < :before),
    (SELECT count(*) FROM queues WHERE project_id = :project_id AND deleted_at < :before)

-- Erases items, and gives the keys of long texts that they had. A key of 255 characters stands for one, see texts.py.

-- name: erase_log --
WITH gone AS (DELETE FROM log WHERE queue = :queue AND item = ANY(:nums::bigint[]) RETURNING annotator, actor)
SELECT DISTINCT k.key FROM gone AS g CROSS JOIN LATERAL (VALUES (g.annotator), (g.actor)) AS k(key) WHERE length(k.key) = 255

-- name: erase_progresses --
WITH gone AS (DELETE FROM progresses WHERE queue = :queue AND item = ANY(:nums::bigint[]) RETURNING annotator)
SELECT DISTINCT g.annotator FROM gone AS g WHERE length(g.annotator) = 255

-- name: erase_item_ids --
WITH gone AS (DELETE FROM item_ids WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING id)
SELECT g.id FROM gone AS g WHERE length(g.id) = 255

-- name: erase_removed --
WITH gone AS (DELETE FROM removed WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING assignees)
SELECT DISTINCT a.key FROM gone AS g CROSS JOIN LATERAL json_array_elements_text(g.assignees::json) AS a(key)
WHERE length(a.key) = 255

-- name: item_texts --
LATERAL (VALUES (i.id), (i.call_id), (i.call_op_name), (i.call_trace_id), (i.added_by)) AS k(key)

-- name: erase_items --
WITH gone AS (
    DELETE FROM items WHERE queue = :queue AND num = ANY(:nums::bigint[]) RETURNING id, call_id, call_op_name, call_trace_id, added_by
)
SELECT DISTINCT k.key FROM gone AS i CROSS JOIN @item_texts@ WHERE length(k.key) = 255

-- Keeps others from using long texts of a queue until it is known which of them are in use.

-- name: lock_long_texts --
SELECT FROM long_texts WHERE queue = :queue AND key = ANY(:keys::text[]) ORDER BY key FOR UPDATE

-- Erases those of some long texts of a queue that nothing in it has any more. Everything in the queue is read once, whatever the
-- server believes of it.

-- name: erase_long_texts --
WITH used AS MATERIALIZED (
    SELECT k.key FROM items AS i CROSS JOIN @item_texts@ WHERE i.queue = :queue AND length(k.key) = 255
    UNION SELECT k.key FROM log AS l CROSS JOIN LATERAL (VALUES (l.annotator), (l.actor)) AS k(key)
    WHERE l.queue = :queue AND length(k.key) = 255
    UNION SELECT p.annotator FROM progresses AS p WHERE p.queue = :queue AND length(p.annotator) = 255
    UNION SELECT c.annotator FROM counters AS c WHERE c.queue = :queue AND length(c.annotator) = 255
    UNION SELECT r.annotator FROM reservations AS r WHERE r.queue = :queue AND length(r.annotator) = 255
    UNION SELECT a.key FROM removed AS o CROSS JOIN LATERAL json_array_elements_text(o.assignees::json) AS a(key)
    WHERE o.queue = :queue AND length(a.key) = 255
), unused AS MATERIALIZED (
    SELECT t.key FROM unnest(:keys::text[]) AS t(key) EXCEPT SELECT u.key FROM used AS u
)
DELETE FROM long_texts WHERE queue = :queue AND key = ANY(ARRAY(SELECT n.key FROM unused AS n))

-- Erases queues with all that is in them.

-- name: erase_log_of_queue --
DELETE FROM log WHERE queue = :queue

-- name: erase_progresses_of_queue --
DELETE FROM progresses WHERE queue = :queue

-- name: erase_item_ids_of_queue --
DELETE FROM item_ids WHERE queue = :queue

-- name: erase_calls_of_queue --
DELETE FROM calls WHERE queue = :queue

-- name: erase_work_of_queue --
DELETE FROM work WHERE queue = :queue

-- name: erase_removed_of_queue --
DELETE FROM removed WHERE queue = :queue

-- name: erase_items_of_queue --
DELETE FROM items WHERE queue = :queue

-- name: erase_counters_of_queue --
DELETE FROM counters WHERE queue = :queue

-- name: erase_openings_of_queue --
DELETE FROM openings WHERE queue = :queue

-- name: erase_blocks_of_queue --
DELETE FROM blocks WHERE queue = :queue

-- name: erase_long_texts_of_queue --
DELETE FROM long_texts WHERE queue = :queue

-- name: erase_queues_of_queue --
DELETE FROM queues WHERE num = :queue

-- Locks a queue for a statement that finds it as it was, and as the schema's version wants it: gives what the numbers of transactions
-- are counted from, and nothing otherwise. The statement may have begun before the lock was granted. But a row that anybody has changed,
-- or begun to change, since then says so in its `xmax`, whatever the statement can see of that; then, or if it says so for some older
-- reason, a function looks again, which takes three times as long. The version needs no second look: who migrates locks its table, which
-- is waited for before a statement begins to see.

-- name: rests_on_queue --
rests AS MATERIALIZED (
    SELECT s.era FROM annotation_queue_schema AS s
    WHERE s.version = :version AND CASE WHEN pg_try_advisory_xact_lock_shared(:space, :lock) THEN coalesce(
        (SELECT q.revision FROM queues AS q WHERE q.num = :queue AND q.xmax = 0),
        locked_revision(:space, :lock, :queue, :version)
    ) END = :queue_revision
)

-- name: era --
(SELECT r.era FROM rests AS r)

-- name: tx_of_rests --
(@era@ + pg_current_xact_id()::text::bigint)

-- Stores changes: all of them, or nothing at all. Queues are locked first, unless that has been done, and have to be as they were. The
-- items are locked in one order, whatever the plan, and have to be as they were, too. No common table expression can be taken apart:
-- each is volatile, locks, or is read twice.

-- name: rests --
WITH rests AS (
    SELECT t.queue, locked_revision(:space, t.lock::int, t.queue, :version) AS revision FROM {queues}
), changed AS (
    SELECT t.*, @tx@ AS tx FROM {standings} JOIN rests AS r ON r.queue = t.queue AND r.revision = t.queue_revision
)

-- name: change_work --
UPDATE work AS w SET state = t.state, annotator = t.annotator, completed = t.completed, skipped = t.skipped,
    claimable_at = t.claimable_at, updated_at = t.updated_at, revision = w.revision + 1, steps = w.steps + t.told,
    tx = CASE t.told WHEN 0 THEN w.tx ELSE t.tx END
FROM changed AS t WHERE w.queue = t.queue AND w.num = t.num AND coalesce(t.last_tx, w.tx) = w.tx

-- name: write_progresses --
INSERT INTO progresses (queue, item, annotator, state, token, lease_expires_at, annotation, reason, created_at, updated_at,
    started_at, step)
SELECT t.queue, t.item, t.annotator, t.state, t.token, t.lease_expires_at, t.annotation, t.reason, t.created_at, t.updated_at,
    t.started_at, t.step
FROM {progresses}

-- name: over_progresses --
ON CONFLICT (queue, item, annotator) DO UPDATE SET state = excluded.state, token = excluded.token,
    lease_expires_at = excluded.lease_expires_at, reason = excluded.reason,
    annotation = CASE excluded.annotation WHEN '' THEN progresses.annotation ELSE excluded.annotation END,
    updated_at = excluded.updated_at, started_at = excluded.started_at, step = excluded.step

-- name: log_columns --
queue, item, step, tx, seq, annotator, from_state, to_state, at, reason, annotation, actor

-- name: consequences --
written AS (
    @write_progresses@
    WHERE (SELECT count(*) FROM stored) = :n
    @over_progresses@
), told AS (
    INSERT INTO log (@log_columns@)
    SELECT t.queue, t.item, t.step, (SELECT c.tx FROM changed AS c LIMIT 1), t.seq, t.annotator, t.from_state, t.to_state, t.at,
        t.reason, t.annotation, t.actor
    FROM {entries}
    WHERE (SELECT count(*) FROM stored) = :n
), counts AS (
    SELECT * FROM {counts} WHERE (SELECT count(*) FROM stored) = :n
), counted AS (@counts@), opened AS (@opened@ @summed@)
SELECT count(*) FROM stored

-- name: store --
@rests@, locked AS (
    SELECT w.queue, w.num
    FROM changed AS t JOIN work AS w ON w.queue = t.queue AND w.num = t.num AND w.revision = t.revision AND w.id = t.id
    ORDER BY w.queue, w.num FOR UPDATE OF w
), stored AS (@change_work@ AND (SELECT count(*) FROM locked) = :n RETURNING w.num), @consequences@

-- Stores one change that consists of one progress and one entry of the log, and opens nothing. Each `RowSet` is one row here.
-- What it writes it writes for the item that was stored, if that was: a server takes longer to make a plan ready than to carry it out,
-- so that the less there is of it the better; and each parameter takes a look at how its type is read.

-- name: count_one --
INSERT INTO counters (@count_columns@)
    SELECT s.queue, :annotator, c.n[1], c.n[2], c.n[3], c.n[4], c.n[5], c.n[6], c.n[7], c.n[8], c.n[9]
    FROM stored AS s CROSS JOIN (SELECT :counts::int8[]) AS c(n) WHERE c.n IS NOT NULL

-- name: store_one --
WITH @rests_on_queue@, stored AS (
    UPDATE work AS w SET state = :s_state, annotator = :s_annotator, completed = :s_completed, skipped = :s_skipped,
        claimable_at = :s_claimable_at, updated_at = :s_updated_at, revision = w.revision + 1, steps = w.steps + 1, tx = @tx_of_rests@
    WHERE @era@ IS NOT NULL AND w.queue = :queue AND w.num = :s_num
        AND w.revision = :s_revision AND w.id = :s_id AND coalesce(:s_last_tx, w.tx) = w.tx
    RETURNING w.queue, w.num, w.steps, w.tx
), written AS (
    INSERT INTO progresses (queue, item, annotator, state, token, lease_expires_at, annotation, reason, created_at, updated_at,
        started_at, step)
    SELECT s.queue, s.num, :annotator, :p_state, :p_token, :p_lease_expires_at, :p_annotation, :p_reason, :p_created_at,
        :p_updated_at, :p_started_at, :p_step
    FROM stored AS s
    @over_progresses@
), told AS (
    INSERT INTO log (@log_columns@)
    SELECT s.queue, s.num, s.steps, s.tx, :e_seq, :annotator, :e_from_state, :e_to_state, :e_at, :e_reason, :e_annotation, :e_actor
    FROM stored AS s
), counted AS (
    @count_one@
)
SELECT count(*) FROM stored

-- The same step by step, for a schema that is distributed: where Citus takes a statement apart it sends what each part gives to
-- every node, and the transaction has to be prepared on all of them. Whoever stores compares what is locked with what has to be there.

-- name: rests_distributed --
SELECT t.queue, locked_revision(:space, t.lock::int, t.queue, :version), @tx@ FROM {queues}

-- name: lock_distributed --
SELECT w.queue, w.num, w.revision, w.id FROM work AS w
WHERE w.queue = ANY(:queues::bigint[]) AND w.num = ANY(:nums::bigint[]) ORDER BY w.queue, w.num FOR UPDATE OF w

-- name: change_work_distributed --
WITH changed AS (SELECT t.*, :tx::bigint AS tx FROM {standings})
@change_work@ RETURNING w.num

-- name: write_progresses_distributed --
@write_progresses@ @over_progresses@

-- name: tell_distributed --
INSERT INTO log (@log_columns@)
SELECT t.queue, t.item, t.step, :tx::bigint, t.seq, t.annotator, t.from_state, t.to_state, t.at, t.reason, t.annotation, t.actor
FROM {entries}

-- name: count_distributed --
INSERT INTO counters (@count_columns@) SELECT @count_columns@ FROM {counts}

-- name: open_distributed --
INSERT INTO openings AS o (queue, shard, openings)
SELECT t.queue, pg_backend_pid() % 64, t.openings FROM {counts} WHERE t.openings <> 0
@summed@

-- Counts which of the items that get entries in the log were changed by a transaction younger than this one. OFFSET 0 as above.

-- name: outran --
SELECT count(*) FROM {standings}
    JOIN LATERAL (SELECT o.tx FROM work AS o WHERE o.queue = t.queue AND o.num = t.num OFFSET 0) AS w ON TRUE
WHERE t.told > 0 AND w.tx > @tx@

-- The log

-- Reads the history of an item.

-- name: history --
SELECT @transition_columns@ FROM log WHERE queue = ? AND item = ? ORDER BY step

-- Reads the log of a queue behind a place, up to the oldest transaction that may still add to it. A frame that left the row itself out
-- would be summed up anew for every row.

-- name: changes --
SELECT l.tx, l.seq, (SELECT i.id FROM items AS i WHERE i.queue = l.queue AND i.num = l.item), @transition_columns@
FROM (
    SELECT o.*, sum(o.size) OVER (ORDER BY o.tx, o.seq ROWS UNBOUNDED PRECEDING) - o.size AS bytes_before
    FROM (
        SELECT o.*, coalesce(octet_length(o.annotation), 0) AS size FROM log AS o
        WHERE o.queue = :queue AND (o.tx, o.seq) > (:tx, :seq)
            AND o.tx < (SELECT s.era FROM annotation_queue_schema AS s) + pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        ORDER BY o.tx, o.seq LIMIT :limit
    ) AS o
) AS l
WHERE l.bytes_before < :max_bytes
ORDER BY l.tx, l.seq

-- Reads which steps to completed or skipped the log has after a time, and when each had been started.

-- name: settled_since --
SELECT (SELECT i.id FROM items AS i WHERE i.queue = l.queue AND i.num = l.item),
    (SELECT s.at FROM log AS s
    WHERE s.queue = l.queue AND s.item = l.item AND s.annotator = l.annotator AND s.to_state = 1 AND s.step < l.step
    ORDER BY s.step DESC LIMIT 1),
    @transition_columns@
FROM log AS l
WHERE l.queue = :queue AND l.at > :since AND l.to_state >= 2 AND l.from_state <> l.to_state
ORDER BY l.tx, l.seq

-- Counters

-- Adds to counters.

-- name: count --
WITH counts AS MATERIALIZED (SELECT * FROM {counts}), counted AS (@counts@)
@opened@ @summed@

-- Replaces what was counted of a queue behind a place by its sums, unless somebody else does, or adds to the queue.

-- name: fold --
WITH alone AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(:space, :lock) AS is_alone), old AS (
    DELETE FROM counters WHERE queue = :queue AND seq > :after AND (SELECT is_alone FROM alone)
        AND (SELECT q.deleted_at IS NULL FROM queues AS q WHERE q.num = :queue)
    RETURNING *
)
INSERT INTO counters (@count_columns@)
SELECT t.queue, t.annotator, sum(t.unstarted), sum(t.in_progress), sum(t.completed), sum(t.skipped), sum(t.settled), sum(t.finished),
    sum(t.own_in_progress), sum(t.own_completed), sum(t.own_skipped)
FROM old AS t GROUP BY t.queue, t.annotator
RETURNING seq

-- Reads the counters of queues.

-- name: counters --
SELECT queue, annotator, sum(unstarted)::bigint, sum(in_progress)::bigint, sum(completed)::bigint, sum(skipped)::bigint,
    sum(settled)::bigint, sum(finished)::bigint, sum(own_in_progress)::bigint, sum(own_completed)::bigint, sum(own_skipped)::bigint
FROM counters WHERE queue = ANY(?::bigint[]) GROUP BY queue, annotator

-- name: openings --
ARRAY(SELECT g.openings FROM openings AS g WHERE g.queue = :queue ORDER BY g.shard)::text

-- Claims. An annotator is kept from an item by having settled it, or by a live hold of their own.

-- name: is_kept --
coalesce((SELECT p.state >= 2 OR p.lease_expires_at > :at
    FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.annotator = :annotator), FALSE)

-- Whether this transaction's entries would come in the log behind those that an item has. Who joins a transaction that began long ago
-- may have to look for such an item.

-- name: is_older --
w.tx <= (SELECT @tx@)

-- name: is_settled --
coalesce((SELECT p.state >= 2 FROM progresses AS p WHERE p.queue = w.queue AND p.item = w.num AND p.annotator = :annotator), FALSE)

-- name: from_place --
(w.priority_down, w.created_at, w.id) >= (:priority_down, :created_at, :id)

-- name: in_order --
w.priority_down, w.created_at, w.id

-- Whether an item of the queue can be claimed by anybody who has not done so before.

-- name: is_open --
w.queue = :queue AND w.claimable_at = -62135596800000000 AND w.assignees IS NULL

-- name: open_items --
SELECT w.* FROM work AS w WHERE @is_open@ AND @from_place@ AND NOT @is_kept@ ORDER BY @in_order@ LIMIT :limit

-- A place before which an annotator has settled all open items: looked for from a low-water mark on, if what that rests on still is
-- so: what the queue's openings come to, and that its log has a certain entry of the annotator. And what a new mark rests on: the
-- newest entry of what the annotator settled. Where they have settled all of them, the place is that of the last one.

-- name: place --
evidence AS MATERIALIZED (
    SELECT o.openings, o.openings = :openings AND (:tx::bigint IS NULL OR EXISTS (SELECT FROM log AS l
            WHERE l.queue = :queue AND l.tx = :tx AND l.seq = :seq AND l.at = :mark_at AND l.annotator = :annotator)) AS is_good,
        n.tx, n.seq, n.at
    FROM (SELECT @openings@ AS openings OFFSET 0) AS o LEFT JOIN LATERAL (
        SELECT l.tx, l.seq, l.at FROM log AS l WHERE l.queue = :queue AND l.annotator = :annotator AND l.to_state >= 2
        ORDER BY l.tx DESC, l.seq DESC LIMIT 1
    ) AS n ON TRUE
), start AS (
    SELECT :priority_down::bigint, :created_at::bigint, :id::text WHERE (SELECT is_good FROM evidence)
    UNION ALL SELECT -1::bigint << 63, -1::bigint << 63, '' LIMIT 1
), first AS MATERIALIZED (
    SELECT @in_order@ FROM work AS w WHERE @is_open@ AND (@in_order@) >= (SELECT * FROM start) AND NOT @is_settled@
    ORDER BY @in_order@ LIMIT 1
), place AS MATERIALIZED (
    SELECT * FROM first UNION ALL (
        SELECT @in_order@ FROM work AS w WHERE @is_open@ AND NOT EXISTS (SELECT FROM first)
        ORDER BY w.priority_down DESC, w.created_at DESC, w.id DESC LIMIT 1)
)

-- name: place_columns --
e.openings, e.tx, e.seq, e.at, a.priority_down, a.created_at, a.id

-- name: first_place --
WITH @place@ SELECT @place_columns@ FROM evidence AS e LEFT JOIN place AS a ON TRUE

-- Those whose leases have ended. If there are few, they are found by their times and sorted; else they are passed in queue order,
-- along an index of what somebody holds or held. What is added to a column, 0, keeps an index from being used that is good for the
-- other way.

-- name: is_expired --
w.queue = :queue AND w.claimable_at > -62135596800000000 AND w.claimable_at <= :at AND w.assignees IS NULL

-- name: some_expired --
SELECT w.num FROM work AS w WHERE @is_expired@ ORDER BY w.claimable_at LIMIT 64

-- name: few_expired_items --
SELECT w.* FROM work AS w
WHERE w.queue = :queue AND (SELECT count(*) FROM ended) < 64 AND w.num = ANY(ARRAY(SELECT e.num FROM ended AS e)) AND @is_expired@
    AND NOT @is_kept@
ORDER BY w.priority_down + 0, w.created_at, w.id LIMIT :limit

-- name: many_expired_items --
SELECT w.* FROM work AS w
WHERE w.queue = :queue AND (SELECT count(*) FROM ended) = 64 AND w.claimable_at > -62135596800000000 AND w.claimable_at + 0 <= :at
    AND w.assignees IS NULL AND NOT @is_kept@
ORDER BY @in_order@ LIMIT :limit

-- Those that are reserved for the annotator.

-- name: reserved_items --
SELECT w.* FROM reservations AS r JOIN work AS w ON w.queue = r.queue AND w.num = r.item
WHERE r.queue = :queue AND r.annotator = :annotator AND r.claimable_at IS NOT NULL AND NOT r.is_settled AND r.claimable_at <= :at
    AND w.queue = :queue AND w.claimable_at <= :at AND NOT @is_kept@
ORDER BY r.priority_down, r.created_at, r.id LIMIT :limit

-- Chooses and locks items for claims. The rows of work are as they are since they are locked; there is a row without an item if
-- there is none. An item that a transaction younger than this one changed meanwhile is left alone: an entry of this one would
-- come before that one's in the log.
-- There is a row for each progress on an item, or one without, and the item stands in the first of them. The progresses are seen as
-- they were when the statement began: they are those of the item only if its revision, as it was then, is that of the locked row.

-- name: other_items --
ended AS MATERIALIZED (@some_expired@),
    few AS MATERIALIZED (@few_expired_items@ FOR UPDATE OF w SKIP LOCKED),
    many AS MATERIALIZED (@many_expired_items@ FOR UPDATE OF w SKIP LOCKED),
    reserved AS MATERIALIZED (@reserved_items@ FOR UPDATE OF w SKIP LOCKED)

-- name: chosen_columns --
@queue_version@, @own_tx@, s.revision, p.place, p.annotator, p.state, p.token, p.lease_expires_at, '', p.reason, p.created_at, p.updated_at,
    p.started_at, p.step, @live_item_columns@

-- name: chosen --
queues AS q LEFT JOIN (
        (SELECT * FROM open UNION ALL SELECT * FROM few UNION ALL SELECT * FROM many UNION ALL SELECT * FROM reserved) AS w
        LEFT JOIN LATERAL (SELECT o.revision FROM work AS o WHERE o.queue = w.queue AND o.num = w.num OFFSET 0) AS s ON TRUE
        LEFT JOIN LATERAL (
            SELECT *, row_number() OVER () AS place FROM progresses AS o WHERE o.queue = w.queue AND o.item = w.num AND w.revision > 0
            OFFSET 0
        ) AS p ON TRUE
        LEFT JOIN LATERAL (
            SELECT * FROM items AS o WHERE o.queue = w.queue AND o.num = w.num AND coalesce(p.place, 1) = 1 OFFSET 0
        ) AS i ON TRUE
    ) ON w.queue = q.num AND w.tx <= @own_tx@

-- name: lock_claimable --
WITH open AS MATERIALIZED (@open_items@ FOR UPDATE OF w SKIP LOCKED),
    @other_items@
SELECT @chosen_columns@
FROM @chosen@
WHERE q.num = :queue

-- The same for an annotator who passes what they have settled, with the place from which they did.

-- name: lock_claimable_from_mark --
WITH @place@, open AS MATERIALIZED (
        SELECT w.* FROM work AS w WHERE @is_open@ AND (@in_order@) >= (SELECT * FROM place) AND NOT @is_kept@
        ORDER BY @in_order@ LIMIT :limit FOR UPDATE OF w SKIP LOCKED
    ), @other_items@
SELECT @chosen_columns@, @place_columns@
FROM @chosen@ CROSS JOIN evidence AS e LEFT JOIN place AS a ON TRUE
WHERE q.num = :queue

-- Chooses and locks those of the items that could be claimed that stand in the same place but for what comes in their ids behind the
-- first characters, in the order of the ids themselves: keys of long ids do not sort like these.

-- name: lock_ties --
WITH w AS MATERIALIZED (
    SELECT w.* FROM work AS w
    WHERE w.queue = :queue AND w.priority_down = :priority_down AND w.created_at = :created_at AND w.id >= :first AND w.id <= :last
        AND w.claimable_at <= :at AND NOT @is_kept@ AND (w.assignees IS NULL OR EXISTS (
            SELECT FROM reservations AS r WHERE r.queue = :queue AND r.item = w.num AND r.annotator = :annotator))
    ORDER BY coalesce((SELECT t.text FROM long_texts AS t WHERE t.queue = :queue AND t.key = w.id), w.id)
    LIMIT :limit FOR UPDATE OF w SKIP LOCKED
)
SELECT @live_item_columns@ FROM w @its_item@ WHERE w.tx <= @own_tx@

-- What the two statements below have in common.

-- name: has_mark --
EXISTS (SELECT FROM log AS l WHERE l.queue = :queue AND l.tx = :mark_tx AND l.seq = :mark_seq AND l.at = :mark_at)

-- name: untouched_start --
@rests_on_queue@, mark AS (
    SELECT o.openings, o.openings = :openings AND @has_mark@ AS is_good
    FROM (SELECT @openings@ AS openings OFFSET 0) AS o WHERE @era@ IS NOT NULL
), start AS (
    SELECT :priority_down::bigint, :created_at::bigint, :id::text WHERE (SELECT is_good FROM mark)
    UNION ALL SELECT -1::bigint << 63, -1::bigint << 63, '' FROM mark LIMIT 1
)

-- name: nothing_else_first --
(SELECT 1 FROM work AS w WHERE @is_expired@ ORDER BY w.claimable_at LIMIT 1) IS NULL
        AND NOT EXISTS (SELECT FROM reservations AS r WHERE r.queue = :queue AND r.annotator = :annotator
            AND NOT r.is_settled AND r.claimable_at <= :at)

-- name: untouched_open --
SELECT w.queue, w.num, w.steps = 0 AND length(w.id) <= 191 AS is_plain FROM work AS w
    WHERE @is_open@ AND (@in_order@) >= (SELECT * FROM first) AND @nothing_else_first@

-- name: hold_untouched --
UPDATE work AS w SET state = :state, annotator = :annotator, completed = :completed, skipped = :skipped,
        claimable_at = :claimable_at, updated_at = greatest(w.updated_at, :updated_at), revision = w.revision + 1, steps = :step,
        tx = @tx_of_rests@
    FROM open AS o
    WHERE w.queue = o.queue AND w.num = o.num

-- name: write_untouched --
INSERT INTO progresses (queue, item, annotator, state, token, lease_expires_at, created_at, updated_at, started_at, step)
    SELECT queue, num, :annotator, :state, :token, :lease_expires_at, :at, :at, :at, :step FROM stored

-- name: untouched_log_columns --
queue, item, step, tx, seq, annotator, from_state, to_state, at, actor

-- name: untouched_columns --
@live_item_columns@, w.tx, m.openings, f.*

-- Claims the first open items, if the queue is as it was, nobody touched them, and nothing else could be claimed before them: all of
-- it is known beforehand but which items they are. Gives nothing otherwise. What is in front of the first open item was claimed by
-- others, for the most part, and costs time as long as some old transaction keeps vacuum from its work. So the claim begins where
-- the first open item was found before, as far as `mark` is good, and says where it was now.

-- name: claim_untouched --
WITH @untouched_start@, first AS MATERIALIZED (
    SELECT @in_order@ FROM work AS w WHERE @is_open@ AND (@in_order@) >= (SELECT * FROM start) AND NOT @is_settled@
    ORDER BY @in_order@ LIMIT 1
), open AS MATERIALIZED (
    @untouched_open@ AND NOT @is_kept@
    ORDER BY @in_order@ LIMIT :limit FOR UPDATE OF w SKIP LOCKED
), stored AS (
    @hold_untouched@ AND (SELECT bool_and(is_plain) FROM open)
    RETURNING w.*
), written AS (
    @write_untouched@
), told AS (
    INSERT INTO log (@untouched_log_columns@)
    SELECT w.queue, w.num, :step, w.tx, row_number() OVER (ORDER BY @in_order@), :annotator, :from_state, :state, :at, :actor::text
    FROM stored AS w
), counted AS (
    INSERT INTO counters (@count_columns@)
    SELECT :queue, :annotator, c.n[1] * s.n, c.n[2] * s.n, c.n[3] * s.n, c.n[4] * s.n, c.n[5] * s.n, c.n[6] * s.n, c.n[7] * s.n,
        c.n[8] * s.n, c.n[9] * s.n
    FROM (SELECT :counts::int8[]) AS c(n), (SELECT count(*) AS n FROM stored) AS s WHERE s.n > 0
)
SELECT @untouched_columns@
FROM stored AS w @its_item@, mark AS m, first AS f
ORDER BY @in_order@

-- The same for one item, of a queue in which one annotator finishes an item: nobody has settled or holds what is open there, so that
-- progresses need not be looked at. What is claimed most has a statement of its own since the server takes longer to make it ready than
-- to carry it out.

-- name: write_one_untouched --
stored AS (
    @hold_untouched@ AND o.is_plain
    RETURNING w.*
), written AS (
    @write_untouched@
), told AS (
    INSERT INTO log (@untouched_log_columns@)
    SELECT w.queue, w.num, :step, w.tx, 1, :annotator, :from_state, :state, :at, :actor::text FROM stored AS w
), counted AS (
    @count_one@
)

-- name: claim_one_untouched --
WITH @untouched_start@, first AS MATERIALIZED (
    SELECT @in_order@ FROM work AS w WHERE @is_open@ AND (@in_order@) >= (SELECT * FROM start) ORDER BY @in_order@ LIMIT 1
), open AS MATERIALIZED (
    @untouched_open@
    ORDER BY @in_order@ LIMIT 1 FOR UPDATE OF w SKIP LOCKED
), @write_one_untouched@
SELECT @untouched_columns@
FROM stored AS w @its_item@, mark AS m, first AS f

-- The same from a place on that most likely still is good, without a look at where the next claim may begin. Gives nothing if the place
-- is no good.

-- name: claim_one_from_mark --
WITH @rests_on_queue@, open AS MATERIALIZED (
    SELECT w.queue, w.num, w.steps = 0 AND length(w.id) <= 191 AS is_plain FROM work AS w
    WHERE @is_open@ AND @from_place@ AND @era@ IS NOT NULL
        AND @openings@ = :openings AND @has_mark@ AND @nothing_else_first@
    ORDER BY @in_order@ LIMIT 1 FOR UPDATE OF w SKIP LOCKED
), @write_one_untouched@
SELECT @live_item_columns@, w.tx
FROM stored AS w @its_item@

-- Tells whether there is something that can be claimed.

-- name: is_claimable --
SELECT EXISTS (@open_items@) OR EXISTS (SELECT FROM work AS w WHERE @is_expired@ AND NOT @is_kept@ ORDER BY w.claimable_at)
    OR EXISTS (@reserved_items@)

-- Finds when the first lease ends that keeps an item from an annotator who has not settled the item. In this statement and the next
-- ones what belongs to a row is looked up for it, whatever the server believes of a table that it has not looked at yet.

-- name: retry_at --
SELECT min(greatest(w.claimable_at, coalesce(p.lease_expires_at, w.claimable_at)))
FROM work AS w LEFT JOIN LATERAL (
    SELECT o.state, o.lease_expires_at FROM progresses AS o
    WHERE o.queue = :queue AND o.item = w.num AND o.annotator = :annotator OFFSET 0
) AS p ON TRUE
WHERE w.queue = :queue AND w.claimable_at > -62135596800000000 AND w.assignees IS NULL AND (p.state IS NULL OR p.state < 2)

-- Finds when the first lease of an annotator's own ends on an item that others could claim.

-- name: held_items --
(SELECT o.item, o.token, o.lease_expires_at FROM progresses AS o
WHERE o.queue = :queue AND o.annotator = :annotator AND o.state = 1 OFFSET 0) AS p
    JOIN LATERAL (SELECT * FROM work AS o WHERE o.queue = :queue AND o.num = p.item OFFSET 0) AS w ON TRUE

-- name: own_retry_at --
SELECT min(p.lease_expires_at) FROM @held_items@
WHERE @is_open@ AND @from_place@

-- Finds when an annotator could claim the first of the items that are reserved for them.

-- name: reserved_retry_at --
SELECT min(greatest(r.claimable_at, coalesce(p.lease_expires_at, r.claimable_at)))
FROM reservations AS r LEFT JOIN LATERAL (
    SELECT o.lease_expires_at FROM progresses AS o
    WHERE o.queue = :queue AND o.item = r.item AND o.annotator = :annotator OFFSET 0
) AS p ON TRUE
WHERE r.queue = :queue AND r.annotator = :annotator AND r.claimable_at IS NOT NULL AND NOT r.is_settled

-- Tells whether an unfinished item that an annotator has not settled is reserved for others.

-- name: is_assigned --
SELECT EXISTS (
    SELECT FROM work AS w WHERE w.queue = :queue AND w.assignees IS NOT NULL AND w.claimable_at IS NOT NULL
        AND (SELECT TRUE FROM reservations AS r WHERE r.queue = :queue AND r.item = w.num AND r.annotator = :annotator) IS NULL
        AND (SELECT TRUE FROM progresses AS p
            WHERE p.queue = :queue AND p.item = w.num AND p.annotator = :annotator AND p.state >= 2) IS NULL)

-- Finds what an annotator holds.

-- name: held_by --
SELECT w.num, p.token, p.lease_expires_at FROM @held_items@

-- Policies. An item that nobody touched keeps its standing under any of them. Who holds something is found first: looked up for
-- each item, or joined, the server may read all that is held for each of them.

-- name: held --
(SELECT p.item FROM progresses AS p WHERE p.queue = :queue AND p.state = 1)

-- Groups the touched items of a queue that nobody holds by how many completed and skipped them.

-- name: kinds_without_hold --
SELECT w.completed, w.skipped, count(*), min(w.num), max(w.num) FROM work AS w
WHERE w.queue = :queue AND w.revision > 0 AND w.num NOT IN @held@
GROUP BY w.completed, w.skipped

-- Gives the items of such a group that have certain numbers another standing.

-- name: refresh_kind --
UPDATE work AS w SET claimable_at = :claimable_at, revision = revision + 1
WHERE w.queue = :queue AND w.num >= :first AND w.num < :behind AND w.completed = :completed AND w.skipped = :skipped
    AND w.revision > 0 AND w.num NOT IN @held@

-- Lists the items of a queue that somebody holds.

-- name: held_nums --
SELECT DISTINCT w.num
FROM @held@ AS h JOIN LATERAL (SELECT o.num FROM work AS o WHERE o.queue = :queue AND o.num = h.item OFFSET 0) AS w ON TRUE
