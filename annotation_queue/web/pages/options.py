"""What whoever serves the pages decides: under which names, how long one stays signed in, and a token that works once."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import attrs

from annotation_queue.construction import Check, run_checks
from annotation_queue.values import check_lease
from annotation_queue.web.access import Principal
from annotation_queue.web.hosts import check_hosts


class OneTimeTokens:
    """One token at a time, that signs one person in once; the next one is made when it was used.

    Args:
        principal: Whom it signs in.
        tell: Gets each token when it is made, to show it to that person.
    """

    def __init__(self, principal: Principal, tell: Callable[[str], None]) -> None:
        self._principal = principal
        self._tell = tell
        self._lock = threading.Lock()
        self._token = ""

    def renew(self) -> None:
        """Make a token, and tell it; the one before it, if there was one, works no more."""
        with self._lock:
            self._token = secrets.token_urlsafe(24)
            token = self._token
        self._tell(token)

    def redeem(self, token: str) -> Principal | None:
        """Use a token up.

        Args:
            token: What was given.

        Returns:
            Whom it signs in; None if it is not the token, or was used already.
        """
        with self._lock:
            if not (self._token and hmac.compare_digest(self._token.encode(), token.encode())):
                return None
            self._token = ""
        self.renew()
        return self._principal


def _hosts(values: Iterable[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(check_hosts(values))


@attrs.frozen(kw_only=True)
class PageOptions:
    """How the pages are served; ``create_app(pages=True)`` takes the defaults.

    Args:
        hosts: The names under which they may be asked for, without ports (``*.`` in front stands for any name below); addresses
            in numbers always may. None for any name, which is right if what stands in front checks it.
        session: How long somebody who does nothing stays signed in. Sessions are kept in this process.
        logins: How often one address may fail to sign in: ``"10/minute"``, counted in this process.
        one_time: Lets one person in who was shown an address with a token; None for nobody.

    Raises:
        InvalidValue: Hosts that are no names, or a session that is shorter or longer than a lease may be.
    """

    hosts: frozenset[str] | None = attrs.field(default=None, converter=_hosts)
    session: timedelta = timedelta(hours=12)
    logins: str = "10/minute"
    one_time: OneTimeTokens | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field that nothing else does."""
        run_checks(self, _CHECKS)


_CHECKS: Final[dict[str, Check]] = {"session": check_lease}
