"""The statements of PostgreSQL's repository, with the placeholders that psycopg takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from annotation_queue.repositories.postgres.rows import ROW_SETS
from annotation_queue.repositories.sql.files import load_statements

# Not the second colon of a cast.
_NAMED: Final = re.compile(r"(?<![:\w]):(\w+)")
_ROW_SET: Final = re.compile(r"\{(\w+)\}")
_TEXTS: Final = {each.name: each.text for each in ROW_SETS}


@lru_cache(maxsize=1_024)
def placed(text: str) -> str:
    """Give a statement the placeholders that psycopg takes. No statement holds a question mark or a colon that is none."""
    return _NAMED.sub(r"%(\1)s", text.replace("%", "%%").replace("?", "%s"))


SQL: Final = {
    name: placed(_ROW_SET.sub(lambda found: _TEXTS[found[1]], text))
    for name, text in load_statements("sql/queues", "postgres/statements").items()
}
"""Name -> statement; ``{name}`` stands for a `RowSet` there."""
