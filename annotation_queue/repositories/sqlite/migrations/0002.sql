-- Version 2.

-- Pages of queues. For each field by which they sort there are two indexes: one for both fields upwards or both downwards, and one
-- for the field downwards and the id upwards, or the reverse.
DROP INDEX queues_of_project;
CREATE INDEX queues_by_id ON queues (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX queues_by_name ON queues (project_id, name, id) WHERE deleted_at IS NULL;
CREATE INDEX queues_by_name_down ON queues (project_id, name DESC, id) WHERE deleted_at IS NULL;
CREATE INDEX queues_by_created ON queues (project_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX queues_by_created_down ON queues (project_id, created_at DESC, id) WHERE deleted_at IS NULL;
CREATE INDEX queues_by_updated ON queues (project_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX queues_by_updated_down ON queues (project_id, updated_at DESC, id) WHERE deleted_at IS NULL;
