"""References of claims: every one is read back from its text, and nothing else is read as one."""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import ClaimRef, InvalidValue
from annotation_queue.testing import strategies

refs = st.builds(
    ClaimRef,
    item_id=strategies.texts(min_size=1),
    annotator_id=strategies.texts(min_size=1),
    token=st.integers(0, 2**63 - 1),
)


@given(refs)
def test_a_reference_is_read_back_from_its_text(ref: ClaimRef) -> None:
    text = str(ref)
    assert ClaimRef.parse(text) == ref
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize("character", ["a", "é", "\x01", "\N{GRINNING FACE}"])
def test_a_reference_of_the_longest_ids_is_read_back(character: str) -> None:
    longest = character * ((1 << 20) // len(character.encode()))
    ref = ClaimRef(item_id=longest, annotator_id=longest, token=2**63 - 1)
    assert ClaimRef.parse(str(ref)) == ref


def test_ten_thousand_changed_texts_are_refused_or_are_the_text_of_what_they_say() -> None:
    drawn = random.Random(15)  # noqa: S311 - examples, no secrets
    texts = [str(ClaimRef(item_id=item, annotator_id=who, token=7)) for item, who in (("i", "a"), ("0198-é", "bob"))]
    alphabet = "ABab09-_=+/ .\n\0é\ud800😀"
    refused = 0
    for _ in range(10_000):
        text = list(drawn.choice(texts))
        for _ in range(drawn.randint(1, 3)):
            place = drawn.randrange(len(text) + 1)
            text[place : place + drawn.randint(0, 2)] = drawn.choices(alphabet, k=drawn.randint(0, 2))
        changed = "".join(text)
        try:
            assert str(ClaimRef.parse(changed)) == changed
        except InvalidValue:
            refused += 1
    assert refused > 8_000


def encoded(value: object) -> str:
    body = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return urlsafe_b64encode(body).rstrip(b"=").decode()


WRONG_TOKENS: list[object] = [True, 1.0, "1", -1, 2**63, None, []]


@pytest.mark.parametrize(
    "text",
    [
        *(None, 5, b"W10", ["a"], "", " ", "=", "W10=", "a" * (18 << 20)),
        *(encoded(each) for each in ([], [1, 2], "abc", {"a": 1, "b": 2, "c": 3}, None, 5)),
        *(encoded(["i", "a", token]) for token in WRONG_TOKENS),
        *(encoded(["", "a", 1]), encoded(["i", "", 1]), encoded([5, "a", 1]), encoded(["i\0", "a", 1])),
        *(encoded(b'["i","\\ud800",1]'), encoded(b'["i", "a", 1]'), encoded(b'["i","\\u0061",1]')),
        *(encoded(b'["i","a",' + b"9" * 5_000 + b"]"), encoded(b"[" * 100_000), encoded(b"\xff\xfe")),
        *(encoded(b'["i","a",1]x'), encoded('["i","a",1]'.encode("utf-16"))),
        str(ClaimRef(item_id="i", annotator_id="a", token=1)) + "=",
    ],
)
def test_what_is_no_text_of_a_reference_is_refused(text: Any) -> None:  # noqa: ANN401 - what must be refused
    with pytest.raises(InvalidValue, match=r"claim: expected the text that str\(\) of a ClaimRef gave") as refused:
        ClaimRef.parse(text)
    assert len(str(refused.value)) < 250
