-- What `PostgresRepository.check` asks: rows that are not as they must be.

-- name: search_name --
SELECT search_name FROM queues WHERE num = ?

-- name: live_without_work --
SELECT coalesce(i.num, w.num)
FROM items AS i FULL JOIN work AS w ON w.queue = i.queue AND w.num = i.num
WHERE (i.deleted_at IS NULL) <> (w.num IS NOT NULL) OR i.num IS NULL

-- name: unlike_work --
SELECT i.num FROM items AS i JOIN work AS w ON w.queue = i.queue AND w.num = i.num
WHERE (i.id, i.created_at, i.priority_down) <> (w.id, w.created_at, w.priority_down)

-- name: without_id --
SELECT coalesce(i.num, k.num)
FROM items AS i FULL JOIN item_ids AS k ON k.queue = i.queue AND k.num = i.num AND k.id = i.id
WHERE i.num IS NULL OR k.num IS NULL

-- name: without_call --
SELECT coalesce(i.num, c.num)
FROM (SELECT * FROM items WHERE deleted_at IS NULL) AS i
    FULL JOIN calls AS c ON c.queue = i.queue AND c.num = i.num AND c.call_id = i.call_id
WHERE i.num IS NULL OR c.num IS NULL

-- name: live_nums --
SELECT num FROM work WHERE queue = ? ORDER BY num

-- name: kept_standing --
SELECT num, state, annotator, completed, skipped, claimable_at FROM work WHERE queue = ? AND num = ANY(?::bigint[])

-- name: steps --
SELECT item, annotator, from_state, to_state, at, reason, revision, step
FROM transitions WHERE queue = ? AND item = ANY(?::bigint[]) ORDER BY item, revision, step

-- name: strays --
SELECT item FROM progresses AS p
WHERE NOT EXISTS (SELECT FROM items AS i WHERE i.queue = p.queue AND i.num = p.item)
UNION
SELECT item FROM transitions AS t
WHERE NOT EXISTS (SELECT FROM progresses AS p WHERE p.queue = t.queue AND p.item = t.item AND p.annotator = t.annotator)
