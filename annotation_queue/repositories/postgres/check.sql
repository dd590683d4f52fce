-- What `PostgresRepository.check` asks: rows that are not as they must be.

-- name: search_name --
SELECT search_name FROM queues WHERE num = ?

-- name: live_without_work --
SELECT coalesce(i.num, w.num)
FROM items AS i FULL JOIN work AS w ON w.queue = i.queue AND w.num = i.num
WHERE (i.deleted_at IS NULL) <> (w.num IS NOT NULL) OR i.num IS NULL

-- name: unlike_work --
SELECT i.num FROM items AS i JOIN work AS w ON w.queue = i.queue AND w.num = i.num
WHERE (i.id, i.created_at) <> (w.id, w.created_at)
UNION
SELECT c.num FROM calls AS c JOIN work AS w ON w.queue = c.queue AND w.num = c.num
WHERE (c.id, c.created_at, c.priority_down) <> (w.id, w.created_at, w.priority_down)

-- name: without_id --
SELECT coalesce(i.num, k.num)
FROM items AS i FULL JOIN item_ids AS k ON k.queue = i.queue AND k.num = i.num AND k.id = i.id
WHERE i.num IS NULL OR k.num IS NULL

-- name: without_call --
SELECT coalesce(i.num, c.num)
FROM (SELECT * FROM items WHERE deleted_at IS NULL) AS i
    FULL JOIN calls AS c ON c.queue = i.queue AND c.num = i.num AND c.call_id = i.call_id
WHERE i.num IS NULL OR c.num IS NULL

-- Entries of an item's log that are not numbered without a gap, or that come before an earlier one of the item.

-- name: out_of_order --
SELECT l.item FROM (
    SELECT item, step, tx, seq, row_number() OVER item_order AS place, lag(tx) OVER item_order AS tx_before,
        lag(seq) OVER item_order AS seq_before
    FROM log WINDOW item_order AS (PARTITION BY queue, item ORDER BY step)
) AS l
WHERE l.step <> l.place OR (l.tx_before, l.seq_before) >= (l.tx, l.seq)

-- Live items whose number of entries, or whose last transaction, is not what the log says.

-- name: unlike_log --
SELECT w.num FROM work AS w
WHERE (w.steps, w.tx) <> (
    SELECT coalesce(max(l.step), 0), coalesce(max(l.tx), 0) FROM log AS l WHERE l.queue = w.queue AND l.item = w.num
)

-- Labels that stand where none belong: in an entry that led to another state, or on a completed progress, whose label the log has.

-- name: misplaced_labels --
SELECT item FROM log WHERE to_state <> 2 AND annotation IS NOT NULL
UNION
SELECT item FROM progresses WHERE state = 2 AND annotation IS NOT NULL

-- Blocks that count other items than stand from where they begin to where the next one does; number 0 for none.

-- name: wrong_blocks --
WITH keys AS (
    SELECT i.queue, l.lane, l.op, l.a, l.b, i.id, 0 AS is_block, 0 AS n
    FROM items AS i JOIN calls AS c ON c.queue = i.queue AND c.num = i.num CROSS JOIN LATERAL (VALUES
        (1, '', c.priority_down, c.created_at), (2, '', i.created_at, 0), (3, '', i.call_started_at, 0),
        (4, '', i.call_started_at, i.created_at), (5, '', 0, 0), (6, i.call_op_name, 0, 0),
        (7, i.call_op_name, i.created_at, 0)
    ) AS l(lane, op, a, b)
    WHERE i.deleted_at IS NULL
    UNION ALL
    SELECT b.queue, b.lane, b.op, b.a, b.b, b.id, 1, b.n FROM blocks AS b
), placed AS (
    SELECT k.*, sum(k.is_block) OVER (PARTITION BY k.queue, k.lane ORDER BY k.op COLLATE "C", k.a, k.b, k.id COLLATE "C", k.is_block DESC)
        AS block
    FROM keys AS k
)
SELECT p.queue, p.lane, p.block
FROM placed AS p GROUP BY p.queue, p.lane, p.block HAVING p.block = 0 OR sum(p.n) <> sum(1 - p.is_block)

-- name: live_nums --
SELECT num FROM work WHERE queue = ? ORDER BY num

-- name: kept_standing --
SELECT num, state, annotator, completed, skipped, claimable_at FROM work WHERE queue = ? AND num = ANY(?::bigint[])

-- name: entries --
SELECT item, @transition_columns@
FROM log WHERE queue = ? AND item = ANY(?::bigint[]) ORDER BY item, step

-- name: strays --
SELECT item FROM progresses AS p
WHERE NOT EXISTS (SELECT FROM items AS i WHERE i.queue = p.queue AND i.num = p.item)
UNION
SELECT item FROM log AS t
WHERE NOT EXISTS (SELECT FROM progresses AS p WHERE p.queue = t.queue AND p.item = t.item AND p.annotator = t.annotator)

-- Reservations that do not say what their items, their assignees and their progresses say.

-- name: wrong_reservations --
WITH expected AS (
    SELECT w.queue, w.num AS item, w.priority_down, w.created_at, w.claimable_at, coalesce(p.state >= 2, FALSE) AS is_settled, w.id,
        a.annotator COLLATE "C" AS annotator
    FROM work AS w CROSS JOIN json_array_elements_text(w.assignees::json) AS a(annotator)
        LEFT JOIN progresses AS p ON p.queue = w.queue AND p.item = w.num AND p.annotator = a.annotator
    WHERE w.assignees IS NOT NULL
), kept AS (
    SELECT queue, item, priority_down, created_at, claimable_at, is_settled, id, annotator FROM reservations
)
SELECT item FROM (SELECT * FROM expected EXCEPT SELECT * FROM kept) AS e
UNION SELECT item FROM (SELECT * FROM kept EXCEPT SELECT * FROM expected) AS k
