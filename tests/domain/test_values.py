"""Checked values: what is accepted, what is refused, and how the refusal says where."""

from __future__ import annotations

import json
import multiprocessing
import threading
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import InvalidQuery, InvalidValue, utc_now, uuid7
from annotation_queue.json_values import (
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    check_texts,
    copy_json,
    dump_json,
    load_json,
    plain_json,
)
from annotation_queue.states import AnnotationState
from annotation_queue.values import (
    MAX_INTEGER,
    MAX_LEASE,
    MAX_TEXT_BYTES,
    MIN_INTEGER,
    check_id,
    check_integer,
    check_lease,
    check_text,
    check_time,
    describe,
    from_micros,
    lease_end,
    to_micros,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = st.datetimes(timezones=st.just(UTC))
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "é", "😀", ""]), inner),
    max_leaves=20,
)


def ascii_start(text: str) -> str:
    """Name a text by its start; some are a mebibyte long."""
    return ascii(text[:10])


def nested(levels: int) -> list[Any]:
    """Build lists within each other."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class Level(IntEnum):
    """An integer that is more than an integer."""

    LOW = 1


class Undecided(tzinfo):
    """A time zone that does not know its offset, which makes a datetime naive."""

    def utcoffset(self, _moment: datetime | None) -> None:
        return None

    dst = utcoffset

    def tzname(self, _moment: datetime | None) -> str:
        return "undecided"


@pytest.mark.parametrize(
    "text", ["", "a", "é É ß _ 10 9 😀 % \\ '", "\x01\n\t\x7f", "a" * MAX_TEXT_BYTES], ids=ascii_start
)
def test_any_utf8_text_up_to_1_mib_is_kept_as_it_is(text: str) -> None:
    assert check_text("name", text) == text


@pytest.mark.parametrize(
    "text", ["a\0b", "\0", "\ud800", "a\udfffb", "é\0", "a" * (MAX_TEXT_BYTES + 1)], ids=ascii_start
)
def test_text_with_nul_or_lone_surrogates_or_beyond_1_mib_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_text("name", text)
    assert refused.value.field == "name"


def test_the_length_of_text_is_counted_in_bytes_of_utf8() -> None:
    half = "é" * (MAX_TEXT_BYTES // 2)
    assert check_text("name", half) == half
    with pytest.raises(InvalidValue, match=r"name: expected text of at most 1,048,576 bytes, got 1,048,577 bytes"):
        check_text("name", half + "a")


@pytest.mark.parametrize("value", [None, b"a", 1, True, ["a"], object()])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue, match="name: expected text, got"):
        check_text("name", value)


def test_a_subclass_of_str_becomes_a_plain_str() -> None:
    kept = check_text("name", AnnotationState.COMPLETED)
    assert kept == "completed"
    assert type(kept) is str


def test_an_id_is_not_empty() -> None:
    assert check_id("item_id", " ") == " "
    with pytest.raises(InvalidValue, match="item_id: expected non-empty text, got an empty str"):
        check_id("item_id", "")


def test_the_error_may_be_a_narrower_one() -> None:
    with pytest.raises(InvalidQuery):
        check_text("name", 1, error=InvalidQuery)
    with pytest.raises(InvalidQuery):
        check_integer("limit", "1", error=InvalidQuery)


def test_texts_are_read_once_from_any_iterable() -> None:
    assert check_texts("scorer_refs", (text for text in ["b", "a", "b"])) == ("b", "a", "b")
    assert check_texts("scorer_refs", []) == ()


@pytest.mark.parametrize("values", ["abc", b"abc", None, 5])
def test_a_single_text_is_no_sequence_of_texts(values: object) -> None:
    with pytest.raises(InvalidValue, match="scorer_refs: expected a sequence of texts"):
        check_texts("scorer_refs", values)


def test_the_error_names_the_text_of_a_sequence_by_its_index() -> None:
    with pytest.raises(InvalidValue, match=r"scorer_refs\[1\]: expected text, got int 5"):
        check_texts("scorer_refs", ["a", 5])


def test_texts_together_are_at_most_1_mib() -> None:
    with pytest.raises(InvalidValue) as refused:
        check_texts("scorer_refs", ["a" * (MAX_TEXT_BYTES // 2)] * 3)
    assert refused.value.field == "scorer_refs"


@pytest.mark.parametrize("value", [0, -1, MIN_INTEGER, MAX_INTEGER])
def test_an_integer_fits_in_64_bits(value: int) -> None:
    assert check_integer("priority", value) == value


@pytest.mark.parametrize(
    "value", [MIN_INTEGER - 1, MAX_INTEGER + 1, 10**5_000, True, False, 1.0, 1.5, "1", None], ids=describe
)
def test_bools_floats_and_integers_beyond_64_bits_are_refused(value: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_integer("priority", value)
    assert refused.value.field == "priority"


def test_a_subclass_of_int_becomes_a_plain_int() -> None:
    assert type(check_integer("priority", Level.LOW)) is int


def test_a_time_is_kept_as_the_same_instant_in_utc() -> None:
    given_time = datetime(2026, 1, 1, 1, 30, 0, 123456, timezone(timedelta(hours=2)))
    kept = check_time("created_at", given_time)
    assert kept == given_time
    assert kept.tzinfo is UTC
    assert (kept.day, kept.hour, kept.microsecond) == (31, 23, 123456)


@pytest.mark.parametrize("edge", [FIRST, LAST])
def test_the_first_and_the_last_representable_time_are_accepted(edge: datetime) -> None:
    assert check_time("created_at", edge) == edge
    assert from_micros(to_micros(edge)) == edge


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001 - the naive time that must be refused
        datetime(2026, 1, 1, tzinfo=Undecided()),
        FIRST.replace(tzinfo=timezone(timedelta(hours=1))),
        LAST.replace(tzinfo=timezone(timedelta(hours=-1))),
        "2026-01-01T00:00:00Z",
        1_700_000_000,
        None,
    ],
)
def test_naive_times_and_what_is_no_time_in_utc_are_refused(value: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_time("created_at", value)
    assert refused.value.field == "created_at"


@given(TIMES)
def test_times_survive_the_way_through_integer_microseconds(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


@given(TIMES, TIMES)
def test_microseconds_sort_as_the_times_do(one: datetime, other: datetime) -> None:
    assert (to_micros(one) < to_micros(other)) == (one < other)


@pytest.mark.parametrize("value", [timedelta(microseconds=1), timedelta(days=1.5), MAX_LEASE])
def test_a_lease_is_any_positive_time_up_to_its_limit(value: timedelta) -> None:
    assert check_lease("lease", value) == value


@pytest.mark.parametrize("value", [timedelta(), timedelta(seconds=-1), MAX_LEASE + timedelta(microseconds=1), 5, None])
def test_what_is_no_lease_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue, match=r"lease: expected a positive timedelta of at most 36,500 days"):
        check_lease("lease", value)


def test_a_lease_that_ends_beyond_the_year_9999_is_refused() -> None:
    late = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert lease_end(late, timedelta(seconds=59)).second == 59
    with pytest.raises(InvalidValue, match="lease: expected a lease that ends before the year 10000"):
        lease_end(late, timedelta(minutes=1))


@given(JSON)
def test_json_comes_back_equal_and_shares_nothing(value: object) -> None:
    copied = copy_json("payload", value)
    assert json.dumps(copied) == json.dumps(value)
    if isinstance(value, list | dict):
        assert copied is not value


@given(JSON)
def test_json_text_that_is_loaded_and_dumped_again_is_the_same(value: object) -> None:
    text = dump_json("payload", value)
    assert dump_json("payload", load_json(text)) == text


def test_json_is_read_to_its_end_and_white_space_around_it_does_not_matter() -> None:
    assert load_json(' {"a": [1]}\n') == {"a": [1]}
    for text in ("", '{"a": 1} 2', '{"a": 1', "[1],"):
        with pytest.raises(ValueError, match="line 1"):
            load_json(text)


def test_the_keys_of_an_object_keep_their_order() -> None:
    assert list(copy_json("payload", {"b": 1, "a": 2})) == ["b", "a"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": [0, float("nan")]}, "payload.a[1]"),
        ([float("inf")], "payload[0]"),
        ({"a": {"b": float("-inf")}}, "payload.a.b"),
        ({"a": "x\0"}, "payload.a"),
        ({"a": [{"b": "\ud800"}]}, "payload.a[0].b"),
        ({"a": {"x\0": 1}}, "a key of payload.a"),
        ({"\udc00": 1}, "a key of payload"),
        ({1: 1}, "a key of payload"),
        ({None: 1}, "a key of payload"),
        ([2**63], "payload[0]"),
        ([-(2**63) - 1], "payload[0]"),
        ([(1, 2)], "payload[0]"),
        ([{1, 2}], "payload[0]"),
        ([b"x"], "payload[0]"),
        ({"a": LAST}, "payload.a"),
        (["a" * (MAX_TEXT_BYTES + 1)], "payload[0]"),
    ],
    ids=describe,
)
def test_the_error_names_the_place_in_the_json(value: object, field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        copy_json("payload", value)
    assert refused.value.field == field


def test_json_may_be_64_levels_deep_and_no_deeper() -> None:
    deepest = nested(MAX_JSON_DEPTH)
    assert copy_json("payload", deepest) == deepest
    for levels in (MAX_JSON_DEPTH + 1, 100_000):
        with pytest.raises(InvalidValue, match=r"payload: expected JSON of at most 64 levels, got JSON that is deeper"):
            copy_json("payload", nested(levels))


def test_json_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue, match="64 levels"):
        copy_json("payload", endless)


def test_json_that_shares_its_parts_is_refused_without_unfolding_them() -> None:
    value: list[Any] = []
    for _ in range(40):
        value = [value, value]
    with pytest.raises(InvalidValue, match=r"payload: expected JSON of at most 1,048,576 bytes, got more values"):
        copy_json("payload", value)


def test_json_may_be_1_mib_long_and_no_longer() -> None:
    assert len(dump_json("payload", ["a" * (MAX_JSON_BYTES - 4)])) == MAX_JSON_BYTES
    with pytest.raises(InvalidValue, match=r"got 1,048,577 bytes"):
        dump_json("payload", ["a" * (MAX_JSON_BYTES - 3)])
    with pytest.raises(InvalidValue, match="got more values"):
        dump_json("payload", [0] * (MAX_JSON_BYTES + 1))
    with pytest.raises(InvalidValue, match=r"got 1,048,577 bytes"):
        dump_json("payload", ["é" * (MAX_JSON_BYTES // 2 - 2) + "a"])


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "None"), ("", "an empty str"), (1.5, "float 1.5"), ("a" * 81, "str"), (2**70, "int"), ([1], "list")],
)
def test_a_value_is_described_without_repeating_a_long_one(value: object, words: str) -> None:
    assert describe(value) == words


def test_the_clock_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC


def collect(make: Callable[[], str], count: int) -> list[str]:
    """Make some ids."""
    return [make() for _ in range(count)]


def test_ids_are_distinct_across_threads_and_grow_within_each() -> None:
    made: list[list[str]] = []
    threads = [threading.Thread(target=lambda: made.append(collect(uuid7, 5_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len(set().union(*made)) == 20_000


def test_ids_are_uuids_of_version_7() -> None:
    one = uuid7()
    assert len(one) == 36
    assert one[14] == "7"
    assert one[19] in "89ab"


def _send_ids(connection: Any) -> None:  # noqa: ANN401 - multiprocessing has no public name for its connections
    connection.send(collect(uuid7, 100))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    collect(uuid7, 1)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_send_ids, args=(theirs,))
    child.start()
    mine = collect(uuid7, 100)
    assert ours.poll(30)
    assert not set(mine) & set(ours.recv())
    child.join(30)
    assert child.exitcode == 0


class _Text(str):
    __slots__ = ()


ODD_VALUES = ["text", "NUL\0", "\ud800", "é", "a" * (1 << 20), _Text("own"), 0, 1 << 63, -(1 << 63) - 1, True, None]
ODD_VALUES += [
    1.5,
    float("nan"),
    float("inf"),
    (),
    b"bytes",
    ["a"],
    {"a": "NUL\0"},
    AnnotationState.COMPLETED,
    object(),
]


@pytest.mark.parametrize("odd", ODD_VALUES, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("entries", [1, 16, 17])
def test_a_small_label_is_taken_and_refused_like_any_other(odd: object, entries: int) -> None:
    others = {f"key {n}": "text" for n in range(entries - 1)}
    labels: list[Any] = [{**others, "odd": odd}]
    if isinstance(odd, str | int | float | bytes | tuple):
        labels.append({**others, odd: "text"})
    for label in labels:
        expected = _outcome(lambda label: load_json(dump_json("annotation", label)), label)
        assert _outcome(lambda label: plain_json("annotation", label), label) == expected


def _outcome(check: Callable[[Any], object], value: object) -> object:
    try:
        return check(value)
    except InvalidValue as error:
        return str(error)
