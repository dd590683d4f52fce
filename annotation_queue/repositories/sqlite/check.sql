-- What `SQLiteRepository.check` asks: rows that are not as they must be.

-- name: search_name --
SELECT search_name FROM queues WHERE num = ?

-- name: live_without_work --
SELECT i.num FROM items AS i LEFT JOIN work AS w ON w.num = i.num WHERE (i.deleted_at IS NULL) <> (w.num IS NOT NULL)

-- name: unlike_work --
SELECT i.num FROM items AS i JOIN work AS w ON w.num = i.num JOIN op_names AS o ON o.num = w.op
WHERE (i.id, i.queue, i.call_started_at) <> (w.id, w.queue, w.call_started_at) OR o.queue <> w.queue

-- name: removed_twice --
SELECT r.num FROM removed AS r LEFT JOIN items AS i ON i.num = r.num
WHERE i.deleted_at IS NULL OR (i.id, i.queue, i.call_started_at) IS NOT (r.id, r.queue, r.call_started_at)

-- Live items whose place in the index of queue order tells another state than they have.

-- name: unlike_state --
SELECT num FROM work WHERE queue = :queue AND settled_as <> CASE WHEN state >= 2 THEN state ELSE 0 END

-- Live items whose last change the log is said to tell, and does not.

-- name: untold --
SELECT w.num FROM work AS w LEFT JOIN log AS l ON l.queue = w.queue AND l.num = w.last_entry
WHERE w.queue = :queue AND w.is_told <> 0 AND (w.is_told, w.updated_at, w.updated_at) IS NOT (1, l.at, l.latest)

-- Stretches of the log that count wrongly, are not there, or are there before they have all their entries.

-- name: wrong_stretches --
WITH RECURSIVE whole AS (
    SELECT 0 AS num, (entries + 1) / :size AS n FROM counters WHERE queue = :queue AND kind = 0 AND num = 0 AND item = 0
    UNION ALL SELECT num + 1, n FROM whole WHERE num + 1 < n
), told AS (
    SELECT last_entry / :size AS num, sum(state = 0) AS unstarted, sum(state = 1) AS in_progress, sum(state = 2) AS completed,
        sum(state = 3) AS skipped
    FROM work WHERE queue = :queue AND is_told = 1 GROUP BY last_entry / :size
), expected AS (
    SELECT e.num, coalesce(t.unstarted, 0), coalesce(t.in_progress, 0), coalesce(t.completed, 0), coalesce(t.skipped, 0)
    FROM whole AS e LEFT JOIN told AS t ON t.num = e.num WHERE e.num < e.n
), kept AS (
    SELECT num, unstarted, in_progress, completed, skipped FROM counters WHERE queue = :queue AND kind = 3
)
SELECT num FROM (SELECT * FROM expected EXCEPT SELECT * FROM kept)
UNION SELECT num FROM (SELECT * FROM kept EXCEPT SELECT * FROM expected)

-- Stretches of the log that count labels wrongly, or that do so before they have all their entries.

-- name: wrong_stretches_of_labels --
WITH labels AS (
    SELECT p.annotator, p.entry / :size AS stretch, p.state FROM progresses AS p JOIN work AS w ON w.num = p.item
    WHERE p.queue = :queue AND p.state >= 2 AND p.entry / :size
        < (SELECT (entries + 1) / :size FROM counters WHERE queue = :queue AND kind = 0 AND num = 0 AND item = 0)
), expected AS (
    SELECT num, stretch, sum(state = 2), sum(state = 3)
    FROM (SELECT annotator AS num, stretch, state FROM labels UNION ALL SELECT 0, stretch, state FROM labels)
    GROUP BY num, stretch
), kept AS (
    SELECT num, item, completed, skipped FROM counters WHERE queue = :queue AND kind = 4 AND (completed, skipped) <> (0, 0)
)
SELECT stretch FROM (SELECT * FROM expected EXCEPT SELECT * FROM kept)
UNION SELECT item FROM (SELECT * FROM kept EXCEPT SELECT * FROM expected)

-- Holds that are counted and not there, or there and not counted, of removed items too; and counters of what there is not.

-- name: wrong_holds --
SELECT item FROM (SELECT num, item FROM counters WHERE queue = :queue AND kind = 1
    EXCEPT SELECT p.annotator, p.item FROM progresses AS p WHERE p.queue = :queue AND p.state = 1)
UNION SELECT item FROM (SELECT p.annotator, p.item FROM progresses AS p WHERE p.queue = :queue AND p.state = 1
    EXCEPT SELECT num, item FROM counters WHERE queue = :queue AND kind = 1)

-- name: stray_counters --
SELECT c.kind, c.num, c.item FROM counters AS c WHERE c.queue = :queue AND NOT CASE c.kind
    WHEN 0 THEN c.item = 0 AND c.waiting = 0
    WHEN 1 THEN (c.unstarted, c.in_progress, c.completed, c.skipped, c.waiting) = (0, 0, 0, 0, 0)
        AND (c.settled, c.finished, c.next_expiry, c.reopenings, c.entries, c.latest, c.erased) = (0, 0, 0, 0, 0, 0, 0)
    WHEN 2 THEN c.item = 0 AND EXISTS (SELECT 1 FROM blocks AS b WHERE b.queue = c.queue AND b.lane = 1 AND b.num = c.num)
        AND (c.settled, c.finished, c.next_expiry, c.reopenings, c.entries, c.latest, c.erased) = (0, 0, 0, 0, 0, 0, 0)
    WHEN 3 THEN c.item = 0
        AND (c.waiting, c.settled, c.finished, c.next_expiry, c.reopenings, c.entries, c.latest, c.erased) = (0, 0, 0, 0, 0, 0, 0, 0)
    WHEN 4 THEN (c.unstarted, c.in_progress, c.waiting, c.settled, c.finished) = (0, 0, 0, 0, 0)
        AND (c.next_expiry, c.reopenings, c.entries, c.latest, c.erased) = (0, 0, 0, 0, 0)
    ELSE FALSE END

-- name: shared_numbers --
SELECT num FROM blocks WHERE queue = :queue AND lane = 1 GROUP BY num HAVING count(*) > 1

-- What else an item keeps of its standing.

-- name: kept_standing --
SELECT completed, skipped, claimable_at FROM work WHERE num = ?

-- Live items that say other things of their entries than the log.

-- name: wrong_ends --
SELECT w.num FROM work AS w LEFT JOIN (
    SELECT item, count(*) AS steps, max(num) AS last_entry FROM log WHERE queue = :queue GROUP BY item
) AS t ON t.item = w.num
WHERE w.queue = :queue AND (w.steps, w.last_entry) IS NOT (coalesce(t.steps, 0), t.last_entry)

-- name: out_of_order --
SELECT num FROM (
    SELECT num, latest, max(at) OVER in_log AS told, row_number() OVER in_log AS place, lag(latest) OVER in_log AS before,
        (SELECT erased FROM counters WHERE queue = :queue AND kind = 0 AND num = 0 AND item = 0) AS erased
    FROM log WHERE queue = :queue
    WINDOW in_log AS (ORDER BY num)
) WHERE CASE erased WHEN 0 THEN latest <> told OR num <> place
    ELSE latest < told OR latest < before OR num < place OR num > place + erased END

-- name: broken_chains --
SELECT l.num FROM log AS l LEFT JOIN log AS b ON b.queue = l.queue AND b.num = l.before
WHERE l.queue = :queue AND NOT coalesce(
    CASE WHEN l.step = 1 THEN l.before IS NULL ELSE b.item = l.item AND b.step = l.step - 1 AND b.num < l.num END, FALSE)

-- name: of_other_queues --
SELECT l.num FROM log AS l LEFT JOIN items AS i ON i.num = l.item WHERE l.queue = :queue AND i.queue IS NOT l.queue

-- name: wrong_starts --
SELECT num FROM (
    SELECT num, started_at, CASE WHEN to_state >= 2 AND from_state <> to_state THEN CAST(substr(max(
        CASE WHEN to_state = 1 THEN printf('%010d', step) || at END
    ) OVER (PARTITION BY item, annotator ORDER BY num), 11) AS INTEGER) END AS told
    FROM log WHERE queue = :queue
) WHERE started_at IS NOT told

-- name: wrong_labels --
SELECT num FROM log WHERE queue = :queue AND to_state <> 2 AND annotation IS NOT NULL

-- Progresses of removed items too.

-- name: wrong_pointers --
SELECT p.item FROM progresses AS p JOIN items AS i ON i.num = p.item LEFT JOIN log AS l ON l.queue = p.queue AND l.num = p.entry
WHERE i.queue = :queue AND (p.queue <> i.queue OR (l.item, l.annotator, l.step, l.to_state) IS NOT (p.item, p.annotator, p.step, p.state))

-- name: labels_twice --
SELECT p.item FROM progresses AS p WHERE p.queue = :queue AND p.state = 2 AND p.annotation IS NOT NULL

-- name: end --
SELECT count(*), max(latest), coalesce((SELECT erased FROM counters WHERE queue = :queue AND kind = 0 AND num = 0 AND item = 0), 0)
FROM log WHERE queue = :queue

-- name: wrong_ops --
SELECT o.text, o.live FROM op_names AS o
WHERE o.queue = ? AND o.live <> (SELECT count(*) FROM work AS w WHERE w.queue = o.queue AND w.op = o.num)

-- Reservations that do not say what their items, their assignees and their progresses say.

-- name: wrong_reservations --
WITH expected AS (
    SELECT w.num AS item, t.num AS annotator, w.queue, w.priority_down, w.created_at, w.id, w.claimable_at,
        coalesce(p.state >= 2, FALSE) AS is_settled
    FROM work AS w CROSS JOIN texts AS l ON l.num = w.assignees CROSS JOIN json_each(l.text) AS e JOIN texts AS t ON t.text = e.value
        LEFT JOIN progresses AS p ON p.item = w.num AND p.annotator = t.num
    WHERE w.queue = :queue
), kept AS (
    SELECT item, annotator, queue, priority_down, created_at, id, claimable_at, is_settled FROM reservations WHERE queue = :queue
)
SELECT item FROM (SELECT * FROM expected EXCEPT SELECT * FROM kept)
UNION SELECT item FROM (SELECT * FROM kept EXCEPT SELECT * FROM expected)

-- name: block_shapes --
SELECT lane, a, b, id, n FROM blocks WHERE queue = ?
