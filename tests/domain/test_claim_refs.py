"""References of claims: short texts that come back as what they were, and nothing else."""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import ClaimRef, InvalidValue
from annotation_queue.items import check_claim
from annotation_queue.testing.strategies import texts

refs = st.builds(
    ClaimRef,
    item_id=texts(min_size=1).filter(bool),
    annotator_id=texts(min_size=1).filter(bool),
    token=st.integers(0, 2**63 - 1),
)


@given(refs)
def test_a_reference_comes_back_from_its_text(ref: ClaimRef) -> None:
    text = str(ref)
    assert ClaimRef.parse(text) == ref
    assert text.isascii()
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_references_with_the_longest_ids_come_back_too() -> None:
    ref = ClaimRef(item_id='"' * 2**20, annotator_id="é" * 2**19, token=2**63 - 1)
    assert ClaimRef.parse(str(ref)) == ref


def test_ten_thousand_mutated_texts_are_refused_with_one_kind_of_error() -> None:
    chance = random.Random(5)  # noqa: S311 - examples, no secrets
    for number in range(10_000):
        ref = ClaimRef(item_id=f"item-{number}", annotator_id="ann é", token=number)
        text = list(str(ref))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randint(0, 2)] = chance.choice(("", "A", "_", "=", "\n", "é", "\0", "\ud800", "AAAA"))
        mutated = "".join(text)
        try:
            parsed = ClaimRef.parse(mutated)
        except InvalidValue as error:
            assert error.field in {"claim", "item_id", "annotator_id", "token"}  # noqa: PT017 - either may be
        else:
            assert str(parsed) == mutated


def encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        5,
        b"abc",
        ["a", "b", 1],
        encoded(["i", "a"]),
        encoded(["i", "a", 1, 2]),
        encoded(["i", "a", True]),
        encoded(["i", "a", 1.0]),
        encoded(["i", "a", -1]),
        encoded(["i", "a", 2**63]),
        encoded(["", "a", 1]),
        encoded(["i\0", "a", 1]),
        encoded({"i": 1, "a": 2, "t": 3}),
        encoded("abc"),
        urlsafe_b64encode(b"[" * 100_000).decode(),
        urlsafe_b64encode(b'["i","a",' + b"9" * 5_000 + b"]").decode(),
        urlsafe_b64encode(b'["i","a",NaN]').decode(),
        urlsafe_b64encode(b"\xff\xff\xff").decode(),
        str(ClaimRef(item_id="i", annotator_id="a", token=1)) + "=",
        " " + str(ClaimRef(item_id="i", annotator_id="a", token=1)),
    ],
)
def test_what_is_no_text_of_a_reference_is_an_invalid_value(text: Any) -> None:  # noqa: ANN401 - what must be refused
    with pytest.raises(InvalidValue):
        ClaimRef.parse(text)


@pytest.mark.parametrize("claim", [None, "text", 1, ("i", "a", 1)])
def test_what_is_neither_a_claim_nor_a_reference_is_refused(claim: Any) -> None:  # noqa: ANN401 - what must be refused
    with pytest.raises(InvalidValue, match="a Claim or a ClaimRef"):
        check_claim(claim)
