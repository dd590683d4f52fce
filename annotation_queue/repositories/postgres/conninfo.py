"""What says where a server is, as libpq takes it, and how long to wait; a password in it is shown to nobody."""

from __future__ import annotations

import os
from typing import Final, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict

from annotation_queue.errors import InvalidValue
from annotation_queue.repositories.addresses import POSTGRES, Address
from annotation_queue.values import check_text, refuse

_EXPECTED: Final = (
    "host=... dbname=... or postgresql://user@host/database as libpq takes it; in an address every special character of a "
    "password is written as %40 and so on"
)
_LONGEST: Final = 1_000_000
_LONGEST_SCHEMA: Final = 63
_USUAL: Final = 5.0


def check_conninfo(conninfo: object) -> str:
    """Check what says where a server is.

    Args:
        conninfo: Whatever was given.

    Returns:
        The same text.

    Raises:
        InvalidValue: It is no text, or libpq cannot read it. What libpq says of it is left out: that may quote a password.
    """
    text = check_text("conninfo", conninfo)
    try:
        conninfo_to_dict(text)
    except psycopg.Error:
        is_readable = False
    else:
        # The rest of a password would be taken for a host, and be told as one that is not found.
        is_readable = not text.startswith(POSTGRES) or Address.of(text).is_readable
    if not is_readable:
        raise InvalidValue("conninfo", "text that libpq cannot read", _EXPECTED)
    return text


def hosts_of(conninfo: str) -> int:
    """Count the hosts that libpq tries one after the other."""
    given = {**_environment("host", "hostaddr"), **conninfo_to_dict(conninfo)}
    return len(str(given.get("hostaddr") or given.get("host") or "").split(","))


def time_to_connect(conninfo: str) -> float:
    """Find how long to wait for each host, in seconds: what libpq finds in a conninfo or in the environment, else 5.

    Raises:
        InvalidValue: It is no number.
    """
    given = {**_environment("connect_timeout"), **conninfo_to_dict(conninfo)}.get("connect_timeout", _USUAL)
    try:
        seconds = float(given or _USUAL)
    except ValueError:
        raise refuse("connect_timeout", given, "a number of seconds in the conninfo, or in PGCONNECT_TIMEOUT") from None
    # As libpq reads it.
    return max(2.0, min(seconds, _LONGEST)) if seconds > 0 else _LONGEST


def _environment(*names: str) -> dict[str, str]:
    return {name: value for name in names if (value := os.environ.get(f"PG{name.upper()}"))}


def check_schema(schema: object) -> None:
    """Check the name of a schema.

    Raises:
        InvalidValue: It is none that a schema of ours can have.
    """
    if not 0 < len(check_text("schema", schema).encode()) <= _LONGEST_SCHEMA or str(schema).startswith("pg_"):
        raise refuse("schema", schema, f"a name of 1 to {_LONGEST_SCHEMA} bytes that does not begin with pg_")


def check_whole(field: str, number: object, *, least: int, or_none: bool = False) -> None:
    """Check a whole number.

    Raises:
        InvalidValue: It is none, or less than that.
    """
    is_whole = isinstance(number, int) and not isinstance(number, bool) and number >= least
    if not (is_whole or (or_none and number is None)):
        raise refuse(field, number, f"an int of at least {least}{' or None' * or_none}")


def check_seconds(field: str, seconds: object, *, above: float) -> None:
    """Check how long to wait.

    Raises:
        InvalidValue: It is no number, not above that number, or above 1,000,000.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and above < cast("float", seconds) <= _LONGEST):
        raise refuse(field, seconds, f"a number of seconds, above {above} and at most {_LONGEST:,}")
