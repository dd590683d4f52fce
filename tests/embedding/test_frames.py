"""Labels as a frame, items out of a frame, and what a notebook shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    InvalidValue,
    LabelQuery,
    MemoryRepository,
    NewItem,
)
from annotation_queue.agreement import Agreement, PairAgreement
from annotation_queue.changes import Throughput
from annotation_queue.frames import label_frame, new_items
from annotation_queue.tables import html_table

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def labelled(*labels: Any, payloads: Any = None) -> tuple[AnnotationQueues, str]:  # noqa: ANN401 - any JSON
    """Make a queue whose items have these labels, in their order."""
    queues = AnnotationQueues(MemoryRepository(), "project", clock=lambda: NOW)
    queue = queues.create("queue", created_by="ann")
    items = [NewItem(call_id=str(n), payload=payloads and payloads[n]) for n in range(len(labels))]
    queues.add_items(queue.id, items, added_by="ann")
    for label in labels:
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.complete(claim, label)
    return queues, queue.id


def frame_of(*labels: Any, **options: Any) -> pd.DataFrame:  # noqa: ANN401 - any JSON
    return label_frame(*labelled(*labels), **options)


def test_a_frame_has_a_row_for_each_label_and_fields_become_columns() -> None:
    queues, queue_id = labelled(
        {"stars": 5, "why": {"tone": "warm"}}, {"stars": None, "sure": True}, payloads=[{"text": "a"}, {"text": "b"}]
    )
    frame = label_frame(queues, queue_id)
    assert list(frame.columns) == [
        *("item_id", "call_id", "annotator_id", "state", "reason", "started_at", "updated_at"),
        *("annotation.stars", "annotation.sure", "annotation.why.tone", "payload.text"),
    ]
    assert frame["call_id"].tolist() == ["0", "1"]
    assert frame["payload.text"].tolist() == ["a", "b"]
    assert frame["annotation.stars"].isna().tolist() == [False, True]
    assert frame["annotation.stars"].dtype == "Int64"
    assert frame["annotation.sure"].dtype == "boolean"
    assert frame["updated_at"].tolist() == [pd.Timestamp(NOW)] * 2


def test_without_flattening_labels_and_payloads_are_what_json_says() -> None:
    frame = frame_of({"stars": 5}, [1, 2], "good", flatten=False)
    assert frame["annotation"].tolist() == [{"stars": 5}, [1, 2], "good"]
    assert frame["payload"].tolist() == [None, None, None]


def test_labels_that_are_no_objects_stand_in_one_column_of_their_own_type() -> None:
    assert frame_of("good", "bad")["annotation"].tolist() == ["good", "bad"]
    assert frame_of(1, 2)["annotation"].dtype == "int64"
    assert frame_of(1, 2.5)["annotation"].dtype == "float64"
    assert frame_of(True, False)["annotation"].dtype == "bool"
    assert frame_of(1, "two")["annotation"].tolist() == [1, "two"]


def test_a_frame_reads_what_the_query_asks_for_and_an_empty_one_has_its_columns() -> None:
    queues, queue_id = labelled("a", "b")
    newest = label_frame(queues, queue_id, LabelQuery(newest_first=True))
    assert newest["annotation"].tolist() == ["b", "a"]
    empty = label_frame(queues, queue_id, LabelQuery(states={AnnotationState.SKIPPED}))
    assert (len(empty), empty["call_id"].tolist(), str(empty["updated_at"].dtype)) == (0, [], "datetime64[us, UTC]")


def test_two_fields_that_make_one_column_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"flatten: expected distinct columns, or False, got two fields"):
        frame_of({"a.b": 1, "a": {"b": 2}})


def test_what_frames_hold_becomes_json() -> None:
    frame = pd.DataFrame(
        {
            "id": [7, 8],
            "n": np.array([1, 2], dtype="int32"),
            "x": [0.5, np.nan],
            "flag": [True, False],
            "gap": pd.array([1, None], dtype="Int64"),
            "at": [pd.Timestamp(NOW), pd.NaT],
            "day": [date(2026, 1, 1), None],
            "took": [timedelta(seconds=90), pd.NaT],
            "vector": [np.array([1.0, np.nan]), [np.int64(3)]],
            "kind": pd.Categorical(["a", "b"]),
            "rank": [np.int64(3), np.int64(-1)],
        }
    )
    before = frame.copy(deep=True)
    first, second = new_items(frame, call_id="id", priority="rank")
    assert (first.call_id, first.priority, second.call_id, second.priority) == ("7", 3, "8", -1)
    assert first.payload == {
        "id": 7,
        "n": 1,
        "x": 0.5,
        "flag": True,
        "gap": 1,
        "at": "2026-01-01T12:00:00+00:00",
        "day": "2026-01-01",
        "took": 90.0,
        "vector": [1.0, None],
        "kind": "a",
        "rank": 3,
    }
    assert second.payload == {
        "id": 8,
        "n": 2,
        "x": None,
        "flag": False,
        "gap": None,
        "at": None,
        "day": None,
        "took": None,
        "vector": [3],
        "kind": "b",
        "rank": -1,
    }
    pd.testing.assert_frame_equal(frame, before)


def test_a_payload_is_made_of_some_columns_or_stands_in_one() -> None:
    frame = pd.DataFrame({"id": ["a"], "text": ["Great!"], "row": [{"n": np.int64(1)}]})
    assert next(new_items(frame, call_id="id", payload=["text"])).payload == {"text": "Great!"}
    assert next(new_items(frame, call_id="id", payload="row")).payload == {"n": 1}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", None, "call_id: expected text or an integer, got None in row 17"),
        ("id", 1.5, "call_id: expected text or an integer, got 1.5 in row 17"),
        ("id", "", "call_id: expected non-empty text, got an empty str in row 17"),
        ("n", np.inf, "payload.n: expected a finite number, got inf in row 17"),
        ("n", 1j, "payload.n: expected a value that JSON can say, got complex in row 17"),
        (
            "n",
            {"m": [1, 2**70]},
            "payload.n.m[1]: expected an integer within 64 bits, got 1180591620717411303424 in row 17",
        ),
        (
            "rank",
            0.5,
            "priority: expected an integer from -9223372036854775808 to 9223372036854775807, got 0.5 in row 17",
        ),
    ],
)
def test_what_is_refused_is_named_with_its_row(column: str, value: object, message: str) -> None:
    good: dict[str, Any] = {"id": "a", "n": 1, "rank": 1}
    frame = pd.DataFrame([good, good | {column: value}], index=[16, 17], dtype="object")
    items = new_items(frame, call_id="id", payload=["n"], priority="rank")
    assert next(items).call_id == "a"
    with pytest.raises(InvalidValue) as refused:
        next(items)
    assert str(refused.value) == message


def test_a_column_that_is_missing_is_named_with_those_that_are_there() -> None:
    with pytest.raises(InvalidValue, match=r"frame: expected a column out of id, text, got no column 'words'"):
        next(new_items(pd.DataFrame({"id": [1], "text": ["a"]}), call_id="id", payload=["words"]))


def test_frames_of_labels_go_round_as_items() -> None:
    frame = frame_of({"stars": 5}, {"stars": None})
    assert [each.payload for each in new_items(frame, call_id="call_id", payload=["annotation.stars"])] == [
        {"annotation.stars": 5},
        {"annotation.stars": None},
    ]


def test_a_notebook_shows_statistics_throughput_and_agreement_as_tables() -> None:
    queues, queue_id = labelled("a", "b")
    (stats,) = queues.stats([queue_id])
    shown = stats._repr_html_()
    assert "<th>bob</th>" in shown
    assert shown.startswith(f"<table><caption>queue {queue_id}</caption>")
    pace = Throughput(
        settled=1_000, by_annotator={"<script>": 1}, per_hour=12.5, median_seconds=None, left=3, eta=timedelta(hours=2)
    )
    assert "&lt;script&gt;" in pace._repr_html_()
    assert "<script>" not in pace._repr_html_()
    assert "2:00:00" in pace._repr_html_()
    pair = PairAgreement(annotators=("a", "<b>"), items=3, agreed=2, kappa=None)
    agreement = Agreement(
        annotators=("a", "<b>"),
        items=3,
        partly=0,
        agreed=2,
        categories={},
        kappa=0.5,
        alpha=None,
        pairs=(pair,),
        differing=(),
    )
    assert "a and &lt;b&gt;" in agreement._repr_html_()
    assert "0.667" in agreement._repr_html_()


def test_every_row_of_a_table_has_a_cell_for_each_column() -> None:
    queues, queue_id = labelled("a")
    for shown in (queues.stats([queue_id])[0]._repr_html_(), html_table("t", ["", "n"], [["a", 1.5e6]])):
        head, *rows = shown.split("<tr>")[1:]
        assert {row.count("<td") + row.count("<th") for row in rows} == {head.count("<th")}
