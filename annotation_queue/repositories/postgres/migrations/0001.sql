-- Version 1.
--
-- Times are microseconds since the epoch, UTC. States are their ranks: 0 unstarted, 1 in progress, 2 completed, 3 skipped.
-- What annotating changes stands in `work`, `progresses` and `counters`, narrow, apart from what never changes (`items`): an
-- update writes to every index of its table, and so only these tables pay for it.
-- -62135596800000000 is the year 1, "always": no lease has to end first.
--
-- Texts compare by code point, whatever the database's collation is. A text of 255 characters or more is too long for an index;
-- its columns hold a key of exactly 255 characters instead (see postgres_texts.py), and `long_texts` what the key stands for.
-- A table's primary key is made last: where the server knows nothing of a table yet, two indexes that begin with the queue seem
-- to cost the same, and it takes the one that was made last.
-- Every key but those of `queues` and `item_ids` begins with the queue, so that the tables can be partitioned or distributed by
-- it. For the same reason, and since a foreign key would lock the queue's one row in every transaction, there are none.

CREATE TABLE queues (
    num bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    search_name text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    scorer_refs text COLLATE "C" NOT NULL,
    annotations_per_item bigint NOT NULL,
    skip_policy text COLLATE "C" NOT NULL,
    lease bigint NOT NULL,
    created_at bigint NOT NULL,
    created_by text COLLATE "C" NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    revision bigint NOT NULL DEFAULT 0,
    -- Unique at any length: a hash has no longest text.
    CONSTRAINT queues_id EXCLUDE USING hash (id WITH =)
);

CREATE INDEX queues_of_project ON queues USING hash (project_id) WHERE deleted_at IS NULL;

CREATE TABLE long_texts (
    queue bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    text text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, key)
);

-- Item ids are unique in the whole schema.
CREATE TABLE item_ids (
    id text COLLATE "C" PRIMARY KEY,
    queue bigint NOT NULL,
    num bigint NOT NULL
);

-- The calls of live items. A table of its own has one index only: on a table with many, and no statistics yet, the server may
-- choose one that passes the whole queue for each call that is looked up.
CREATE TABLE calls (
    queue bigint NOT NULL,
    num bigint NOT NULL,
    call_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, call_id)
);

CREATE SEQUENCE item_nums;

CREATE TABLE items (
    queue bigint NOT NULL,
    num bigint NOT NULL,
    -- A greater priority_down is a lesser priority, over all of 64 bits.
    priority_down bigint NOT NULL,
    created_at bigint NOT NULL,
    created_down bigint GENERATED ALWAYS AS (-created_at) STORED,
    call_started_at bigint NOT NULL,
    call_ended_at bigint,
    deleted_at bigint,
    id text COLLATE "C" NOT NULL,
    call_id text COLLATE "C" NOT NULL,
    call_op_name text COLLATE "C" NOT NULL,
    call_trace_id text COLLATE "C" NOT NULL,
    added_by text COLLATE "C" NOT NULL,
    display_fields text COLLATE "C" NOT NULL,
    payload text COLLATE "C"
);

CREATE INDEX live_traces ON items (queue, call_trace_id) WHERE deleted_at IS NULL;
CREATE INDEX items_in_order ON items (queue, priority_down, created_at, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_id ON items (queue, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_created ON items (queue, created_at, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_created_down ON items (queue, created_down, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_started ON items (queue, call_started_at, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_op ON items (queue, call_op_name, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_op_created ON items (queue, call_op_name, created_down, id) INCLUDE (num) WHERE deleted_at IS NULL;
CREATE INDEX items_by_adder ON items (queue, added_by) WHERE deleted_at IS NULL;
ALTER TABLE items ADD PRIMARY KEY (queue, num);

-- The live items only.
CREATE TABLE work (
    queue bigint NOT NULL,
    num bigint NOT NULL,
    priority_down bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    claimable_at bigint DEFAULT -62135596800000000,
    revision bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    state bigint NOT NULL DEFAULT 0,
    id text COLLATE "C" NOT NULL,
    annotator text COLLATE "C"
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE INDEX work_open ON work (queue, priority_down, created_at, id) WHERE claimable_at = -62135596800000000;
CREATE INDEX work_waiting ON work (queue, claimable_at) WHERE claimable_at > -62135596800000000;
CREATE INDEX work_by_state ON work (queue, state, priority_down, created_at, id) INCLUDE (num);
CREATE INDEX work_by_updated ON work (queue, updated_at, id) INCLUDE (num);
ALTER TABLE work ADD PRIMARY KEY (queue, num);

CREATE TABLE progresses (
    queue bigint NOT NULL,
    item bigint NOT NULL,
    token bigint NOT NULL,
    lease_expires_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    state bigint NOT NULL,
    annotator text COLLATE "C" NOT NULL,
    annotation text COLLATE "C",
    reason text COLLATE "C"
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX progresses_of ON progresses (queue, annotator, item);
ALTER TABLE progresses ADD PRIMARY KEY (queue, item, annotator);

-- `revision` is that of the item which the change led to, `step` counts from 0 within it.
CREATE TABLE transitions (
    queue bigint NOT NULL,
    item bigint NOT NULL,
    revision bigint NOT NULL,
    step bigint NOT NULL,
    at bigint NOT NULL,
    from_state bigint NOT NULL,
    to_state bigint NOT NULL,
    annotator text COLLATE "C" NOT NULL,
    reason text COLLATE "C",
    PRIMARY KEY (queue, item, revision, step)
);

-- What is counted, as sums over `shard`. The annotator '' is the queue as a whole: its live items by aggregate state, settled and
-- finished ones, and how often items became open or work was reopened. Others: that annotator's progresses on live items by state.
-- Each server process writes to a shard of its own, as far as there are enough, so that none waits for another's commit.
CREATE TABLE counters (
    queue bigint NOT NULL,
    shard bigint NOT NULL,
    unstarted bigint NOT NULL,
    in_progress bigint NOT NULL,
    completed bigint NOT NULL,
    skipped bigint NOT NULL,
    settled bigint NOT NULL,
    finished bigint NOT NULL,
    openings bigint NOT NULL,
    annotator text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, annotator, shard)
) WITH (fillfactor = 50);
