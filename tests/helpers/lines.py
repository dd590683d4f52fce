"""Random lines of input, for programs that must take whatever a file holds."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from annotation_queue.testing import strategies


def lines() -> st.SearchStrategy[bytes]:
    """Make lines of input: any bytes, JSON of any kind, records with anything in them, and all of these garbled."""
    hostile = st.sampled_from(
        [float("nan"), float("inf"), 2**63, -(2**63) - 1, 10**400, "\0", "\ud800", 1e400, {"a\0": 1}]
    )
    values = strategies.json_values() | hostile | st.lists(hostile, max_size=2)
    ids = values | st.text(max_size=8) | st.integers()
    records = st.dictionaries(st.text(max_size=5) | st.just("id"), values, max_size=4)
    with_id = st.tuples(records, ids).map(lambda pair: {**pair[0], "id": pair[1]})
    texts = st.tuples(values | records | with_id, st.booleans()).map(
        lambda pair: json.dumps(pair[0], ensure_ascii=pair[1])
    )
    encoded = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    garbled = st.tuples(encoded, st.binary(max_size=4), st.integers(0, 200), st.integers(0, 8)).map(
        lambda it: it[0][: it[2]] + it[1] + it[0][it[2] + it[3] :]
    )
    nested = st.integers(0, 3_000).map(lambda depth: b'{"id": 1, "a": ' + b"[" * depth + b"]" * depth + b"}")
    return st.binary(max_size=40) | encoded | with_id.map(lambda it: json.dumps(it).encode()) | garbled | nested
