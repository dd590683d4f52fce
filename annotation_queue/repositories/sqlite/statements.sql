-- Every statement but those that are composed for a query (queries/, log.py) or an index (blocks.py).
-- -62135596800000000 is "always", see migrations/. A list is given as a JSON text; CROSS JOIN keeps SQLite from turning
-- the loops round, so that the list is always the outer one.

-- Columns

-- name: live_item_columns_without_payload --
w.num, w.revision, w.steps, w.id, i.call_id, i.call_started_at, i.call_ended_at, w.op, i.call_trace_id, i.display_fields,
    w.added_by, w.state, w.annotator, w.created_at, w.updated_at, w.priority_down, w.assignees

-- name: live_item_columns --
@live_item_columns_without_payload@, i.payload

-- The same where nobody looks at the payload. It is the last column of a row: what is not read of it costs nothing, however large it is.

-- name: live_item_columns_bare --
@live_item_columns_without_payload@, NULL

-- The label or draft of a progress. A label that was completed stands in the log alone.

-- name: label --
CASE p.state WHEN 2 THEN (SELECT e.annotation FROM log AS e WHERE e.queue = p.queue AND e.num = p.entry) ELSE p.annotation END

-- The columns of a progress with its label.

-- name: progress_columns_with_label --
p.annotator, p.state, p.token, p.lease_expires_at, @label@, p.reason, p.created_at, p.updated_at, p.started_at, p.step

-- The same beside the entry of the log that changed the progress last.

-- name: progress_columns_of_entry --
p.annotator, p.state, p.token, p.lease_expires_at, CASE p.state WHEN 2 THEN l.annotation ELSE p.annotation END, p.reason,
    p.created_at, p.updated_at, p.started_at, p.step

-- What an export tells of a label.

-- name: label_text_columns_with_label --
w.id, i.call_id, p.annotator, p.state, @label@, p.reason, p.updated_at

-- The same beside the entry of the log that changed the progress last.

-- name: label_text_columns_of_entry --
w.id, i.call_id, p.annotator, p.state, CASE p.state WHEN 2 THEN l.annotation ELSE p.annotation END, p.reason, p.updated_at

-- The columns of a progress with the labels of some annotators only: all if the list is NULL, and '' stands for the others.

-- name: progress_columns_with_labels --
p.annotator, p.state, p.token, p.lease_expires_at,
    CASE WHEN :labels_of IS NULL OR p.annotator IN (SELECT value FROM json_each(:labels_of) AS wanted) THEN @label@ ELSE '' END,
    p.reason, p.created_at, p.updated_at, p.started_at, p.step

-- What a decision rests on, but for the progresses.

-- name: record_columns --
w.num, w.revision, w.steps, w.last_entry, w.is_told, w.priority_down, w.created_at, w.updated_at, w.annotator, q.num,
    q.revision

-- Queues

-- Reads queues by their numbers, in no order.

-- name: queues_by_num --
SELECT num, @queue_columns@
FROM queues WHERE num IN (SELECT value FROM json_each(?))

-- Finds the oldest live queue of exactly a name.

-- name: queue_by_name --
SELECT num, revision FROM queues WHERE project_id = ? AND name = ? AND deleted_at IS NULL ORDER BY created_at, id LIMIT 1

-- Epochs

-- Reads the salt of an epoch.

-- name: salt --
SELECT salt FROM epochs WHERE num = ?

-- Reads the newest epoch.

-- name: newest_epoch --
SELECT num, salt FROM epochs WHERE num = (SELECT max(num) FROM epochs)

-- Begins a new epoch.

-- name: new_epoch --
INSERT INTO epochs (salt) VALUES (random()) RETURNING num, salt

-- Ends all epochs before one, so that nobody finds what they know.

-- name: end_epochs --
DELETE FROM epochs WHERE num < ?

-- Says whether another connection has written since this one asked last: then the number is another one.

-- name: data_version --
PRAGMA data_version

-- Reads which schema the file has.

-- name: schema_version --
PRAGMA user_version

-- Texts

-- Reads a user id or a list of display fields.

-- name: text_by_num --
SELECT text FROM texts WHERE num = ?

-- Finds the number of a text.

-- name: text_num --
SELECT num FROM texts WHERE text = ?

-- Gives a new text a number.

-- name: add_text --
INSERT INTO texts (text) VALUES (?) RETURNING num

-- Reads the name of an operation.

-- name: op_name_by_num --
SELECT text FROM op_names WHERE num = ?

-- Finds the number of an operation of a queue.

-- name: op_name_num --
SELECT num FROM op_names WHERE queue = ? AND text = ?

-- Gives a new operation of a queue a number.

-- name: add_op_name --
INSERT INTO op_names (queue, text) VALUES (?, ?) RETURNING num

-- Adds to the number of live items that an operation has.

-- name: count_op --
UPDATE op_names SET live = live + ? WHERE num = ?

-- Lists the operations of a queue upwards from a name on.

-- name: ops_up --
SELECT num, text, live FROM op_names WHERE queue = ? AND text >= ? ORDER BY text

-- The same downwards.

-- name: ops_down --
SELECT num, text, live FROM op_names WHERE queue = ? AND (? IS NULL OR text <= ?) ORDER BY text DESC

-- Counts the live items whose operation's name comes before a name.

-- name: live_before_op --
SELECT coalesce(sum(live), 0) FROM op_names WHERE queue = ? AND text < ?

-- The same for names after it.

-- name: live_after_op --
SELECT coalesce(sum(live), 0) FROM op_names WHERE queue = ? AND text > ?

-- Counts the live items of an operation.

-- name: live_of_op --
SELECT live FROM op_names WHERE num = ?

-- Items

-- Finds which calls a queue has already.

-- name: taken_calls --
SELECT i.call_id FROM json_each(?) AS wanted CROSS JOIN items AS i INDEXED BY live_calls
    ON i.queue = ? AND i.call_id = wanted.value AND i.deleted_at IS NULL

-- Finds an id that an item has already, a deleted one too.

-- name: taken_ids --
SELECT i.id FROM json_each(?) AS wanted CROSS JOIN items AS i ON i.id = wanted.value LIMIT 1

-- Gives the number of the next new item.

-- name: next_item --
SELECT coalesce(max(num), 0) + 1 FROM items

-- Adds what of an item never changes.

-- name: add_item --
INSERT INTO items (num, queue, id, call_id, call_started_at, call_ended_at, call_trace_id, display_fields, payload)
VALUES (:num, :queue, :id, :call_id, :call_started_at, :call_ended_at, :call_trace_id, :display_fields, :payload)

-- Adds what of it is sorted, filtered and changed.

-- name: add_work --
INSERT INTO work (num, queue, priority_down, created_at, id, call_started_at, op, added_by, updated_at, assignees)
VALUES (:num, :queue, :priority_down, :created_at, :id, :call_started_at, :op, :added_by, :updated_at, :assignees)

-- Writes down whom items are reserved for that were put into `work`.

-- name: reserve --
INSERT INTO reservations (item, annotator, queue, priority_down, created_at, id, claimable_at, is_settled)
SELECT w.num, t.num, w.queue, w.priority_down, w.created_at, w.id, w.claimable_at,
    EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.annotator = t.num AND p.state >= 2)
FROM json_each(:nums) AS wanted CROSS JOIN work AS w ON w.num = wanted.value CROSS JOIN texts AS l ON l.num = w.assignees
    CROSS JOIN json_each(l.text) AS e CROSS JOIN texts AS t ON t.text = e.value

-- Reads live items by their numbers, in no order.

-- name: live_items_by_num --
SELECT @live_item_columns@
FROM json_each(?) AS wanted CROSS JOIN work AS w ON w.num = wanted.value JOIN items AS i ON i.num = w.num

-- The same without payloads.

-- name: live_items_by_num_without_payload --
SELECT @live_item_columns_bare@
FROM json_each(?) AS wanted CROSS JOIN work AS w ON w.num = wanted.value JOIN items AS i ON i.num = w.num

-- Reads what decisions rest on about live items of a queue: a row for each progress, or one without.

-- name: records_in_queue --
SELECT w.id, @record_columns@, @progress_columns_with_labels@
FROM queues AS q CROSS JOIN json_each(:ids) AS wanted
    CROSS JOIN work AS w INDEXED BY work_by_id ON w.queue = q.num AND w.id = wanted.value
    LEFT JOIN progresses AS p ON p.item = w.num
WHERE q.id = :queue

-- The same about one item, with one annotator's label, for each completion. To list one thing costs as much as to find it.

-- name: record_in_queue --
SELECT w.id, @record_columns@, p.annotator, p.state, p.token, p.lease_expires_at,
    CASE p.annotator WHEN :labels_of THEN @label@ ELSE '' END, p.reason, p.created_at, p.updated_at, p.started_at, p.step
FROM queues AS q CROSS JOIN work AS w INDEXED BY work_by_id ON w.queue = q.num AND w.id = :id
    LEFT JOIN progresses AS p ON p.item = w.num
WHERE q.id = :queue

-- The same about items of any queue. Deleted items are there without a number of their own, since their queue may be deleted.

-- name: records --
SELECT i.id, @record_columns@, @progress_columns_with_labels@
FROM json_each(:ids) AS wanted CROSS JOIN items AS i ON i.id = wanted.value CROSS JOIN queues AS q ON q.num = i.queue
    LEFT JOIN work AS w ON w.num = i.num LEFT JOIN progresses AS p ON p.item = w.num

-- The same about one live item by its number.

-- name: record_by_num --
SELECT w.id, @record_columns@, @progress_columns_with_labels@
FROM work AS w CROSS JOIN queues AS q ON q.num = w.queue LEFT JOIN progresses AS p ON p.item = w.num WHERE w.num = :item

-- Reads one annotator's states on items.

-- name: own_states --
SELECT p.item, p.state FROM json_each(?) AS wanted CROSS JOIN progresses AS p ON p.item = wanted.value AND p.annotator = ?

-- Counts what somebody added to a queue, but no further than to a limit.

-- name: few_of_adder --
SELECT count(*) FROM (SELECT 1 FROM work INDEXED BY work_by_adder WHERE queue = ? AND added_by = ? LIMIT ?)

-- Items that are updated

-- Reads what of live items of a queue can be updated.

-- name: patchable --
SELECT w.num, w.priority_down, w.created_at, w.id, w.state, w.claimable_at > -62135596800000000, i.display_fields, w.assignees,
    CASE :compares_payload WHEN 1 THEN i.payload IS :payload ELSE 1 END
FROM json_each(:nums) AS wanted CROSS JOIN work AS w ON w.num = wanted.value CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = :queue

-- Gives items other assignees.

-- name: patch_assignees --
UPDATE work SET assignees = :assignees WHERE num IN (SELECT value FROM json_each(:nums))

-- Gives items other places, and moves their times, which never go back. The list is an object: each item's number with its place.

-- name: patch_priority --
UPDATE work SET priority_down = places.priority_down, updated_at = max(updated_at, :at), is_told = 0, revision = revision + 1
FROM (SELECT CAST(key AS INTEGER) AS num, value AS priority_down FROM json_each(:places)) AS places WHERE work.num = places.num

-- The same without new places, which costs less.

-- name: patch_in_place --
UPDATE work SET updated_at = max(updated_at, :at), is_told = 0, revision = revision + 1 WHERE num IN (SELECT value FROM json_each(:nums))

-- Gives an item another payload.

-- name: patch_payload --
UPDATE items SET payload = :payload WHERE num = :num

-- Gives an item other display fields.

-- name: patch_display_fields --
UPDATE items SET display_fields = :display_fields WHERE num = :num

-- Finds the numbers of live items of a queue by their ids, each of which is in the list once.

-- name: live_nums_by_id --
SELECT w.num, w.id FROM json_each(:ids) AS wanted CROSS JOIN work AS w INDEXED BY work_by_id
    ON w.queue = :queue AND w.id = wanted.value

-- The same as one list of numbers.

-- name: live_nums_in --
SELECT json_group_array(w.num) FROM json_each(:ids) AS wanted CROSS JOIN work AS w INDEXED BY work_by_id
    ON w.queue = :queue AND w.id = wanted.value

-- Lists the ids of those of some items that anybody ever touched, in queue order.

-- name: touched_ids --
SELECT w.id FROM json_each(?) AS wanted CROSS JOIN work AS w ON w.num = wanted.value
WHERE w.revision > 0 ORDER BY w.priority_down, w.created_at, w.id

-- Removal. All statements take lists.

-- Reads where live items of a queue stand in every index, and what else there is of them, all in one row: a list of each is read
-- faster than a row of all.

-- name: live_places --
SELECT json_group_array(w.priority_down), json_group_array(w.created_at),
    json_group_array(w.id) FILTER (WHERE length(w.id) <= :longest), json_group_array(w.call_started_at), json_group_array(w.op),
    json_group_array(w.num), max(w.steps), count(w.assignees)
FROM json_each(:nums) AS wanted CROSS JOIN work AS w ON w.num = wanted.value AND w.queue = :queue

-- Reads their ids in the same order, however long they are.

-- name: live_ids --
SELECT w.id FROM json_each(:nums) AS wanted CROSS JOIN work AS w ON w.num = wanted.value AND w.queue = :queue

-- Reads what those of them count for that somebody touched.

-- name: touched_places --
SELECT json_group_array(w.num), json_group_array(w.state), json_group_array(w.claimable_at > -62135596800000000),
    sum(w.completed + w.skipped > 0), sum(w.claimable_at IS NULL)
FROM json_each(:nums) AS wanted CROSS JOIN work AS w ON w.num = wanted.value AND w.queue = :queue WHERE w.steps > 0

-- Counts the progresses on items by annotator and state.

-- name: progresses_by_state --
SELECT p.annotator, p.state, count(*)
FROM json_each(?) AS wanted CROSS JOIN progresses AS p ON p.item = wanted.value WHERE p.state > 0 GROUP BY p.annotator, p.state

-- Marks items as deleted. What fails undoes the whole transaction: OR FAIL keeps SQLite from writing each page that it touches to a
-- temporary file first, from which to undo this statement alone.

-- name: delete_items --
UPDATE OR FAIL items SET deleted_at = :deleted_at WHERE num IN (SELECT value FROM json_each(:nums))

-- Keeps what restoring them needs.

-- name: keep_removed --
INSERT INTO removed (num, queue, priority_down, created_at, id, call_started_at, op, added_by, updated_at, state, annotator, completed, skipped,
    claimable_at, revision, steps, last_entry, assignees)
SELECT num, queue, priority_down, created_at, id, call_started_at, op, added_by, max(updated_at, :deleted_at), state, annotator,
    completed, skipped, claimable_at, revision, steps, last_entry, assignees
FROM work WHERE num IN (SELECT value FROM json_each(:nums))

-- Reserves them for nobody any more.

-- name: unreserve --
DELETE FROM reservations WHERE item IN (SELECT value FROM json_each(:nums))

-- Takes them out of every order.

-- name: delete_work --
DELETE FROM work WHERE num IN (SELECT value FROM json_each(:nums))

-- What was removed

-- Reads removed items of a queue, in the order of their ids in the list.

-- name: removed_by_id --
SELECT i.num, i.id, i.call_id, r.priority_down, r.created_at, r.call_started_at, r.op,
    EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = i.num)
FROM json_each(:ids) AS wanted CROSS JOIN items AS i ON i.id = wanted.value CROSS JOIN removed AS r ON r.num = i.num
WHERE i.queue = :queue ORDER BY wanted.key

-- Puts items back into every order, with a revision that nobody has read.

-- name: restore_work --
INSERT INTO work (num, queue, priority_down, created_at, id, call_started_at, op, added_by, updated_at, state, settled_as, annotator,
    completed, skipped, claimable_at, revision, steps, last_entry, assignees)
SELECT num, queue, priority_down, created_at, id, call_started_at, op, added_by, max(updated_at, :at), state,
    CASE WHEN state >= 2 THEN state ELSE 0 END, annotator, completed, skipped, claimable_at, revision + 1, steps, last_entry, assignees
FROM removed WHERE num IN (SELECT value FROM json_each(:nums))

-- name: forget_removed --
DELETE FROM removed WHERE num IN (SELECT value FROM json_each(:nums))

-- name: restore_items --
UPDATE items SET deleted_at = NULL WHERE num IN (SELECT value FROM json_each(:nums))

-- Finds what of a project was deleted before a time.

-- name: purgeable_queues --
SELECT num FROM queues WHERE project_id = :project_id AND deleted_at < :before

-- name: purgeable_items --
SELECT i.queue, i.num FROM queues AS q CROSS JOIN items AS i INDEXED BY items_removed ON i.queue = q.num
WHERE q.project_id = :project_id AND i.deleted_at IS NOT NULL AND i.deleted_at < :before

-- name: count_purgeable --
SELECT (SELECT count(*) FROM queues AS q CROSS JOIN items AS i INDEXED BY items_removed ON i.queue = q.num
    WHERE q.project_id = :project_id AND (q.deleted_at IS NULL OR q.deleted_at >= :before)
        AND i.deleted_at IS NOT NULL AND i.deleted_at < :before),
    (SELECT count(*) FROM queues WHERE project_id = :project_id AND deleted_at < :before)

-- Erases the entries of items from a queue's log, and counts them.

-- name: erase_entries --
DELETE FROM log WHERE queue = :queue AND item IN (SELECT value FROM json_each(:nums))

-- name: count_erased --
UPDATE counters SET erased = erased + :n WHERE queue = :queue AND kind = 0 AND num = 0 AND item = 0

-- name: erase_progresses --
DELETE FROM progresses WHERE item IN (SELECT value FROM json_each(:nums))

-- name: erase_items --
DELETE FROM items WHERE num IN (SELECT value FROM json_each(:nums))

-- Erases a queue. What each item has goes before the item.

-- name: nums_of_queue --
SELECT num FROM work WHERE queue = :queue
UNION ALL SELECT num FROM items INDEXED BY items_removed WHERE queue = :queue AND deleted_at IS NOT NULL

-- name: erase_log_of_queue --
DELETE FROM log WHERE queue = :queue

-- name: erase_progresses_of_queue --
DELETE FROM progresses WHERE item IN (@nums_of_queue@)

-- name: erase_reservations_of_queue --
DELETE FROM reservations WHERE item IN (SELECT num FROM work WHERE queue = :queue AND assignees IS NOT NULL)

-- name: erase_work_of_queue --
DELETE FROM work WHERE queue = :queue

-- name: erase_removed_of_queue --
DELETE FROM removed
WHERE num IN (SELECT num FROM items INDEXED BY items_removed WHERE queue = :queue AND deleted_at IS NOT NULL)

-- name: erase_items_of_queue --
DELETE FROM items WHERE queue = :queue

-- name: erase_blocks_of_queue --
DELETE FROM blocks WHERE queue = :queue

-- name: erase_counters_of_queue --
DELETE FROM counters WHERE queue = :queue

-- name: erase_ops_of_queue --
DELETE FROM op_names WHERE queue = :queue

-- name: erase_queue --
DELETE FROM queues WHERE num = :queue

-- Changes

-- Changes an item, if neither it nor its queue changed since they were read. That they are the ones that were read is said by more
-- than numbers, which a file that was restored to an earlier time gives again. What says of no index's column that it changes leaves
-- the index alone.

-- name: change_work --
UPDATE work SET state = :state, annotator = :annotator, completed = :completed, skipped = :skipped,
    claimable_at = :claimable_at, updated_at = :updated_at, is_told = coalesce(:is_told, is_told), steps = steps + :new_steps,
    last_entry = coalesce(:new_last_entry, last_entry), revision = revision + 1
WHERE settled_as = :settled_as AND num = :item AND id = :item_id AND revision = :revision AND last_entry IS :last_entry
    AND updated_at = :was_updated_at AND annotator IS :was_annotator
    AND (SELECT q.revision FROM queues AS q WHERE q.num = :queue AND q.id = :queue_id) = :queue_revision

-- The same for one that is settled, or is no more.

-- name: settle_work --
UPDATE work SET state = :state, annotator = :annotator, completed = :completed, skipped = :skipped,
    claimable_at = :claimable_at, updated_at = :updated_at, is_told = coalesce(:is_told, is_told), steps = steps + :new_steps,
    last_entry = coalesce(:new_last_entry, last_entry), revision = revision + 1, settled_as = :settled_as
WHERE num = :item AND id = :item_id AND revision = :revision AND last_entry IS :last_entry
    AND updated_at = :was_updated_at AND annotator IS :was_annotator
    AND (SELECT q.revision FROM queues AS q WHERE q.num = :queue AND q.id = :queue_id) = :queue_revision

-- Appends to the log.

-- name: add_entry --
INSERT INTO log (queue, num, item, step, before, annotator, actor, from_state, to_state, at, latest, started_at, reason, annotation)
VALUES (:queue, :num, :item, :step, :before, :annotator, :actor, :from_state, :to_state, :at, :latest, :started_at, :reason,
    :annotation)

-- Gives an entry the label that the progress has before this step, since it was not read.

-- name: take_label --
UPDATE log SET annotation = (SELECT @label@ FROM progresses AS p WHERE p.item = log.item AND p.annotator = log.annotator)
WHERE queue = :queue AND num = :num

-- Stores a progress. '' stands for a label that was not read: it stays, and if it stood in the log alone, it is the draft now.
-- The entry is 0 if the log has nothing new about it.

-- name: put_progress --
INSERT INTO progresses AS p (item, annotator, queue, entry, step, state, token, lease_expires_at, created_at, updated_at, started_at,
    reason, annotation)
VALUES (:item, :annotator, :queue, :entry, :step, :state, :token, :lease_expires_at, :created_at, :updated_at, :started_at,
    :reason, :annotation)
ON CONFLICT (item, annotator) DO UPDATE SET entry = max(entry, excluded.entry), step = excluded.step, state = excluded.state,
    token = excluded.token, lease_expires_at = excluded.lease_expires_at, updated_at = excluded.updated_at,
    started_at = excluded.started_at, reason = excluded.reason,
    annotation = CASE excluded.annotation WHEN '' THEN @label@ ELSE excluded.annotation END

-- Log

-- Says where a queue's log ends.

-- name: log_end --
SELECT entries, latest FROM counters WHERE queue = ? AND kind = 0 AND num = 0 AND item = 0

-- The entries of a log that tell when an item last changed, with it.

-- name: told --
log AS l CROSS JOIN work AS w ON w.num = l.item AND w.last_entry = l.num AND w.is_told = 1

-- Counts a stretch of a log.

-- name: add_stretch --
INSERT INTO counters (queue, kind, num, unstarted, in_progress, completed, skipped)
SELECT :queue, 3, :num, coalesce(sum(w.state = 0), 0), coalesce(sum(w.state = 1), 0), coalesce(sum(w.state = 2), 0), coalesce(sum(w.state = 3), 0)
FROM @told@ WHERE l.queue = :queue AND l.num >= :low AND l.num < :high

-- Takes from what a stretch counts.

-- name: take_from_stretch --
UPDATE counters SET unstarted = unstarted - ?, in_progress = in_progress - ?, completed = completed - ?, skipped = skipped - ?
WHERE queue = ? AND kind = 3 AND num = ? AND item = 0

-- Takes live items from whatever stretches count them.

-- name: take_from_stretches --
UPDATE counters AS c SET unstarted = c.unstarted - t.unstarted, in_progress = c.in_progress - t.in_progress,
    completed = c.completed - t.completed, skipped = c.skipped - t.skipped
FROM (
    SELECT w.last_entry / :size AS num, sum(w.state = 0) AS unstarted, sum(w.state = 1) AS in_progress,
        sum(w.state = 2) AS completed, sum(w.state = 3) AS skipped
    FROM json_each(:nums) AS wanted CROSS JOIN work AS w ON w.num = wanted.value
    WHERE w.queue = :queue AND w.is_told = 1 GROUP BY w.last_entry / :size
) AS t
WHERE c.queue = :queue AND c.kind = 3 AND c.num = t.num AND c.item = 0

-- Adds labels to what stretches of a log count: to those of their annotators, and to those of all.

-- name: count_labels --
INSERT INTO counters (queue, kind, num, item, completed, skipped)
SELECT :queue, 4, annotator, stretch, :n * completed, :n * skipped FROM labels
UNION ALL SELECT :queue, 4, 0, stretch, :n * sum(completed), :n * sum(skipped) FROM labels GROUP BY stretch
ON CONFLICT (queue, kind, num, item) DO UPDATE SET completed = completed + excluded.completed, skipped = skipped + excluded.skipped

-- Does so with all of a stretch.

-- name: count_labels_of_stretch --
WITH labels AS MATERIALIZED (
    SELECT p.annotator, :num AS stretch, sum(p.state = 2) AS completed, sum(p.state = 3) AS skipped
    FROM log AS l CROSS JOIN progresses AS p ON p.item = l.item AND p.annotator = l.annotator AND p.entry = l.num
        CROSS JOIN work AS w ON w.num = p.item
    WHERE l.queue = :queue AND l.num >= :low AND l.num < :high AND l.to_state >= 2 GROUP BY p.annotator
) @count_labels@

-- Does so with those of some items, live or not, in the first stretches of a log.

-- name: count_labels_of_items --
WITH labels AS MATERIALIZED (
    SELECT p.annotator, p.entry / :size AS stretch, sum(p.state = 2) AS completed, sum(p.state = 3) AS skipped
    FROM json_each(:nums) AS wanted CROSS JOIN progresses AS p ON p.item = wanted.value
    WHERE p.queue = :queue AND p.state >= 2 AND p.entry < :size * :whole GROUP BY p.annotator, p.entry / :size
) @count_labels@

-- Reads an item's history, oldest first, from its last entry back. In a damaged file it ends as well.

-- name: history --
WITH RECURSIVE entry AS (
    SELECT * FROM log WHERE queue = :queue AND num = :last_entry
    UNION ALL
    SELECT l.* FROM entry CROSS JOIN log AS l ON l.queue = :queue AND l.num = entry.before AND l.num < entry.num
)
SELECT @transition_columns@ FROM entry ORDER BY num

-- Reads what a log has behind a number.

-- name: changes --
SELECT l.num, i.id, l.annotator, l.from_state, l.to_state, l.at, l.reason, l.annotation, l.actor
FROM log AS l CROSS JOIN items AS i ON i.num = l.item WHERE l.queue = :queue AND l.num > :after ORDER BY l.num LIMIT :limit

-- Reads the greatest time up to an entry, or to the next one if it was erased.

-- name: latest --
SELECT latest FROM log WHERE queue = ? AND num >= ? ORDER BY num LIMIT 1

-- The same up to the last entry before one.

-- name: latest_before --
SELECT latest FROM log WHERE queue = ? AND num < ? ORDER BY num DESC LIMIT 1

-- Reads the steps to completed or skipped from an entry on that are later than a time.

-- name: settled_since --
SELECT i.id, l.started_at, l.annotator, l.from_state, l.to_state, l.at, l.reason, l.annotation, l.actor
FROM log AS l CROSS JOIN items AS i ON i.num = l.item
WHERE l.queue = :queue AND l.num >= :num AND l.at > :since AND l.to_state >= 2 AND l.from_state <> l.to_state ORDER BY l.num

-- Says what an entry is about, which tells it from one that another log has at its place.

-- name: entry_identity --
SELECT item, annotator, step, at FROM log WHERE queue = ? AND num = ?

-- Blocks

-- Makes a block that counts nothing yet.

-- name: add_block --
INSERT INTO blocks (queue, lane, a, b, id, num, n) VALUES (?, ?, ?, ?, ?, ?, ?)

-- The same for what it counts besides.

-- name: add_kinds --
INSERT INTO counters (queue, kind, num) VALUES (:queue, 2, :num)

-- Gives the number of the next new block.

-- name: next_block --
SELECT coalesce(max(num), 0) + 1 FROM counters WHERE queue = ? AND kind = 2

-- Finds the block that a key falls into.

-- name: block_of --
SELECT a, b, id, num, n FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) <= (?, ?, ?) ORDER BY a DESC, b DESC, id DESC LIMIT 1

-- Finds the block after it.

-- name: block_after --
SELECT a, b, id FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) > (?, ?, ?) ORDER BY a, b, id LIMIT 1

-- Lists the blocks after one, up to that of a key.

-- name: blocks_up_to --
SELECT a, b, id, num, n FROM blocks
WHERE queue = ? AND lane = ? AND (a, b, id) > (?, ?, ?) AND (a, b, id) <= (?, ?, ?) ORDER BY a, b, id

-- Finds the block that is a number of blocks further on.

-- name: nth_block --
SELECT a, b, id FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) >= (?, ?, ?) ORDER BY a, b, id LIMIT 1 OFFSET ?

-- Counts the items of all blocks from one to before another.

-- name: sum_of_blocks --
SELECT coalesce(sum(n), 0) FROM blocks WHERE queue = ? AND lane = ? AND (a, b, id) >= (?, ?, ?) AND (a, b, id) < (?, ?, ?)

-- Adds to what a block counts.

-- name: add_to_block --
UPDATE blocks SET n = n + ? WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ?

-- Says what a block counts besides.

-- name: kinds --
SELECT unstarted, in_progress, completed, skipped, waiting FROM counters WHERE queue = ? AND kind = 2 AND num = ? AND item = 0

-- Deletes a block that counts nothing any more.

-- name: delete_block --
DELETE FROM blocks WHERE queue = ? AND lane = ? AND a = ? AND b = ? AND id = ?

-- name: delete_kinds --
DELETE FROM counters WHERE queue = ? AND kind = 2 AND num = ?

-- Lists the blocks of an index in its order.

-- name: blocks --
SELECT b.num, b.a, b.b, b.id, b.n, c.unstarted, c.in_progress, c.completed, c.skipped, c.waiting
FROM blocks AS b LEFT JOIN counters AS c ON c.queue = b.queue AND c.kind = 2 AND c.num = b.num AND c.item = 0 AND b.lane = 1
WHERE b.queue = ? AND b.lane = ? ORDER BY b.a, b.b, b.id

-- Counters

-- Adds to what is counted: of a queue (kind 0, number 0), which says where its log ends too, of an annotator (kind 0) or of a block (2).

-- name: count --
UPDATE counters SET unstarted = unstarted + :unstarted, in_progress = in_progress + :in_progress, completed = completed + :completed,
    skipped = skipped + :skipped, waiting = waiting + :waiting, settled = settled + :settled, finished = finished + :finished,
    entries = max(entries, :entries), latest = max(latest, :latest)
WHERE queue = :queue AND kind = :kind AND num = :num AND item = 0

-- Begins with it where nothing was counted yet. Of a queue no lease ends then.

-- name: begin_count --
INSERT INTO counters (queue, kind, num, unstarted, in_progress, completed, skipped, waiting, settled, finished, next_expiry, entries,
    latest)
VALUES (:queue, :kind, :num, :unstarted, :in_progress, :completed, :skipped, :waiting, :settled, :finished,
    CASE WHEN :kind = 0 AND :num = 0 THEN 9223372036854775807 ELSE 0 END, :entries, :latest)
ON CONFLICT (queue, kind, num, item) DO NOTHING

-- Reads all that is counted of a queue.

-- name: counters --
SELECT num, unstarted, in_progress, completed, skipped, settled, finished FROM counters WHERE queue = ? AND kind = 0

-- Counts the live items of a queue.

-- name: live --
SELECT coalesce(sum(unstarted + in_progress + completed + skipped), 0) FROM counters WHERE queue = ? AND kind = 0 AND num = 0 AND item = 0

-- Counts that items became open or work was reopened.

-- name: reopened --
UPDATE counters SET reopenings = reopenings + 1 WHERE queue = ? AND kind = 0 AND num = 0 AND item = 0

-- Says before which time no lease of a queue ends.

-- name: set_next_expiry --
UPDATE counters SET next_expiry = ? WHERE queue = ? AND kind = 0 AND num = 0 AND item = 0

-- Reads that time.

-- name: next_expiry --
SELECT next_expiry FROM counters WHERE queue = ? AND kind = 0 AND num = 0 AND item = 0

-- Claims. An annotator is kept from an item by having settled it, or by a live hold of their own.

-- Reads what a claim begins with: the queue, the annotator's number, what its counters say, and whether any item is reserved for the
-- annotator.

-- name: claim_context --
SELECT q.num, q.revision, coalesce(t.num, 0), c.next_expiry, c.reopenings, c.entries, c.latest, EXISTS (
    SELECT 1 FROM reservations AS r WHERE r.queue = q.num AND r.annotator = t.num AND r.claimable_at IS NOT NULL AND NOT r.is_settled)
FROM queues AS q LEFT JOIN texts AS t ON t.text = ? LEFT JOIN counters AS c ON c.queue = q.num AND c.kind = 0 AND c.num = 0 AND c.item = 0 WHERE q.id = ?

-- Finds the first open item, from a place on, that nothing keeps an annotator from.

-- name: first_open --
SELECT @live_item_columns@
FROM work AS w INDEXED BY work_open CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND w.assignees IS NULL
    AND (w.priority_down, w.created_at, w.id) >= (?, ?, ?)
    AND NOT EXISTS (
        SELECT 1 FROM progresses AS p
        WHERE p.item = w.num AND p.annotator = ? AND (p.state >= 2 OR p.lease_expires_at > ?))
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- Finds the place of the first open item, from a place on, that an annotator has not settled.

-- name: first_unsettled --
SELECT w.priority_down, w.created_at, w.id FROM work AS w INDEXED BY work_open
WHERE w.queue = :queue AND w.claimable_at = -62135596800000000 AND w.assignees IS NULL
    AND (w.priority_down, w.created_at, w.id) >= (:priority_down, :created_at, :id)
    AND NOT EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.annotator = :annotator AND p.state >= 2)
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- Finds the place of the last open item.

-- name: last_open --
SELECT w.priority_down, w.created_at, w.id FROM work AS w INDEXED BY work_open
WHERE w.queue = ? AND w.claimable_at = -62135596800000000 AND w.assignees IS NULL
ORDER BY w.priority_down DESC, w.created_at DESC, w.id DESC LIMIT 1

-- Finds the first item, of those from a place on and before another, whose lease ran out and that nothing else keeps an annotator from.
-- Where only unsettled ones can, the index tells which they are.

-- name: first_expired --
SELECT @live_item_columns@
FROM work AS w INDEXED BY work_in_order CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = :queue AND (w.priority_down, w.created_at, w.id) >= (:low_a, :low_b, :low_id)
    AND (w.priority_down, w.created_at, w.id) < (:high_a, :high_b, :high_id)
    AND (w.settled_as = 0 OR :in_any_state)
    AND w.claimable_at > -62135596800000000 AND w.assignees IS NULL AND w.claimable_at <= :now
    AND NOT EXISTS (
    SELECT 1 FROM progresses AS p
    WHERE p.item = w.num AND p.annotator = :annotator AND (p.state >= 2 OR p.lease_expires_at > :now))
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1

-- Tells whether an annotator may claim an item now that is reserved for them and that a lease kept from everybody.

-- name: is_reserved_again --
SELECT EXISTS (
    SELECT 1 FROM reservations AS r INDEXED BY reservations_waiting
    WHERE r.queue = :queue AND r.annotator = :annotator AND r.claimable_at > -62135596800000000 AND r.claimable_at <= :now
        AND NOT r.is_settled
        AND NOT EXISTS (
            SELECT 1 FROM progresses AS p WHERE p.item = r.item AND p.annotator = :annotator AND p.lease_expires_at > :now))

-- Finds the first item that is reserved for an annotator who may claim it now, among those that a lease kept from everybody, or
-- those that none did.

-- name: first_reserved --
SELECT @live_item_columns@
FROM reservations AS r INDEXED BY reservations_in_order CROSS JOIN work AS w ON w.num = r.item CROSS JOIN items AS i ON i.num = w.num
WHERE r.queue = :queue AND r.annotator = :annotator AND (r.claimable_at > -62135596800000000) = :waited
    AND r.claimable_at IS NOT NULL AND NOT r.is_settled AND r.claimable_at <= :now
    AND NOT EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = r.item AND p.annotator = :annotator AND p.lease_expires_at > :now)
ORDER BY r.priority_down, r.created_at, r.id LIMIT 1

-- Finds when an annotator could claim the first of the items that are reserved for them.

-- name: reserved_retry_at --
SELECT min(max(r.claimable_at, coalesce(p.lease_expires_at, r.claimable_at)))
FROM reservations AS r INDEXED BY reservations_in_order LEFT JOIN progresses AS p ON p.item = r.item AND p.annotator = :annotator
WHERE r.queue = :queue AND r.annotator = :annotator AND r.claimable_at IS NOT NULL AND NOT r.is_settled

-- Tells whether an unfinished item that an annotator has not settled is reserved for others.

-- name: is_assigned --
SELECT EXISTS (
    SELECT 1 FROM work AS w INDEXED BY work_reserved
    WHERE w.queue = :queue AND w.assignees IS NOT NULL AND w.claimable_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM reservations AS r WHERE r.item = w.num AND r.annotator = :annotator)
        AND NOT EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.annotator = :annotator AND p.state >= 2))

-- Finds when the first lease ends that keeps an item from everybody.

-- name: least_expiry --
SELECT min(w.claimable_at) FROM counters AS h CROSS JOIN work AS w ON w.num = h.item
WHERE h.queue = ? AND h.kind = 1 AND w.claimable_at > -62135596800000000 AND w.assignees IS NULL

-- Finds when an annotator could claim the first of the items that leases keep from everybody.

-- name: retry_at --
SELECT min(max(w.claimable_at, coalesce(p.lease_expires_at, w.claimable_at)))
FROM counters AS h CROSS JOIN work AS w ON w.num = h.item LEFT JOIN progresses AS p ON p.item = w.num AND p.annotator = :annotator
WHERE h.queue = :queue AND h.kind = 1 AND w.claimable_at > -62135596800000000 AND w.assignees IS NULL
    AND (p.state IS NULL OR p.state < 2)

-- Finds when the first hold of an annotator's own ends on an item that is open for others.

-- name: own_retry_at --
SELECT min(p.lease_expires_at)
FROM work AS w INDEXED BY work_open JOIN progresses AS p ON p.item = w.num AND p.annotator = :annotator
WHERE w.queue = :queue AND w.claimable_at = -62135596800000000 AND w.assignees IS NULL
    AND (w.priority_down, w.created_at, w.id) >= (:priority_down, :created_at, :id) AND p.state = 1

-- Reads what an annotator holds, in queue order.

-- name: held --
SELECT p.token, p.lease_expires_at, @live_item_columns@
FROM counters AS h CROSS JOIN progresses AS p ON p.item = h.item AND p.annotator = h.num CROSS JOIN work AS w ON w.num = h.item
    CROSS JOIN items AS i ON i.num = w.num
WHERE h.queue = :queue AND h.kind = 1 AND h.num = :annotator ORDER BY w.priority_down, w.created_at, w.id

-- Items by state

-- Lists the items of a queue that are unstarted: each is open, for everybody or for those whom it is reserved for.

-- name: nums_unstarted --
SELECT num FROM work INDEXED BY work_open
WHERE queue = :queue AND claimable_at = -62135596800000000 AND assignees IS NULL AND settled_as = 0 AND state = 0
UNION ALL SELECT num FROM work INDEXED BY work_reserved
WHERE queue = :queue AND assignees IS NOT NULL AND claimable_at IS NOT NULL AND settled_as = 0 AND state = 0

-- Lists those that are in progress; one that several annotators hold more than once.

-- name: nums_in_progress --
SELECT w.num FROM counters AS h CROSS JOIN work AS w ON w.num = h.item WHERE h.queue = :queue AND h.kind = 1 AND w.state = 1

-- Lists those that are completed, once for each label that any of them ever got.

-- name: nums_completed --
SELECT w.num FROM log AS l CROSS JOIN work AS w ON w.num = l.item WHERE l.queue = :queue AND l.to_state = 2 AND w.settled_as = 2

-- Lists those that are skipped.

-- name: nums_skipped --
SELECT num FROM work INDEXED BY work_skipped WHERE queue = :queue AND settled_as = 3

-- Policies. An item that nobody touched keeps its standing under any of them.

-- The items of a queue that somebody holds.

-- name: held_nums --
SELECT h.item FROM counters AS h WHERE h.queue = :queue AND h.kind = 1

-- Counts the touched items of a queue that nobody holds, by how many completed and skipped them.

-- name: kinds_without_hold --
SELECT w.completed, w.skipped, count(*) FROM work AS w
WHERE w.queue = :queue AND w.revision > 0 AND w.num NOT IN (@held_nums@) GROUP BY w.completed, w.skipped

-- Changes all of a kind.

-- name: refresh_kind --
UPDATE work AS w SET claimable_at = :claimable_at, revision = revision + 1
WHERE w.queue = :queue AND w.completed = :completed AND w.skipped = :skipped AND w.revision > 0
    AND w.num NOT IN (@held_nums@)

-- Reads what the standing of each held item rests on, a row for each hold.

-- name: held_items --
SELECT w.num, w.priority_down, w.created_at, w.id, w.state, w.completed, w.skipped, w.claimable_at, p.lease_expires_at
FROM counters AS h CROSS JOIN work AS w ON w.num = h.item CROSS JOIN progresses AS p ON p.item = h.item AND p.annotator = h.num
WHERE h.queue = :queue AND h.kind = 1 ORDER BY h.item

-- Changes some items. The list is an object: each item's number with the time from which on it may be claimed, or null.

-- name: refresh_items --
UPDATE work SET claimable_at = t.claimable_at, revision = revision + 1
FROM (SELECT CAST(key AS INTEGER) AS num, value AS claimable_at FROM json_each(:standings)) AS t WHERE work.num = t.num

-- Checks

-- Lists the live items of a queue.

-- name: live_nums --
SELECT num FROM work WHERE queue = ? ORDER BY num

-- Has SQLite look at every page.

-- name: integrity --
PRAGMA integrity_check

-- Has it look at every reference.

-- name: foreign_keys --
PRAGMA foreign_key_check
