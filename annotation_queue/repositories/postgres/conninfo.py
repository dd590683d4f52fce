"""What says where a server is, as libpq takes it, and how long to wait; a password in it is shown to nobody."""

from __future__ import annotations

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


def check_seconds(field: str, seconds: object, *, above: float) -> None:
    """Check how long to wait.

    Raises:
        InvalidValue: It is no number, not above that number, or above 1,000,000.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and above < cast("float", seconds) <= _LONGEST):
        raise refuse(field, seconds, f"a number of seconds, above {above} and at most {_LONGEST:,}")
