"""`open_repository`: the storage that an address names."""

from __future__ import annotations

import os
import re
from typing import Any, Final
from urllib.parse import unquote

from annotation_queue.errors import InvalidValue
from annotation_queue.repositories.addresses import POSTGRES, Address
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.repositories.sqlite import SQLiteRepository
from annotation_queue.repository import Repository
from annotation_queue.values import check_text

MEMORY: Final = "memory:"
SQLITE: Final = "sqlite:///"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEMA: Final = "schema="
_EXPECTED: Final = "memory:, the path of a file, sqlite:///path or postgresql://user@host/database?schema=name"


def open_repository(address: str | os.PathLike[str], **options: Any) -> Repository:  # noqa: ANN401 - those of the classes
    """Open the storage that an address names.

    Args:
        address: ``memory:``; the path of an SQLite file, or ``sqlite:///`` and the path, which begins with another slash if it
            is absolute; or ``postgresql://...`` as libpq takes it, with ``schema=`` among its parameters if that is not
            ``annotation_queue``. A password is best left out: libpq finds it in ``PGPASSWORD``, ``~/.pgpass`` or a service file
            (``postgresql:///?service=name``).
        options: Those of the class that it makes: `MemoryRepository`, `SQLiteRepository` or PostgresRepository.

    Returns:
        The repository; close it at the end, or use it in a with statement.

    Raises:
        InvalidValue: The address is none of these. What it said is not in the error.
        ModuleNotFoundError: It is PostgreSQL's, and the extra ``postgres`` is not installed.
        StorageError: As the class raises it.

    >>> with open_repository("memory:") as repository:
    ...     repository.check()
    ()
    """
    text = check_text("address", os.fspath(address) if isinstance(address, os.PathLike) else address, empty=False)
    if text == MEMORY:
        return MemoryRepository(**options)
    if text.startswith(POSTGRES):
        # An extra, and slow to import.
        from annotation_queue.repositories.postgres import PostgresRepository  # noqa: PLC0415

        conninfo, schema = _without_schema(text)
        return PostgresRepository(conninfo, **{**schema, **options})
    return SQLiteRepository(file_of(text), **options)


def file_of(address: str) -> str:
    """Give the path of the SQLite file that an address names.

    Raises:
        InvalidValue: It names something else.
    """
    if address.startswith(SQLITE) and address != SQLITE:
        return address.removeprefix(SQLITE)
    if address == MEMORY or _SCHEME.match(address):
        raise InvalidValue("address", "an address of another kind", _EXPECTED)
    return address


def _without_schema(address: str) -> tuple[str, dict[str, str]]:
    """Take the schema, of which libpq knows nothing, out of an address."""
    parts = Address.of(address)
    given = parts.parameters
    schemas = [unquote(each.removeprefix(_SCHEMA)) for each in given if each.startswith(_SCHEMA)]
    if len(schemas) > 1:
        raise InvalidValue("address", f"{len(schemas)} schemas", "one schema at most")
    rest = "&".join(each for each in given if not each.startswith(_SCHEMA))
    return parts._replace(query=rest).text, dict(zip(["schema"], schemas, strict=False))
