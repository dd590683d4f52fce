"""The statements of PostgreSQL's repository, with the server's own placeholders: ``$1`` and so on.

So the driver sends them as they are. One with its placeholders it would read for each call, unless it has at most 4,096
characters and 50 parameters.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.postgres.rows import ROW_SETS
from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Not the second colon of a cast.
_NAMED: Final = re.compile(r"(?<![:\w]):(\w+)")
_ROW_SET: Final = re.compile(r"\{(\w+)\}")
_TEXTS: Final = {each.name: each.text for each in ROW_SETS}


def joined(name: str) -> str:
    """Name a statement as it is for those who join a transaction of the caller's."""
    return f"joined_{name}"


@lru_cache(maxsize=1_024)
def placed(text: str) -> str:
    """Number the placeholders of a statement, each a question mark. No statement holds one that is none."""
    numbers = itertools.count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", text)


def _filled(text: str) -> str:
    """Write what row sets stand for."""
    return _ROW_SET.sub(lambda found: _TEXTS[found[1]], text)


_NAMES: Final[dict[str, tuple[str, ...]]] = {}
"""Name of a statement -> names of its parameters, in the order of their numbers; none if they have none."""


def _numbered(name: str, text: str) -> str:
    names = {found: f"${number}" for number, found in enumerate(dict.fromkeys(_NAMED.findall(text)), 1)}
    _NAMES[name] = (*names,)
    return _NAMED.sub(lambda found: names[found[1]], text) if names else placed(text)


_WRITTEN: Final = load_statements("sql/queues", "postgres/statements")
_KEPT: Final = f"NOT {_WRITTEN['is_kept']}"
_JOINED: Final = {
    # What changed since the caller's transaction began is passed over here, where the others need not look at that.
    joined(name): _WRITTEN[name].replace(_KEPT, f"{_KEPT} AND {_WRITTEN['is_older']}")
    for name in ("lock_claimable", "lock_claimable_from_mark", "lock_ties", "is_claimable")
}
SQL: Final = {name: _numbered(name, _filled(text)) for name, text in {**_WRITTEN, **_JOINED}.items()}
"""Name -> statement; ``{name}`` stands for a `RowSet` there, ``:name`` or a question mark for a parameter."""
SENT: Final = {name: text.encode() for name, text in SQL.items()}
"""The same as they are sent: the driver would encode a text, and hash what that gives, each time."""


def ordered(name: str, values: Sequence[object] | Mapping[str, object]) -> Sequence[object]:
    """Give the values of a statement of `SQL` in the order of its parameters.

    Args:
        name: The statement.
        values: The values by the names of the parameters, and perhaps others; or in order already.
    """
    # A Mapping that is no dict is of no use here, and to ask for that takes longer.
    return [values[each] for each in _NAMES[name]] if isinstance(values, dict) else values  # type: ignore[return-value]
