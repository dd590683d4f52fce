"""Keys: what stands for texts that are too long for an index of PostgreSQL, and statements with its placeholders."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

KEY_LENGTH: Final = 255
"""How many characters the key of a long text has. A shorter text is its own key."""
PREFIX: Final = KEY_LENGTH - 64
"""How many characters of a long text its key begins with: keys sort like the texts as far as these tell them apart."""


def key_of(text: str) -> str:
    """Give what stands for a text in columns that are indexed: two keys are equal exactly if the texts are.

    >>> key_of("short"), len(key_of("long" * 100_000))
    ('short', 255)
    """
    if len(text) < KEY_LENGTH:
        return text
    return text[:PREFIX] + sha256(text.encode()).hexdigest()


def is_long(key: str) -> bool:
    """Tell whether a key stands for a longer text."""
    return len(key) == KEY_LENGTH
