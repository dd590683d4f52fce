"""The statements of PostgreSQL's repository, with the placeholders that psycopg takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from annotation_queue.repositories.postgres.rows import COUNTS, COUNTS_OF_ONE, ROW_SETS
from annotation_queue.repositories.sql.files import load_statements

# Not the second colon of a cast.
_NAMED: Final = re.compile(r"(?<![:\w]):(\w+)")
_ROW_SET: Final = re.compile(r"\{(\w+)\}")
_TEXTS: Final = {each.name: each.text for each in ROW_SETS}
_TEXTS_OF_ONE: Final = {each.name: COUNTS_OF_ONE if each is COUNTS else each.text_of_one for each in ROW_SETS}
_OF_ONE: Final = ("store_one", "claim_untouched")
"""The statements whose row sets are one row each, but for the counts."""


@lru_cache(maxsize=1_024)
def placed(text: str) -> str:
    """Give a statement the placeholders that psycopg takes. No statement holds a question mark or a colon that is none."""
    return _NAMED.sub(r"%(\1)s", text.replace("%", "%%").replace("?", "%s"))


SQL: Final = {
    name: placed(_ROW_SET.sub(lambda found, of=_TEXTS_OF_ONE if name in _OF_ONE else _TEXTS: of[found[1]], text))  # type: ignore[misc]  # a default
    for name, text in load_statements("sql/queues", "postgres/statements").items()
}
"""Name -> statement; ``{name}`` stands for a `RowSet` there."""
