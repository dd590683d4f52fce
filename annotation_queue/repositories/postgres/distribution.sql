-- What a schema needs to be on one node of a Citus cluster.

-- Citus takes only those sequences along that a column's default draws from.

-- name: take_sequence_along --
ALTER TABLE items ALTER COLUMN num SET DEFAULT nextval('item_nums')

-- name: functions --
SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = current_schema()::regnamespace ORDER BY 1

-- Tells whether the tables are on the node that the client is connected to.

-- name: add_placement --
CREATE FUNCTION is_placed_here() RETURNS boolean LANGUAGE plpgsql AS '
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_dist_shard AS s JOIN pg_dist_placement AS p ON p.shardid = s.shardid
            JOIN pg_dist_local_group AS l ON l.groupid = p.groupid
        WHERE s.logicalrelid = ''annotation_queue_schema''::regclass
    );
END'

-- Triggers, which must not run while rows are copied.

-- name: triggers --
SELECT quote_ident(t.tgname), c.relname, pg_get_triggerdef(t.oid)
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal ORDER BY 1

-- The numbers of transactions are another server's from now on: a new era.

-- name: mark --
UPDATE annotation_queue_schema SET version = version + ?, era = era + ?

-- name: tables --
SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' ORDER BY 1
