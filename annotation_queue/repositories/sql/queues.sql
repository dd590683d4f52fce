-- What every SQL storage asks in the same words.

-- name: queue_columns --
id, project_id, name, description, scorer_refs, annotations_per_item, skip_policy, lease, created_at, created_by,
    updated_at, deleted_at

-- name: progress_columns --
p.annotator, p.state, p.token, p.lease_expires_at, p.annotation, p.reason, p.created_at, p.updated_at

-- name: queue_key --
SELECT num, revision FROM queues WHERE id = ?

-- name: queue_by_num --
SELECT @queue_columns@
FROM queues WHERE num = ?

-- name: add_queue --
INSERT INTO queues (id, project_id, name, search_name, description, scorer_refs, annotations_per_item, skip_policy, lease,
    created_at, created_by, updated_at, deleted_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING RETURNING num

-- name: replace_queue --
UPDATE queues SET name = ?, search_name = ?, description = ?, scorer_refs = ?, annotations_per_item = ?, skip_policy = ?,
    lease = ?, updated_at = ?, deleted_at = ?, revision = revision + 1
WHERE num = ?

-- name: all_queues --
SELECT num, revision FROM queues ORDER BY num
