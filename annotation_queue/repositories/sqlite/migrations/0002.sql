-- Version 2.

-- What no index has any more is dropped first, so that nothing below keeps it up to date.
DROP INDEX work_in_order;
DROP INDEX work_by_state;
DROP INDEX work_by_updated;
DROP INDEX work_open;
DROP INDEX work_waiting;

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

ALTER TABLE queues ADD COLUMN label_schema TEXT;
ALTER TABLE queues ADD COLUMN is_paused INTEGER NOT NULL DEFAULT 0;

-- A row for each transaction that gave numbers to texts, operations or queues, or changed a queue. Its salt is drawn by lot:
-- whoever finds the row that they know finds a file that goes on from what they know, and no copy of an earlier time that went
-- on otherwise. A purge frees numbers, which are given again, and deletes all rows before its own.
CREATE TABLE epochs (
    num INTEGER PRIMARY KEY,
    salt INTEGER NOT NULL
) STRICT;

INSERT INTO epochs (salt) VALUES (random());

-- All transitions and revisions of a queue in the order in which they were stored; nothing in it ever changes. `num` counts within
-- the queue, `step` within the item, both from 1 on. `before` is the number of the item's entry before this one. `latest` is the
-- greatest `at` up to here. A step to completed has the label. A step from another state to completed or skipped has the time
-- when the annotator had last entered in_progress. Nobody is the actor of what nobody did. Its items are no foreign key, for which
-- each item that is erased would have to be looked for in all of the log.
CREATE TABLE log (
    queue INTEGER NOT NULL,
    num INTEGER NOT NULL,
    item INTEGER NOT NULL,
    step INTEGER NOT NULL,
    before INTEGER,
    annotator INTEGER NOT NULL REFERENCES texts,
    actor INTEGER REFERENCES texts,
    from_state INTEGER NOT NULL,
    to_state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    started_at INTEGER,
    reason TEXT,
    annotation TEXT,
    PRIMARY KEY (queue, num)
) STRICT, WITHOUT ROWID;

-- Version 1 did not keep in which order changes of different items were stored: they count as stored at their times, but those of an
-- item in their order, whatever the clocks said. Its labels stood on the progresses.
INSERT INTO log (queue, num, item, step, before, annotator, actor, from_state, to_state, at, latest, started_at, reason, annotation)
SELECT o.queue, o.num, o.item, o.step, lag(o.num) OVER (PARTITION BY o.item ORDER BY o.step), o.annotator,
    CASE WHEN o.reason = 'lease expired' AND o.from_state = 1 AND o.to_state = 0 THEN NULL ELSE o.annotator END,
    o.from_state, o.to_state, o.at, max(o.at) OVER (PARTITION BY o.queue ORDER BY o.num),
    CASE WHEN o.to_state >= 2 THEN CAST(substr(o.start, 11) AS INTEGER) END, o.reason,
    CASE WHEN o.to_state = 2 AND o.step = max(o.step) OVER (PARTITION BY o.item, o.annotator) THEN p.annotation END
FROM (
    SELECT s.*, row_number() OVER (PARTITION BY s.queue ORDER BY s.moved_at, s.item, s.step) AS num
    FROM (
        SELECT i.queue, t.item, t.annotator, t.from_state, t.to_state, t.at, t.reason,
            row_number() OVER in_item AS step, max(t.at) OVER in_item AS moved_at,
            -- The newest start: its place among the item's changes, and its time.
            max(CASE WHEN t.to_state = 1 THEN printf('%010d', t.place) || t.at END) OVER (
                PARTITION BY t.item, t.annotator ORDER BY t.place) AS start
        FROM (
            SELECT *, row_number() OVER (PARTITION BY item ORDER BY revision, step) AS place FROM transitions
        ) AS t JOIN items AS i ON i.num = t.item
        WINDOW in_item AS (PARTITION BY t.item ORDER BY t.place)
    ) AS s
) AS o LEFT JOIN progresses AS p ON p.item = o.item AND p.annotator = o.annotator
ORDER BY o.queue, o.num;

-- `entry` is the number of the log entry that changed the progress last, `step` its step. The label of a completed progress stands in
-- that entry, any other one here.
ALTER TABLE progresses RENAME TO progresses_1;

CREATE TABLE progresses (
    item INTEGER NOT NULL REFERENCES items,
    annotator INTEGER NOT NULL REFERENCES texts,
    queue INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    step INTEGER NOT NULL,
    state INTEGER NOT NULL,
    token INTEGER NOT NULL,
    lease_expires_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    reason TEXT,
    annotation TEXT,
    PRIMARY KEY (item, annotator)
) STRICT, WITHOUT ROWID;

-- A token counts the steps that were made without a claim too.
INSERT INTO progresses (item, annotator, queue, entry, step, state, token, lease_expires_at, created_at, updated_at, started_at,
    reason, annotation)
SELECT p.item, p.annotator, t.queue, t.entry, t.step, p.state, t.token, p.lease_expires_at, p.created_at, p.updated_at,
    CAST(substr(t.start, 11) AS INTEGER), p.reason, CASE WHEN p.state <> 2 THEN p.annotation END
FROM progresses_1 AS p JOIN (
    SELECT item, annotator, queue, max(num) AS entry, max(step) AS step,
        sum(to_state = 1 OR (from_state = 0 AND to_state >= 2)) AS token,
        max(CASE WHEN to_state = 1 THEN printf('%010d', step) || at END) AS start
    FROM log GROUP BY item, annotator
) AS t ON t.item = p.item AND t.annotator = p.annotator
ORDER BY p.item, p.annotator;

DROP TABLE progresses_1;
DROP TABLE transitions;

-- `steps` is the number of an item's entries in the log, `last_entry` the number of the last one.
ALTER TABLE work ADD COLUMN steps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN last_entry INTEGER;

UPDATE work SET steps = t.steps, last_entry = t.last_entry
FROM (SELECT item, max(step) AS steps, max(num) AS last_entry FROM log GROUP BY item) AS t WHERE t.item = work.num;

-- Which progress changed last is what the history says, and an item's time never goes back, whatever the clocks said.
UPDATE work SET updated_at = max(work.created_at, t.updated_at)
FROM (SELECT item, max(at) AS updated_at FROM log GROUP BY item) AS t
WHERE t.item = work.num AND work.updated_at <> max(work.created_at, t.updated_at);

UPDATE work SET state = t.state, annotator = t.annotator
FROM (SELECT item, state, annotator, max(step) FROM progresses WHERE state > 0 GROUP BY item) AS t
WHERE t.item = work.num AND (work.state, work.annotator) <> (t.state, t.annotator);

-- `is_told` says that the last change of an item, `updated_at`, is the time of its last entry, and that no entry before has a later
-- one: then the log tells where the item stands in the order of changes, and the index has all others.
ALTER TABLE work ADD COLUMN is_told INTEGER NOT NULL DEFAULT 0;

UPDATE work SET is_told = 1 FROM log AS l
WHERE l.queue = work.queue AND l.num = work.last_entry AND l.at = work.updated_at AND l.latest = work.updated_at;

-- `settled_as` is the state where that is completed or skipped, else 0. It stands in the index of queue order, in whose place a change
-- of it is made; so no claim changes that index.
ALTER TABLE work ADD COLUMN settled_as INTEGER NOT NULL DEFAULT 0;
UPDATE work SET settled_as = state WHERE state >= 2;
CREATE INDEX work_in_order ON work (queue, priority_down, created_at, id, settled_as, op, added_by);
CREATE INDEX work_skipped ON work (queue) WHERE settled_as = 3;
CREATE INDEX work_by_own_time ON work (queue, updated_at, id, op, added_by, settled_as, state, is_told) WHERE is_told = 0;

-- What is counted, and what is held: all that every change changes besides its own item, in one place, so that in most queues it is
-- one page.
-- Kind 0: `num` is an annotator, with the progresses on live items by state; or 0, which is the queue as a whole, with its live items by
-- aggregate state, settled and finished ones, a time before which no lease that keeps an item from everybody ends, how often items
-- became open or work was reopened, how many entries its log has, and the greatest time in it.
-- Kind 1: the annotator `num` holds `item`, a removed one too. Triggers keep it.
-- Kind 2: `num` is the number of a block of queue order, with its items by aggregate state, and those that leases keep from everybody.
-- Kind 3: `num` is the number of a stretch of the log, with the items whose last change is told there by aggregate state. A stretch
-- has the entries whose numbers give its own when they are divided by 1,024; only those that have all of them are there.
-- Kind 4: `item` is the number of such a stretch, `num` an annotator or 0 for all, with the labels, which are the completed and
-- skipped progresses on live items, that changed there last. Where there are none, there need be no row.
-- What every claim changes comes first, and what grows with the log last: so it stays on one page, or on two where blocks are many.
ALTER TABLE counters RENAME TO counters_1;

CREATE TABLE counters (
    queue INTEGER NOT NULL REFERENCES queues,
    kind INTEGER NOT NULL,
    num INTEGER NOT NULL,
    item INTEGER NOT NULL DEFAULT 0,
    unstarted INTEGER NOT NULL DEFAULT 0,
    in_progress INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    next_expiry INTEGER NOT NULL DEFAULT 0,
    reopenings INTEGER NOT NULL DEFAULT 0,
    entries INTEGER NOT NULL DEFAULT 0,
    latest INTEGER NOT NULL DEFAULT 0,
    erased INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, kind, num, item)
) STRICT, WITHOUT ROWID;

INSERT INTO counters (queue, kind, num, unstarted, in_progress, completed, skipped, settled, finished, next_expiry, reopenings,
    latest)
SELECT queue, 0, annotator, unstarted, in_progress, completed, skipped, settled, finished,
    CASE annotator WHEN 0 THEN next_expiry ELSE 0 END, openings, CASE annotator WHEN 0 THEN -9223372036854775807 ELSE 0 END
FROM counters_1 ORDER BY queue, annotator;

DROP TABLE counters_1;

-- Those of queue order have a number, below which stands what they count besides; it is 0 for all others.
ALTER TABLE blocks RENAME TO blocks_1;

CREATE TABLE blocks (
    queue INTEGER NOT NULL REFERENCES queues,
    lane INTEGER NOT NULL,
    a INTEGER NOT NULL,
    b INTEGER NOT NULL,
    id TEXT NOT NULL,
    n INTEGER NOT NULL,
    num INTEGER NOT NULL,
    PRIMARY KEY (queue, lane, a, b, id)
) STRICT, WITHOUT ROWID;

INSERT INTO blocks (queue, lane, a, b, id, n, num)
SELECT queue, lane, a, b, id, n, CASE lane WHEN 1 THEN row_number() OVER (PARTITION BY queue, lane ORDER BY a, b, id) ELSE 0 END
FROM blocks_1 ORDER BY queue, lane, a, b, id;

DROP TABLE blocks_1;

-- Blocks and items are sorted together: an item falls into the block before it.
INSERT INTO counters (queue, kind, num, unstarted, in_progress, completed, skipped, waiting)
SELECT queue, 2, num, coalesce(sum(state = 0), 0), coalesce(sum(state = 1), 0), coalesce(sum(state = 2), 0), coalesce(sum(state = 3), 0),
    coalesce(sum(claimable_at > -62135596800000000), 0)
FROM (
    SELECT queue, state, claimable_at,
        sum(is_block) OVER (PARTITION BY queue ORDER BY a, b, id, is_block DESC ROWS UNBOUNDED PRECEDING) AS num
    FROM (
        SELECT queue, priority_down AS a, created_at AS b, id, state, claimable_at, 0 AS is_block FROM work
        UNION ALL SELECT queue, a, b, id, NULL, NULL, 1 FROM blocks WHERE lane = 1
    )
) GROUP BY queue, num;

UPDATE counters SET unstarted = t.unstarted, in_progress = t.in_progress, completed = t.completed, skipped = t.skipped
FROM (
    SELECT queue, sum(unstarted) AS unstarted, sum(in_progress) AS in_progress, sum(completed) AS completed, sum(skipped) AS skipped
    FROM counters WHERE kind = 2 GROUP BY queue
) AS t
WHERE t.queue = counters.queue AND counters.kind = 0 AND counters.num = 0;

UPDATE counters SET entries = t.entries, latest = t.latest
FROM (SELECT queue, max(num) AS entries, max(latest) AS latest FROM log GROUP BY queue) AS t
WHERE t.queue = counters.queue AND counters.kind = 0 AND counters.num = 0;

INSERT INTO counters (queue, kind, num, item) SELECT queue, 1, annotator, item FROM progresses WHERE state = 1;

INSERT INTO counters (queue, kind, num, unstarted, in_progress, completed, skipped)
SELECT l.queue, 3, l.num / 1024, coalesce(sum(w.state = 0), 0), coalesce(sum(w.state = 1), 0), coalesce(sum(w.state = 2), 0),
    coalesce(sum(w.state = 3), 0)
FROM log AS l LEFT JOIN work AS w ON w.num = l.item AND w.last_entry = l.num AND w.is_told = 1
GROUP BY l.queue, l.num / 1024 HAVING max(l.num) % 1024 = 1023;

WITH labels AS (
    SELECT p.queue, p.annotator, p.entry / 1024 AS stretch, p.state
    FROM progresses AS p JOIN work AS w ON w.num = p.item JOIN counters AS c ON c.queue = p.queue AND c.kind = 0 AND c.num = 0
    WHERE p.state >= 2 AND p.entry / 1024 < (c.entries + 1) / 1024
)
INSERT INTO counters (queue, kind, num, item, completed, skipped)
SELECT queue, 4, num, stretch, sum(state = 2), sum(state = 3)
FROM (SELECT queue, annotator AS num, stretch, state FROM labels UNION ALL SELECT queue, 0, stretch, state FROM labels)
GROUP BY queue, num, stretch;

CREATE TRIGGER progresses_held_first AFTER INSERT ON progresses WHEN new.state = 1
BEGIN
    INSERT INTO counters (queue, kind, num, item) VALUES (new.queue, 1, new.annotator, new.item);
END;

CREATE TRIGGER progresses_held_again AFTER UPDATE OF state ON progresses WHEN new.state = 1 AND old.state <> 1
BEGIN
    INSERT INTO counters (queue, kind, num, item) VALUES (new.queue, 1, new.annotator, new.item);
END;

CREATE TRIGGER progresses_held_no_more AFTER UPDATE OF state ON progresses WHEN new.state <> 1 AND old.state = 1
BEGIN
    DELETE FROM counters WHERE queue = old.queue AND kind = 1 AND num = old.annotator AND item = old.item;
END;

CREATE TRIGGER progresses_erased AFTER DELETE ON progresses WHEN old.state = 1
BEGIN
    DELETE FROM counters WHERE queue = old.queue AND kind = 1 AND num = old.annotator AND item = old.item;
END;

-- Whom an item is reserved for: a text that is a JSON list; NULL for nobody. Claims look for reserved items in `reservations`, and for
-- all others along indexes that leave the reserved ones out.
ALTER TABLE work ADD COLUMN assignees INTEGER REFERENCES texts;

CREATE INDEX work_open ON work (queue, priority_down, created_at, id)
    WHERE claimable_at = -62135596800000000 AND assignees IS NULL;
CREATE INDEX work_reserved ON work (queue, priority_down, created_at, id) WHERE assignees IS NOT NULL AND claimable_at IS NOT NULL;

-- A row for each annotator whom a live item is reserved for, with what of the item claims need. Triggers keep it, so that what
-- changes an item need not know of it, and items that nobody reserved cost nothing. Only what puts items into `work` makes the
-- rows itself, and what takes items out of it deletes them: with a trigger, each of many insertions by one statement writes the
-- pages that it touches to a temporary file, and each of many deletions looks at what is none of its own.
CREATE TABLE reservations (
    item INTEGER NOT NULL REFERENCES items,
    annotator INTEGER NOT NULL REFERENCES texts,
    queue INTEGER NOT NULL,
    priority_down INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    claimable_at INTEGER,
    is_settled INTEGER NOT NULL,
    PRIMARY KEY (item, annotator)
) STRICT, WITHOUT ROWID;

-- Those that no lease keeps from everybody come first. A claim passes none of the others, unless the lease of one has ended.
CREATE INDEX reservations_in_order
    ON reservations (queue, annotator, (claimable_at > -62135596800000000), priority_down, created_at, id, claimable_at)
    WHERE claimable_at IS NOT NULL AND NOT is_settled;
CREATE INDEX reservations_waiting ON reservations (queue, annotator, claimable_at)
    WHERE claimable_at > -62135596800000000 AND NOT is_settled;

CREATE TRIGGER work_reserved_anew AFTER UPDATE OF assignees ON work WHEN new.assignees IS NOT old.assignees
BEGIN
    DELETE FROM reservations WHERE item = new.num;
    INSERT INTO reservations (item, annotator, queue, priority_down, created_at, id, claimable_at, is_settled)
    SELECT new.num, t.num, new.queue, new.priority_down, new.created_at, new.id, new.claimable_at,
        EXISTS (SELECT 1 FROM progresses AS p WHERE p.item = new.num AND p.annotator = t.num AND p.state >= 2)
    FROM texts AS l CROSS JOIN json_each(l.text) AS e CROSS JOIN texts AS t ON t.text = e.value WHERE l.num = new.assignees;
END;

CREATE TRIGGER work_reserved_changes AFTER UPDATE OF claimable_at, priority_down ON work WHEN new.assignees IS NOT NULL
BEGIN
    UPDATE reservations SET claimable_at = new.claimable_at, priority_down = new.priority_down WHERE item = new.num;
END;

CREATE TRIGGER progresses_settled_first AFTER INSERT ON progresses WHEN new.state >= 2
BEGIN
    UPDATE reservations SET is_settled = 1 WHERE item = new.item AND annotator = new.annotator;
END;

CREATE TRIGGER progresses_settled_later AFTER UPDATE OF state ON progresses WHEN (new.state >= 2) <> (old.state >= 2)
BEGIN
    UPDATE reservations SET is_settled = new.state >= 2 WHERE item = new.item AND annotator = new.annotator;
END;

-- What `work` had of removed items, so that they can be restored; those that version 1 removed have nothing here. The
-- counters say how many entries of a queue's log were erased with their items.
CREATE TABLE removed (
    num INTEGER PRIMARY KEY REFERENCES items,
    queue INTEGER NOT NULL,
    priority_down INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    call_started_at INTEGER NOT NULL,
    op INTEGER NOT NULL,
    added_by INTEGER NOT NULL REFERENCES texts,
    updated_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    annotator INTEGER REFERENCES texts,
    completed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    claimable_at INTEGER,
    revision INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    last_entry INTEGER,
    assignees INTEGER REFERENCES texts
) STRICT;

CREATE INDEX items_removed ON items (queue, deleted_at) WHERE deleted_at IS NOT NULL;
