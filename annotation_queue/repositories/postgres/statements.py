"""The statements of PostgreSQL's repository, with the placeholders that psycopg takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Iterable


# Not the second colon of a cast.
_NAMED: Final = re.compile(r"(?<![:\w]):(\w+)")


@lru_cache(maxsize=1_024)
def placed(text: str) -> str:
    """Give a statement the placeholders that psycopg takes. No statement holds a question mark or a colon that is none."""
    return _NAMED.sub(r"%(\1)s", text.replace("%", "%%").replace("?", "%s"))


SQL: Final = {name: placed(text) for name, text in load_statements("sql/queues", "postgres/statements").items()}


def integers(values: Iterable[int | None]) -> str:
    """Write an array of integers: as text, since the driver would give each range of values another type."""
    # A list is made faster than a generator is read, and this is done for every column of everything that is stored.
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
