"""Opaque cursors: the place at which a walk goes on, bound to what is walked over."""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

from annotation_queue.errors import InvalidCursor
from annotation_queue.values import MAX_INTEGER

_VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = 16


def encode_cursor(values: Sequence[int | str | None], binding: Sequence[object]) -> str:
    """Make a cursor that goes on after an entity.

    Args:
        values: What the last entity of a page sorts by, one value for each field of the order.
        binding: What the cursor is good for, in JSON values: the kind of list, its owner, the sort, the view.

    Returns:
        Text of letters, digits, ``-`` and ``_``.
    """
    return seal(json.dumps(values, separators=(",", ":")).encode(), binding)


def seal(body: bytes, binding: Sequence[object]) -> str:
    """Make the text of a cursor out of what it carries, bound to what it is good for; it keeps no secret."""
    return urlsafe_b64encode(_VERSION + _digest(body, binding) + body).rstrip(b"=").decode()


def decode_cursor(cursor: str, binding: Sequence[object], *, name: str = "cursor") -> list[int | str | None]:
    """Read a cursor.

    Args:
        cursor: What `encode_cursor` made.
        binding: The same binding.
        name: Name of the argument, for the error.

    Returns:
        The sort values.

    Raises:
        InvalidCursor: It was changed or forged, was made for something else, or has another version's format.
    """
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise InvalidCursor(name, "text that is no cursor", _EXPECTED) from None
    digest, body = raw[1 : 1 + _DIGEST_BYTES], raw[1 + _DIGEST_BYTES :]
    if raw[:1] != _VERSION:
        raise InvalidCursor(name, "a cursor of another format", _EXPECTED)
    # Decoding ignores foreign characters and spare bits; only the text that we made may pass.
    if digest != _digest(body, binding) or urlsafe_b64encode(raw).rstrip(b"=").decode() != cursor:
        raise InvalidCursor(name, "a cursor of another query, or a changed one", _EXPECTED)
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        # Whoever knows the binding can make the digest. What stands behind it need not be JSON that anybody can read.
        raise InvalidCursor(name, "a forged cursor", _EXPECTED) from None
    if not isinstance(values, list):
        raise InvalidCursor(name, "a forged cursor", _EXPECTED)
    return values


def decode_place(cursor: str, binding: Sequence[object], *, name: str = "cursor") -> tuple[int, ...]:
    """Read a cursor that carries a place in a log: integers that a storage counts with, at least 0 and within 64 bits.

    Arguments and errors are those of `decode_cursor`.
    """
    values = decode_cursor(cursor, binding, name=name)
    place = tuple(value for value in values if type(value) is int and 0 <= value <= MAX_INTEGER)
    if not place or len(place) < len(values):
        raise InvalidCursor(name, "a forged cursor", _EXPECTED)
    return place


_EXPECTED: Final = "a cursor that this queue gave for this sort and perspective"


def _digest(body: bytes, binding: Sequence[object]) -> bytes:
    bound = json.dumps(binding, separators=(",", ":")).encode()
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, key=hashlib.blake2b(bound).digest()).digest()
