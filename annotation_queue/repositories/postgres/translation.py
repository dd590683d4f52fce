"""What the errors of PostgreSQL's driver mean, in the library's own words. No password and no value of a row is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from annotation_queue.errors import (
    OutcomeUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class SilentServer(psycopg.OperationalError):
    """The server, or what is between us, said nothing for longer than its own time limits allow."""


_BUSY: Final = (
    errors.QueryCanceled,
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.IdleInTransactionSessionTimeout,
    errors.TooManyConnections,
    PoolTimeout,
    TooManyRequests,
)
_READ_ONLY: Final = (
    "cannot be written here ({told}); nothing was written, connect to the primary server, not to a read-only replica"
)
_MEANINGS: Final[tuple[tuple[tuple[type[Exception], ...], type[StorageError], str], ...]] = (
    (_BUSY, StorageBusy, "stayed locked or overloaded ({told}); nothing was written, try again"),
    ((errors.DiskFull,), StorageFull, "has no room left ({told}); nothing was written, make room and try again"),
    ((errors.DataCorrupted, errors.IndexCorrupted), StorageCorrupt, "is damaged ({told}); restore it from a backup"),
    ((errors.ReadOnlySqlTransaction,), StorageDenied, _READ_ONLY),
    (
        (errors.InsufficientPrivilege,),
        StorageDenied,
        "may not be used like that ({told}); nothing was written, give the role the rights that it lacks",
    ),
    (
        (errors.CannotConnectNow,),
        StorageUnreachable,
        "takes no connections now ({told}); nothing was written, try again when it does",
    ),
    (
        (SilentServer,),
        StorageUnreachable,
        "cannot be reached ({told}); nothing was written, try again when it is there",
    ),
    ((psycopg.Error,), StorageError, "could not be used ({told}); nothing was written"),
)
"""What each error is to us, the first that fits."""
# While somebody connects, the driver knows nothing of an error but its text, of which the server's part begins so.
_ANSWER: Final = "FATAL"
# What libpq itself refuses, whatever the server would say.
_REFUSED: Final = (
    "no password supplied",
    "definition of service",
    "service file",
    "does not support SSL",
    "response to SSL negotiation",
    "SSL error",
    "certificate",
    "private key file",
    "authentication method",
    "channel binding",
    "does not support GSSAPI",
)
_CROWDED: Final = ("too many clients", "too many connections", "connection slots")
_NOT_YET: Final = ("starting up", "shutting down", "not accepting connections", "in recovery mode", "not yet accepting")


def translate(error: psycopg.Error, name: str, *, begins: bool = False) -> StorageError:
    """Turn the driver's error into ours.

    Args:
        error: What psycopg or its pool raised.
        name: What to call the storage.
        begins: Whether a transaction was about to begin.

    Returns:
        The error to raise from it.
    """
    if isinstance(error, PoolClosed):
        return StorageError(f"the pool of connections to {name} is closed; make a new repository")
    # To begin a transaction that writes is all that a replica does not support of how transactions begin.
    if begins and isinstance(error, errors.FeatureNotSupported):
        return StorageDenied(f"{name} {_READ_ONLY.format(told=_told(error))}")
    kind, text = next((kind, text) for classes, kind, text in _MEANINGS if isinstance(error, classes))
    return kind(f"{name} {text.format(told=_told(error))}")


def translate_attempt(error: psycopg.Error, name: str) -> StorageError:
    """Turn the error of an attempt to connect into ours.

    Args:
        error: What psycopg raised.
        name: What to call the storage.

    Returns:
        `StorageUnreachable` if no server answered, or one that takes no connections yet or any more; `StorageBusy` if it has
        as many connections as it takes; else a `StorageError` that tells what the server refused, or libpq.
    """
    told = _told(error)
    if not isinstance(error, psycopg.OperationalError):
        return translate(error, name)
    if _says(told, _CROWDED):
        return StorageBusy(f"{name} has no connection left ({told}); nothing was written, try again")
    if _says(told, _REFUSED) or (_ANSWER in told and not _says(told, _NOT_YET)):
        return StorageError(f"{name} could not be used ({told}); nothing was written")
    return _unreachable(told, name)


def lost_in_commit(error: psycopg.Error, name: str) -> OutcomeUnknown:
    """Say that a connection was lost while something was committed.

    Args:
        error: What psycopg raised.
        name: What to call the storage.
    """
    what = f"the connection to {name} was lost during a commit ({_told(error)}), which took effect or did not"
    return OutcomeUnknown(f"{what}; call again")


def _unreachable(told: str, name: str) -> StorageUnreachable:
    return StorageUnreachable(
        f"the server of {name} cannot be reached ({told}); nothing was written, try again when it is there"
    )


def _says(told: str, texts: Sequence[str]) -> bool:
    return any(text in told for text in texts)


def _told(error: psycopg.Error) -> str:
    # Only the server's first line: what comes after may show what a row holds.
    return " ".join((error.diag.message_primary or str(error)).split())
