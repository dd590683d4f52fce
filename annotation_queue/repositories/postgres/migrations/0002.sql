-- Version 2.

-- Pages of queues. For each field by which they sort there are two indexes: one for both fields upwards or both downwards, and one
-- for the field downwards and the id upwards, or the reverse. An index holds no text of any length, so what is indexed are the first
-- 160 characters; where a project's texts are longer, they are sorted, and the last two indexes say so. Each index has a word of its
-- own behind the project, so that the server takes the one that is meant, whatever it knows of the table.
DROP INDEX queues_of_project;
CREATE INDEX queues_by_id ON queues ((left(project_id, 160) || ' by id'), left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_by_name ON queues ((left(project_id, 160) || ' by name'), left(name, 160), left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_by_name_down ON queues ((left(project_id, 160) || ' by name down'), left(name, 160) DESC, left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_by_created ON queues ((left(project_id, 160) || ' by created'), created_at, left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_by_created_down ON queues ((left(project_id, 160) || ' by created down'), created_at DESC, left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_by_updated ON queues ((left(project_id, 160) || ' by updated'), updated_at, left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_by_updated_down ON queues ((left(project_id, 160) || ' by updated down'), updated_at DESC, left(id, 160))
    WHERE deleted_at IS NULL;
CREATE INDEX queues_with_long_ids ON queues ((left(project_id, 160) || ' with long ids'))
    WHERE deleted_at IS NULL AND length(id) > 160;
CREATE INDEX queues_with_long_names ON queues ((left(project_id, 160) || ' with long names'))
    WHERE deleted_at IS NULL AND length(name) > 160;
