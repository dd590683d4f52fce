"""Forks: a child that is forked while another thread holds a lock would wait for it for ever, so a fork takes them all."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final

_locks: Final[weakref.WeakSet[threading.RLock]] = weakref.WeakSet()
_held: Final[list[threading.RLock]] = []
_one_fork: Final = threading.RLock()


def hold_at_fork(lock: threading.RLock) -> None:
    """Hold a lock while this process forks, as long as it is there."""
    _locks.add(lock)


def _hold_all() -> None:
    _one_fork.acquire()
    for lock in list(_locks):
        lock.acquire()
        _held.append(lock)


def _release_all() -> None:
    while _held:
        _held.pop().release()
    _one_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_release_all)
