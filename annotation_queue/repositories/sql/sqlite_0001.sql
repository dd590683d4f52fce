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

-- Apart from `texts`, so that the names of one queue can be read in their order.
CREATE TABLE op_names (
    num INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES queues,
    text TEXT NOT NULL,
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
    revision INTEGER NOT NULL DEFAULT 0,
    created_down INTEGER NOT NULL AS (-created_at) VIRTUAL,
    updated_down INTEGER NOT NULL AS (-updated_at) VIRTUAL,
    started_down INTEGER NOT NULL AS (-call_started_at) VIRTUAL
) STRICT;

CREATE INDEX work_in_order ON work (queue, priority_down, created_at, id);
CREATE INDEX work_by_state ON work (queue, state, priority_down, created_at, id);
CREATE INDEX work_open ON work (queue, priority_down, created_at, id) WHERE claimable_at = -62135596800000000;
CREATE INDEX work_waiting ON work (queue, priority_down, created_at, id, claimable_at)
    WHERE claimable_at > -62135596800000000;
CREATE INDEX work_by_id ON work (queue, id);
CREATE INDEX work_created_up ON work (queue, created_at, id);
CREATE INDEX work_created_down ON work (queue, created_down, id);
CREATE INDEX work_started_up ON work (queue, call_started_at, id);
CREATE INDEX work_started_down ON work (queue, started_down, id);
CREATE INDEX work_updated_down ON work (queue, updated_down, id);
CREATE INDEX work_by_adder ON work (queue, added_by);
CREATE INDEX work_by_op ON work (queue, op, created_down, id);

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

-- What is counted for a queue. Annotator 0: live items by aggregate state (kind 0 to 3), settled (4) and finished (5) ones, and
-- in kind 6 a time before which no lease in `work_waiting` ends, in kind 7 how often items became open or work was reopened.
-- Others: that annotator's progresses on live items by state.
CREATE TABLE counters (
    queue INTEGER NOT NULL REFERENCES queues,
    annotator INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, annotator, kind)
) STRICT, WITHOUT ROWID;
