"""Who is signed in: sessions in this process, found by what a cookie holds."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.web.access import Principal

_MOST: Final = 10_000
"""Most sessions at a time; the one that did nothing for longest makes room."""


@attrs.define(kw_only=True)
class Session:
    """Somebody who is signed in.

    Args:
        principal: Who it is.
        csrf: What every change has to carry, so that no other site can make one in this person's name.
        until: When the session ends if nothing is done, by the clock of the sessions.
        notice: What the next page says first, once.
        removed: The items that were removed last, by queue, so that it can be undone.
    """

    principal: Principal
    csrf: str
    until: float
    notice: str = ""
    removed: dict[str, tuple[str, ...]] = attrs.field(factory=dict)

    def is_meant_by(self, csrf: str) -> bool:
        """Tell whether a change carries the token of this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())

    def take_notice(self) -> str:
        """Give what is to be said once."""
        notice, self.notice = self.notice, ""
        return notice


class Sessions:
    """The sessions of one app.

    Args:
        seconds: How long a session lasts while nothing is done.
        clock: Tells the time in seconds; only differences count.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        # By the digest of the key: how long a search takes tells nothing of how much of a guess is right.
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def start(self, principal: Principal) -> str:
        """Sign somebody in; give the key of the session, for a cookie."""
        key = secrets.token_urlsafe(32)
        session = Session(principal=principal, csrf=secrets.token_urlsafe(32), until=self._clock() + self._seconds)
        with self._lock:
            self._sessions[_digest(key)] = session
            while len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)
        return key

    def find(self, key: str | None) -> Session | None:
        """Find a session by its key, and let it last anew; None if there is none, or its time is over."""
        if not key:
            return None
        digest, now = _digest(key), self._clock()
        with self._lock:
            session = self._sessions.get(digest)
            if session is None:
                return None
            if session.until <= now:
                del self._sessions[digest]
                return None
            session.until = now + self._seconds
            self._sessions.move_to_end(digest)
            return session

    def end(self, key: str | None) -> None:
        """Sign somebody out."""
        with self._lock:
            self._sessions.pop(_digest(key or ""), None)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
