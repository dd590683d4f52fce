-- What `SQLiteRepository.check` asks: rows that are not as they must be.

-- name: search_name --
SELECT search_name FROM queues WHERE num = ?

-- name: live_without_work --
SELECT i.num FROM items AS i LEFT JOIN work AS w ON w.num = i.num WHERE (i.deleted_at IS NULL) <> (w.num IS NOT NULL)

-- name: unlike_work --
SELECT i.num FROM items AS i JOIN work AS w ON w.num = i.num JOIN op_names AS o ON o.num = w.op
WHERE (i.id, i.queue, i.call_started_at) <> (w.id, w.queue, w.call_started_at) OR o.queue <> w.queue

-- name: steps --
SELECT revision, step FROM transitions WHERE item = ? ORDER BY revision, step

-- name: wrong_ops --
SELECT o.text, o.live FROM op_names AS o
WHERE o.queue = ? AND o.live <> (SELECT count(*) FROM work AS w WHERE w.queue = o.queue AND w.op = o.num)

-- name: block_shapes --
SELECT lane, a, b, id, n FROM blocks WHERE queue = ?
