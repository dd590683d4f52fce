"""SQL from the files beside this module: named statements, and numbered migrations."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_BLOCK: Final = re.compile(r"^-- name: (\w+) --$", re.MULTILINE)
_REFERENCE: Final = re.compile(r"@(\w+)@")
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)


def load_statements(*names: str) -> dict[str, str]:
    """Read the named statements of files.

    Each stands below a line ``-- name: the_name --``; comments and line breaks are left out, and ``@the_name@`` stands for
    the text of an earlier one.

    Args:
        names: The files, without their ending.

    Returns:
        Name -> statement, in the order of the files.

    Raises:
        ValueError: A name stands twice, or there is text before the first name.
        KeyError: A statement refers to one that does not stand before it.
    """
    statements: dict[str, str] = {}
    for name in names:
        head, *parts = _BLOCK.split(_read(f"{name}.sql"))
        if _flat(head):
            raise ValueError(f"{name}.sql: every statement needs a name")
        for statement, body in zip(parts[::2], parts[1::2], strict=True):
            if statement in statements:
                raise ValueError(f"{name}.sql: there is another statement {statement}")
            statements[statement] = _REFERENCE.sub(lambda found: statements[found[1]], _flat(body))
    return statements


def load_migrations(dialect: str) -> tuple[tuple[str, ...], ...]:
    """Read the migrations of a dialect.

    Args:
        dialect: What their files' names begin with: ``<dialect>_0001.sql`` and so on.

    Returns:
        For each version, from 1 on, its statements in order.

    Raises:
        ValueError: A number is missing.
    """
    folder = resources.files(__package__) / "sql"
    names = sorted(file.name for file in folder.iterdir() if re.fullmatch(rf"{dialect}_\d{{4}}\.sql", file.name))
    if names != [f"{dialect}_{number:04}.sql" for number in range(1, len(names) + 1)]:
        raise ValueError(f"the migrations of {dialect} are not numbered without a gap: {names}")
    return tuple(
        tuple(filter(None, (_flat(part) for part in _COMMENT.sub("", _read(name)).split(";")))) for name in names
    )


def _read(name: str) -> str:
    return (resources.files(__package__) / "sql" / name).read_text(encoding="utf-8")


def _flat(text: str) -> str:
    return " ".join(_COMMENT.sub("", text).split())
