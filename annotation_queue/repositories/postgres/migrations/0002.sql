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
--
-- The history of an item is part of the log of its queue, which keeps every label that was ever completed, and who did it. The label
-- of a completed progress stands in its entry of the log and not on the progress as well.
--
-- `tx` is the number of the transaction that stored an entry, counted on from `era`; `seq` counts within it. Numbers of
-- transactions tell who began to write first, and not who committed first: so whoever follows the log never passes the oldest
-- transaction that is still under way. What a claim or a decision changes is locked, so those of one item ascend with its steps.
-- `era` is raised by 2^48 when the schema is found in another cluster or on another timeline than before, where the numbers of
-- transactions may be lower: `cluster` says where it was.

ALTER TABLE annotation_queue_schema
    ADD COLUMN era bigint NOT NULL DEFAULT 0,
    ADD COLUMN cluster text COLLATE "C";

-- A revision is drawn by lot: what is remembered of a queue is never mistaken for another one, not even in a schema that was
-- restored to an earlier time.
ALTER TABLE queues
    ADD COLUMN label_schema text COLLATE "C",
    ADD COLUMN is_paused bigint NOT NULL DEFAULT 0,
    ALTER COLUMN revision DROP DEFAULT;
UPDATE queues SET revision = ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint & 4611686018427387903;

-- `tx` is that of the item's last entry in the log, `steps` how many there are.
ALTER TABLE work
    ADD COLUMN tx bigint NOT NULL DEFAULT 0,
    ADD COLUMN steps bigint NOT NULL DEFAULT 0;

-- `step` is that of the entry that changed the progress last.
ALTER TABLE progresses
    ADD COLUMN started_at bigint,
    ADD COLUMN step bigint NOT NULL DEFAULT 0;

-- `step` counts within the item, from 1 on.
CREATE TABLE log (
    queue bigint NOT NULL,
    item bigint NOT NULL,
    step bigint NOT NULL,
    tx bigint NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    from_state bigint NOT NULL,
    to_state bigint NOT NULL,
    annotator text COLLATE "C" NOT NULL,
    actor text COLLATE "C",
    reason text COLLATE "C",
    annotation text COLLATE "C"
);

-- Earlier versions did not keep in which order entries of different items were stored. They count as stored at their times, but
-- those of an item in their order, whatever the clocks said.
INSERT INTO log (queue, item, step, tx, seq, at, from_state, to_state, annotator, actor, reason)
SELECT n.queue, n.item, n.step, 0, row_number() OVER (PARTITION BY n.queue ORDER BY n.latest, n.item, n.step), n.at, n.from_state,
    n.to_state, n.annotator, CASE WHEN n.reason = 'lease expired' AND n.from_state = 1 AND n.to_state = 0 THEN NULL ELSE n.annotator END,
    n.reason
FROM (
    SELECT t.*, row_number() OVER item_order AS step, max(t.at) OVER item_order AS latest
    FROM (SELECT queue, item, revision, step AS place, at, from_state, to_state, annotator, reason FROM transitions) AS t
    WINDOW item_order AS (PARTITION BY t.queue, t.item ORDER BY t.revision, t.place)
) AS n;
ALTER TABLE log ADD PRIMARY KEY (queue, item, step);
DROP TABLE transitions;

-- A token counts the steps without a claim too.
UPDATE progresses AS p SET step = n.step, started_at = n.started_at, token = n.token
FROM (
    SELECT l.queue, l.item, l.annotator, max(l.step) AS step, (max(ARRAY[l.step, l.at]) FILTER (WHERE l.to_state = 1))[2] AS started_at,
        count(*) FILTER (WHERE l.to_state = 1 OR (l.from_state = 0 AND l.to_state >= 2)) AS token
    FROM log AS l GROUP BY l.queue, l.item, l.annotator
) AS n
WHERE p.queue = n.queue AND p.item = n.item AND p.annotator = n.annotator;
UPDATE log AS l SET annotation = p.annotation
FROM progresses AS p
WHERE p.queue = l.queue AND p.item = l.item AND p.annotator = l.annotator AND p.step = l.step AND p.state = 2;
UPDATE progresses SET annotation = NULL WHERE state = 2;

-- Which progress changed last is what the log says, and an item's time never goes back.
UPDATE work AS w SET steps = n.steps, updated_at = greatest(w.created_at, n.latest), state = coalesce(p.state, 0), annotator = p.annotator
FROM (SELECT l.queue, l.item, max(l.step) AS steps, max(l.at) AS latest FROM log AS l GROUP BY l.queue, l.item) AS n
    LEFT JOIN LATERAL (
        SELECT o.state, o.annotator FROM progresses AS o
        WHERE o.queue = n.queue AND o.item = n.item AND o.state > 0 ORDER BY o.step DESC LIMIT 1
    ) AS p ON TRUE
WHERE w.queue = n.queue AND w.num = n.item;

-- What is counted, as sums over rows that are only ever added: a row that everybody changed would leave a dead one behind each time,
-- and for as long as some old transaction keeps vacuum from its work, every count would pass all of them. Whoever has added many
-- replaces them by their sum (`fold`). Each row adds to what is counted of the queue as a whole, and to what is counted of one annotator
-- in it, which are the columns that begin with `own`: so a claim adds one. The annotator '' is nobody.
DROP TABLE counters;
CREATE SEQUENCE counter_seqs;
CREATE TABLE counters (
    queue bigint NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('counter_seqs'),
    unstarted bigint NOT NULL,
    in_progress bigint NOT NULL,
    completed bigint NOT NULL,
    skipped bigint NOT NULL,
    settled bigint NOT NULL,
    finished bigint NOT NULL,
    own_in_progress bigint NOT NULL DEFAULT 0,
    own_completed bigint NOT NULL DEFAULT 0,
    own_skipped bigint NOT NULL DEFAULT 0,
    annotator text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
INSERT INTO counters (queue, unstarted, in_progress, completed, skipped, settled, finished, own_in_progress, own_completed,
    own_skipped, annotator)
SELECT w.queue, count(*) FILTER (WHERE w.state = 0), count(*) FILTER (WHERE w.state = 1), count(*) FILTER (WHERE w.state = 2),
    count(*) FILTER (WHERE w.state = 3), count(*) FILTER (WHERE w.completed + w.skipped > 0),
    count(*) FILTER (WHERE w.claimable_at IS NULL), 0, 0, 0, ''
FROM work AS w GROUP BY w.queue
UNION ALL
SELECT p.queue, 0, 0, 0, 0, 0, 0, count(*) FILTER (WHERE p.state = 1), count(*) FILTER (WHERE p.state = 2),
    count(*) FILTER (WHERE p.state = 3), p.annotator
FROM progresses AS p JOIN work AS w ON w.queue = p.queue AND w.num = p.item
WHERE p.state > 0 GROUP BY p.queue, p.annotator;

-- How often items of a queue became open or work was reopened, as sums over `shard`. Each server process writes to a shard of its own,
-- as far as there are enough, so that none waits for another's commit. Claiming and completing change nothing here.
CREATE TABLE openings (
    queue bigint NOT NULL,
    shard bigint NOT NULL,
    openings bigint NOT NULL,
    PRIMARY KEY (queue, shard)
) WITH (fillfactor = 50);

-- Locks a queue against those who work on it alone, and gives its revision as it is then, which the statement that asks may have
-- begun too early to see. NULL if somebody does work on it alone, or if the schema has another version.
CREATE FUNCTION locked_revision(space integer, key integer, of_queue bigint, of_version bigint) RETURNS bigint LANGUAGE plpgsql AS '
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared(space, key) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT q.revision FROM queues AS q WHERE q.num = of_queue
        AND (SELECT s.version FROM annotation_queue_schema AS s) = of_version);
END';

-- With the state, so that entries which are no label are passed over in the index alone.
CREATE INDEX log_in_order ON log (queue, tx, seq, to_state);
CREATE INDEX log_by_annotator ON log (queue, annotator, tx, seq) WHERE to_state >= 2;
CREATE INDEX log_settled ON log (queue, at) WHERE to_state >= 2 AND from_state <> to_state;
CREATE INDEX progresses_held ON progresses (queue, annotator, item) WHERE state = 1;

-- Whom an item is reserved for: the keys of annotators as a JSON list, NULL for nobody. Claims look for reserved items in
-- `reservations`, and for all others along indexes that leave the reserved ones out.
ALTER TABLE work ADD COLUMN assignees text COLLATE "C";
DROP INDEX work_open;
DROP INDEX work_waiting;
CREATE INDEX work_open ON work (queue, priority_down, created_at, id)
    WHERE claimable_at = -62135596800000000 AND assignees IS NULL;
CREATE INDEX work_waiting ON work (queue, claimable_at) WHERE claimable_at > -62135596800000000 AND assignees IS NULL;
CREATE INDEX work_waiting_in_order ON work (queue, priority_down, created_at, id) INCLUDE (claimable_at)
    WHERE claimable_at > -62135596800000000 AND assignees IS NULL;
CREATE INDEX work_reserved ON work (queue) WHERE assignees IS NOT NULL AND claimable_at IS NOT NULL;
CREATE INDEX work_unfinished ON work (queue, priority_down, created_at, id) INCLUDE (num) WHERE claimable_at IS NOT NULL;

-- A row for each annotator whom a live item is reserved for, with what of the item claims need. A trigger keeps it, so that what
-- changes an item need not know of it, and items that nobody reserved cost nothing.
CREATE TABLE reservations (
    queue bigint NOT NULL,
    item bigint NOT NULL,
    priority_down bigint NOT NULL,
    created_at bigint NOT NULL,
    claimable_at bigint,
    is_settled boolean NOT NULL,
    id text COLLATE "C" NOT NULL,
    annotator text COLLATE "C" NOT NULL
);
-- What is held is passed in the index alone.
CREATE INDEX reservations_in_order ON reservations (queue, annotator, priority_down, created_at, id, claimable_at)
    WHERE claimable_at IS NOT NULL AND NOT is_settled;
ALTER TABLE reservations ADD PRIMARY KEY (queue, item, annotator);

CREATE FUNCTION keep_reservations() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    IF TG_OP <> ''INSERT'' THEN
        DELETE FROM reservations WHERE queue = OLD.queue AND item = OLD.num;
    END IF;
    IF TG_OP <> ''DELETE'' AND NEW.assignees IS NOT NULL THEN
        INSERT INTO reservations (queue, item, priority_down, created_at, claimable_at, is_settled, id, annotator)
        SELECT NEW.queue, NEW.num, NEW.priority_down, NEW.created_at, NEW.claimable_at, coalesce((SELECT p.state >= 2 FROM progresses AS p
            WHERE p.queue = NEW.queue AND p.item = NEW.num AND p.annotator = a.annotator), FALSE), NEW.id, a.annotator
        FROM json_array_elements_text(NEW.assignees::json) AS a(annotator);
    END IF;
    RETURN NULL;
END';
-- Quoted, so that whoever reads this file statement by statement takes the three for one.
DO '
BEGIN
    CREATE TRIGGER work_reserved_comes AFTER INSERT ON work FOR EACH ROW WHEN (NEW.assignees IS NOT NULL)
        EXECUTE FUNCTION keep_reservations();
    CREATE TRIGGER work_reserved_changes AFTER UPDATE ON work FOR EACH ROW
        WHEN (NEW.assignees IS NOT NULL OR OLD.assignees IS NOT NULL) EXECUTE FUNCTION keep_reservations();
    CREATE TRIGGER work_reserved_goes AFTER DELETE ON work FOR EACH ROW WHEN (OLD.assignees IS NOT NULL)
        EXECUTE FUNCTION keep_reservations();
END';

-- What `work` had of removed items, so that they can be restored; those that version 1 removed have nothing here.
CREATE TABLE removed (LIKE work INCLUDING DEFAULTS);
ALTER TABLE removed ADD PRIMARY KEY (queue, num);
CREATE INDEX items_removed ON items (queue, deleted_at) WHERE deleted_at IS NOT NULL;

-- Orders are read along indexes that ascend, from whichever end, and group by group where an order has two directions.
DROP INDEX items_by_created_down;
DROP INDEX items_by_op_created;
ALTER TABLE items DROP COLUMN created_down;
CREATE INDEX items_by_started_created ON items (queue, call_started_at, created_at, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_op_created ON items (queue, call_op_name, created_at, id) INCLUDE (num) WHERE deleted_at IS NULL;

-- The live items again: each call once, and in queue order. A place in queue order may change, and stands here and in `work` only: on
-- a table with as many indexes as `items` it would be a new entry in each of them. The key is the last index that is made, on all
-- of these tables: of a table that it has not looked at yet the server believes that others are as good, and takes the newest.
ALTER TABLE calls RENAME TO calls_of_version_1;
ALTER TABLE calls_of_version_1 DROP CONSTRAINT calls_pkey;
CREATE TABLE calls (
    queue bigint NOT NULL,
    num bigint NOT NULL,
    priority_down bigint NOT NULL,
    created_at bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    call_id text COLLATE "C" NOT NULL
);
INSERT INTO calls (queue, num, priority_down, created_at, id, call_id)
SELECT i.queue, i.num, i.priority_down, i.created_at, i.id, i.call_id FROM items AS i WHERE i.deleted_at IS NULL ORDER BY i.queue, i.num;
DROP TABLE calls_of_version_1;
CREATE INDEX calls_in_order ON calls (queue, priority_down, created_at, id) INCLUDE (num);
CREATE UNIQUE INDEX calls_by_num ON calls (queue, num);
ALTER TABLE calls ADD PRIMARY KEY (queue, call_id);
DROP INDEX items_in_order;
ALTER TABLE items DROP COLUMN priority_down;
ALTER TABLE items DROP CONSTRAINT items_pkey;
ALTER TABLE items ADD PRIMARY KEY (queue, num);

-- How many live items stand where: each index is cut into blocks of neighbours. A block begins at a key of its index, at the operation, up
-- to two numbers and the id, with '' and 0 for what the index has not; the first one before everything. Who adds, removes or moves items
-- counts; annotating changes nothing here.
CREATE TABLE blocks (
    queue bigint NOT NULL,
    lane bigint NOT NULL,
    op text COLLATE "C" NOT NULL,
    a bigint NOT NULL,
    b bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    n integer NOT NULL,
    PRIMARY KEY (queue, lane, op, a, b, id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
INSERT INTO blocks (queue, lane, op, a, b, id, n)
SELECT k.queue, k.lane, CASE k.place WHEN 0 THEN '' ELSE k.op END, CASE k.place WHEN 0 THEN -1::bigint << 63 ELSE k.a END,
    CASE k.place WHEN 0 THEN -1::bigint << 63 ELSE k.b END, CASE k.place WHEN 0 THEN '' ELSE k.id END, least(1024, k.total - k.place)
FROM (
    SELECT i.queue, l.lane, l.op, l.a, l.b, i.id, count(*) OVER (PARTITION BY i.queue, l.lane) AS total,
        row_number() OVER (PARTITION BY i.queue, l.lane ORDER BY l.op COLLATE "C", l.a, l.b, i.id) - 1 AS place
    FROM items AS i JOIN calls AS c ON c.queue = i.queue AND c.num = i.num CROSS JOIN LATERAL (VALUES
        (1, '', c.priority_down, c.created_at), (2, '', i.created_at, 0), (3, '', i.call_started_at, 0),
        (4, '', i.call_started_at, i.created_at), (5, '', 0, 0), (6, i.call_op_name, 0, 0), (7, i.call_op_name, i.created_at, 0)
    ) AS l(lane, op, a, b)
    WHERE i.deleted_at IS NULL
) AS k
WHERE k.place % 1024 = 0;
