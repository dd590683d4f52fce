-- What every SQL storage asks in the same words.

-- name: queue_columns --
id, project_id, name, description, scorer_refs, annotations_per_item, skip_policy, lease, label_schema, is_paused, created_at,
    created_by, updated_at, deleted_at

-- What is stored of a queue when it is added, and what may change of it.

-- name: new_queue_columns --
@queue_columns@, search_name

-- name: new_queue_values --
:id, :project_id, :name, :description, :scorer_refs, :annotations_per_item, :skip_policy, :lease, :label_schema, :is_paused,
    :created_at, :created_by, :updated_at, :deleted_at, :search_name

-- name: queue_changes --
name = :name, search_name = :search_name, description = :description, scorer_refs = :scorer_refs,
    annotations_per_item = :annotations_per_item, skip_policy = :skip_policy, lease = :lease, label_schema = :label_schema,
    is_paused = :is_paused, updated_at = :updated_at, deleted_at = :deleted_at

-- name: transition_columns --
annotator, from_state, to_state, at, reason, annotation, actor

-- name: progress_columns --
p.annotator, p.state, p.token, p.lease_expires_at, p.annotation, p.reason, p.created_at, p.updated_at, p.started_at, p.step

-- Finds a queue by its id.

-- name: queue_key --
SELECT num, revision FROM queues WHERE id = ?

-- Reads a queue by its number.

-- name: queue_by_num --
SELECT @queue_columns@
FROM queues WHERE num = ?

-- Adds a queue; gives nothing if the id is taken.

-- name: add_queue --
INSERT INTO queues (@new_queue_columns@) VALUES (@new_queue_values@) ON CONFLICT DO NOTHING RETURNING num

-- Changes a queue; its id, project and creation stay.

-- name: replace_queue --
UPDATE queues SET @queue_changes@, revision = revision + 1 WHERE num = :num

-- Lists all queues, deleted ones too.

-- name: all_queues --
SELECT num, revision FROM queues ORDER BY num
