"""Who is let in: credentials first, and how often; before that how often an address may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.values import describe
from annotation_queue.web.access import Authenticate, Principal, credentials_of
from annotation_queue.web.rate_limit import RateLimit
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from starlette.requests import Request

_CHALLENGES: Final = {"WWW-Authenticate": 'Basic realm="annotation-queue", charset="UTF-8", Bearer'}


@attrs.frozen
class Gate:
    """What every request passes first.

    Args:
        authenticate: Gives the principal of some credentials, or None.
        rate_limit: How often one user may ask.
        failed_logins: How often one address may send credentials that nobody knows.
    """

    authenticate: Authenticate
    rate_limit: RateLimit | None
    failed_logins: RateLimit | None

    def admit(self, request: Request) -> Principal:
        """Say who asks.

        Args:
            request: The request; nothing of it but its headers and its address is looked at.

        Returns:
            The principal.

        Raises:
            Denied: Nobody, or too often.
            TypeError: The backend gave no principal.
        """
        address = "" if request.client is None else request.client.host
        seconds = None if self.failed_logins is None else self.failed_logins.left(address)
        if seconds is not None:
            raise Denied(429, f"too many failed logins; again in {seconds} s", {"Retry-After": str(seconds)})
        credentials = credentials_of(request.headers.getlist("authorization"))
        principal = None if credentials is None else self.authenticate(credentials)
        if principal is None:
            if self.failed_logins is not None:
                self.failed_logins.wait(address)
            raise Denied(401, "credentials that are known here are needed: Basic or Bearer", _CHALLENGES)
        if not isinstance(principal, Principal):  # such as a coroutine, of a function written as "async def"
            raise TypeError(f"authenticate gave {describe(principal)}, neither a Principal nor None")
        seconds = None if self.rate_limit is None else self.rate_limit.wait(principal.user_id)
        if seconds is not None:
            raise Denied(429, f"too many requests; again in {seconds} s", {"Retry-After": str(seconds)})
        return principal
