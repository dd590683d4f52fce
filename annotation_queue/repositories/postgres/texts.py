"""Keys: what stands for texts that are too long for an index of PostgreSQL, and statements with its placeholders."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_LENGTH: Final = 255
"""How many characters the key of a long text has. A text is its own key where it has fewer."""
_PREFIX: Final = KEY_LENGTH - 64


def key_of(text: str) -> str:
    """Give what stands for a text in columns that are indexed: equal exactly where the texts are.

    >>> key_of("short"), len(key_of("long" * 100_000))
    ('short', 255)
    """
    if len(text) < KEY_LENGTH:
        return text
    return text[:_PREFIX] + sha256(text.encode()).hexdigest()


def is_long(key: str) -> bool:
    """Tell whether a key stands for a longer text."""
    return len(key) == KEY_LENGTH


@lru_cache(maxsize=1_024)
def placed(text: str) -> str:
    """Give a statement the placeholders that psycopg takes. No statement holds a question mark that is none."""
    return text.replace("%", "%%").replace("?", "%s")


SQL: Final = {name: placed(text) for name, text in load_statements("sql/queues", "postgres/statements").items()}


def integers(values: Iterable[int | None]) -> str:
    """Write an array of integers: as text, since the driver would give each range of values another type."""
    # A list is made faster than a generator is read, and this is done for every column of everything that is stored.
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
