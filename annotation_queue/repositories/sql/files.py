"""SQL from the files of the storages: named statements, and numbered migrations."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = resources.files("annotation_queue.repositories")

_BLOCK: Final = re.compile(r"^-- name: (\w+) --$", re.MULTILINE)
_REFERENCE: Final = re.compile(r"@(\w+)@")
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)


def load_statements(*names: str) -> dict[str, str]:
    """Read the named statements of files.

    Each stands below a line ``-- name: the_name --``; comments and line breaks are left out, and ``@the_name@`` stands for
    the text of an earlier one.

    Args:
        names: The files, as paths below `annotation_queue.repositories` and without their ending.

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


def load_migrations(storage: str) -> tuple[tuple[str, ...], ...]:
    """Read the migrations of a storage.

    Args:
        storage: The folder below `annotation_queue.repositories` whose ``migrations`` these are: ``0001.sql`` and so on.

    Returns:
        For each version, from 1 on, its statements in order.

    Raises:
        ValueError: A number is missing, or a file ends within a statement.
    """
    folder = _FOLDER / storage / "migrations"
    names = sorted(file.name for file in folder.iterdir() if re.fullmatch(r"\d{4}\.sql", file.name))
    if names != [f"{number:04}.sql" for number in range(1, len(names) + 1)]:
        raise ValueError(f"the migrations of {storage} are not numbered without a gap: {names}")
    return tuple(tuple(split_statements(_read(f"{storage}/migrations/{name}"))) for name in names)


def split_statements(text: str) -> Iterator[str]:
    """Split SQL into its statements: a semicolon within a text, a comment or a trigger ends none.

    Args:
        text: Statements, each ended by a semicolon, and comments in lines of their own.

    Yields:
        Each statement in one line, without its comments and its semicolon.

    Raises:
        ValueError: The text ends within a statement.

    >>> list(split_statements("INSERT INTO t VALUES (';'); DELETE FROM t;"))
    ["INSERT INTO t VALUES (';')", 'DELETE FROM t']
    """
    statement = ""
    for part in _COMMENT.sub("", text).split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            flat = _flat(statement).rstrip("; ")
            if flat:
                yield flat
            statement = ""
    if _flat(statement).strip("; "):
        raise ValueError(f"a statement without its end: {_flat(statement)}")


def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def _flat(text: str) -> str:
    return " ".join(_COMMENT.sub("", text).split())
