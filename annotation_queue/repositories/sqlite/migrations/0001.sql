-- Version 1.
--
-- Times are microseconds since the epoch, UTC. States are their ranks: 0 unstarted, 1 in progress, 2 completed, 3 skipped.
-- What annotating changes stands in `work` and `progresses`, narrow and apart from what is wide and never changes (`items`).
-- -62135596800000000 is the year 1, "always": no lease has to end first.

-- Texts that repeat from item to item, stored once: users, and lists of display fields as JSON.
CREATE TABLE texts (
    num INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE queues (
    num INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    search_name TEXT NOT NULL,
    description TEXT NOT NULL,
    scorer_refs TEXT NOT NULL,
    annotations_per_item INTEGER NOT NULL,
    skip_policy TEXT NOT NULL,
    lease INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX queues_of_project ON queues (project_id) WHERE deleted_at IS NULL;

-- Apart from `texts`, so that the names of one queue can be read in their order. `live` counts the live items.
CREATE TABLE op_names (
    num INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES queues,
    text TEXT NOT NULL,
    live INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, text)
) STRICT;

CREATE TABLE items (
    num INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES queues,
    id TEXT NOT NULL UNIQUE,
    call_id TEXT NOT NULL,
    call_started_at INTEGER NOT NULL,
    call_ended_at INTEGER,
    call_trace_id TEXT NOT NULL,
    display_fields INTEGER NOT NULL REFERENCES texts,
    deleted_at INTEGER,
    payload TEXT
) STRICT;

CREATE UNIQUE INDEX live_calls ON items (queue, call_id) WHERE deleted_at IS NULL;
CREATE INDEX live_traces ON items (queue, call_trace_id) WHERE deleted_at IS NULL;

-- The live items only: what orders, filters and claims need. A greater priority_down is a lesser priority, over all of 64 bits.
CREATE TABLE work (
    num INTEGER PRIMARY KEY REFERENCES items,
    queue INTEGER NOT NULL REFERENCES queues,
    priority_down INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    call_started_at INTEGER NOT NULL,
    op INTEGER NOT NULL REFERENCES op_names,
    added_by INTEGER NOT NULL REFERENCES texts,
    updated_at INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    annotator INTEGER REFERENCES texts,
    completed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    claimable_at INTEGER DEFAULT -62135596800000000,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;

-- After the unique id stand what filters need, so that a walk along an index reads nothing else.
CREATE INDEX work_in_order ON work (queue, priority_down, created_at, id, op, added_by);
CREATE INDEX work_by_state ON work (queue, state, priority_down, created_at, id, op, added_by);
CREATE INDEX work_open ON work (queue, priority_down, created_at, id) WHERE claimable_at = -62135596800000000;
CREATE INDEX work_waiting ON work (queue, priority_down, created_at, id, claimable_at)
    WHERE claimable_at > -62135596800000000;
CREATE INDEX work_by_id ON work (queue, id, op, added_by);
CREATE INDEX work_by_created ON work (queue, created_at, id, op, added_by);
CREATE INDEX work_by_started ON work (queue, call_started_at, id, op, added_by);
CREATE INDEX work_by_started_created ON work (queue, call_started_at, created_at, id, op, added_by);
CREATE INDEX work_by_op ON work (queue, op, id, added_by);
CREATE INDEX work_by_op_created ON work (queue, op, created_at, id, added_by);
CREATE INDEX work_by_updated ON work (queue, updated_at, id, op, added_by);
CREATE INDEX work_by_adder ON work (queue, added_by);

-- How many live items stand where in each lane, an index of `work` (see sqlite_lanes.py). A block begins at its key, which is
-- that of the lane with 0 for a column that is not there, and ends before the next block of the lane; the first begins before
-- everything. Those of queue order also count by aggregate state.
CREATE TABLE blocks (
    queue INTEGER NOT NULL REFERENCES queues,
    lane INTEGER NOT NULL,
    a INTEGER NOT NULL,
    b INTEGER NOT NULL,
    id TEXT NOT NULL,
    n INTEGER NOT NULL,
    unstarted INTEGER NOT NULL DEFAULT 0,
    in_progress INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, lane, a, b, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE progresses (
    item INTEGER NOT NULL REFERENCES items,
    annotator INTEGER NOT NULL REFERENCES texts,
    state INTEGER NOT NULL,
    token INTEGER NOT NULL,
    lease_expires_at INTEGER,
    annotation TEXT,
    reason TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (item, annotator)
) STRICT, WITHOUT ROWID;

-- `revision` is that of the item which the change led to, `step` counts from 0 within it.
CREATE TABLE transitions (
    item INTEGER NOT NULL REFERENCES items,
    revision INTEGER NOT NULL,
    step INTEGER NOT NULL,
    annotator INTEGER NOT NULL REFERENCES texts,
    from_state INTEGER NOT NULL,
    to_state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT,
    PRIMARY KEY (item, revision, step)
) STRICT, WITHOUT ROWID;

-- What is counted. Annotator 0 is the queue as a whole: its live items by aggregate state, settled and finished ones, a time
-- before which no lease in `work_waiting` ends, and how often items became open or work was reopened. Others: that annotator's
-- progresses on live items by state.
CREATE TABLE counters (
    queue INTEGER NOT NULL REFERENCES queues,
    annotator INTEGER NOT NULL,
    unstarted INTEGER NOT NULL,
    in_progress INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    next_expiry INTEGER NOT NULL DEFAULT 9223372036854775807,
    openings INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, annotator)
) STRICT, WITHOUT ROWID;
