"""Run a program as on a system without POSIX: no fork, no fcntl, and only those signals that every system has.

``python no_posix.py PROGRAM.py ARGUMENTS`` takes away what such a system lacks, and then runs the program.
"""

from __future__ import annotations

# The standard library itself is made for the system that it runs on: what it needs is imported first.
import asyncio  # noqa: F401
import logging.handlers  # noqa: F401
import multiprocessing  # noqa: F401
import os
import runpy
import signal
import sqlite3  # noqa: F401
import subprocess  # noqa: F401
import sys

MODULES = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
OF_OS = [
    *("fork", "forkpty", "register_at_fork", "wait", "waitid", "waitstatus_to_exitcode", "killpg", "setsid", "uname"),
    *("P_PID", "WEXITED", "WNOHANG", "WNOWAIT", "CLD_EXITED", "getpgid", "getpgrp", "getuid", "geteuid", "getgid"),
    *("getegid", "getgroups", "fchmod", "fchown", "chown", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "mkfifo"),
    *("openpty", "posix_fadvise", "sched_yield", "sched_getaffinity", "set_blocking"),
]
OF_SIGNAL = ["pthread_kill", "pthread_sigmask", "sigwait", "sigpending", "setitimer", "alarm", "pause", "siginterrupt"]
EVERYWHERE = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV", "SIG_DFL", "SIG_IGN"}


def take_away() -> None:
    """Take away what only POSIX has."""
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in OF_SIGNAL:
        if hasattr(signal, name):
            delattr(signal, name)
    for name in [name for name in vars(signal) if name.startswith("SIG") and name not in EVERYWHERE]:
        delattr(signal, name)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    take_away()
    runpy.run_path(sys.argv[0], run_name="__main__")
