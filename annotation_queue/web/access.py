"""Who asks, and what they may do: credentials as they were sent, and the principal that the backend makes of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Literal, TypeAlias

import attrs

from annotation_queue.json_values import check_texts
from annotation_queue.values import check_id


class Action(StrEnum):
    """What a principal may be allowed to do in a project.

    ``update_progress`` is for one's own; ``override`` is to act on what others did: to move their states, whatever the workflow
    with ``override=True``, and to reset. ``update_items`` is to change, reprioritise and remove items.
    """

    CREATE = "create"
    QUERY = "query"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"
    ADD_CALLS = "add_calls"
    QUERY_ITEMS = "query_items"
    UPDATE_PROGRESS = "update_progress"
    STATS = "stats"
    CLAIM = "claim"
    UPDATE_ITEMS = "update_items"
    READ_LABELS = "read_labels"
    OVERRIDE = "override"
    RESTORE = "restore"
    PURGE = "purge"


@attrs.frozen
class Credentials:
    """What a request brought along; nothing of it is checked yet.

    Compare a secret in constant time (`hmac.compare_digest`), or look up its hash.

    Args:
        scheme: How it was sent.
        username: The user name; None with ``bearer``.
        secret: The password, the API key or the token.
    """

    scheme: Literal["basic", "bearer"]
    username: str | None
    secret: str = attrs.field(repr=False)


def _user_id(value: str) -> str:
    return check_id("user_id", value)


def _project_ids(values: Iterable[str]) -> frozenset[str]:
    return frozenset(check_texts("project_ids", values))


@attrs.frozen
class Principal:
    """Who the credentials belong to.

    Args:
        user_id: Creates, adds and annotates: the annotator id of all that this principal does.
        project_ids: The projects that the principal belongs to. EvalGuard's request, which names no project, is for an item in
            one of these.
    """

    user_id: str = attrs.field(converter=_user_id)
    project_ids: frozenset[str] = attrs.field(default=frozenset(), converter=_project_ids)


Authenticate: TypeAlias = Callable[[Credentials], Principal | None]
"""Gives the principal of these credentials; None where they are nobody's. Runs in a worker thread."""
Authorize: TypeAlias = Callable[[Principal, str, Action], bool]
"""Tells whether a principal may do this in this project. Runs in a worker thread."""


def is_member(principal: Principal, project_id: str, action: Action) -> bool:
    """Allow everything to whoever belongs to the project: what holds where a backend says nothing else."""
    del action
    return project_id in principal.project_ids


def credentials_of(headers: Sequence[str]) -> Credentials | None:
    """Read the credentials of a request.

    Args:
        headers: The values of its Authorization headers.

    Returns:
        The credentials; None where there is not exactly one header, or it is neither Basic nor Bearer as they are specified.

    >>> credentials_of(["Basic YXBpOnM6M2NyZXQ="])
    Credentials(scheme='basic', username='api')
    >>> credentials_of(["Bearer t0ken"]).secret
    't0ken'
    """
    if len(headers) != 1:
        return None
    scheme, _, value = headers[0].strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value and " " not in value:
        return Credentials("bearer", None, value)
    if scheme.lower() != "basic":
        return None
    try:
        username, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return Credentials("basic", username, secret) if colon else None
