"""A power cut: what is left of the log is a prefix of what was committed, and the file is whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from helpers.clocks import wait_until
from helpers.faults import NIGHTLY
from helpers.histories import History, stored_in

TESTS = Path(__file__).parents[2]
BEFORE, STEPS = 24, 48
"""How many calls are in the file itself, and how many in its log."""
CUTS = 2_000 if NIGHTLY else 40
COPIES = 200 if NIGHTLY else 20
HEADER, FRAME_HEADER = 32, 24
"""How many bytes come before the frames of a log, and before the page in each frame."""

DYING_WRITER = """
import os, signal, sys
path, tests, before, steps = sys.argv[1:]
sys.path.insert(0, tests)
from annotation_queue import SQLiteRepository
from helpers.histories import History

with SQLiteRepository(path) as repository:
    history = History(repository)
    for _ in range(int(before)):
        history.step()
repository = SQLiteRepository(path)
history.go_on(repository)
for _ in range(int(steps)):
    history.step()
os.kill(os.getpid(), signal.SIGKILL)
"""

ENDLESS_WRITER = """
import os, sys
path, tests, log = sys.argv[1:]
sys.path.insert(0, tests)
from annotation_queue import SQLiteRepository
from helpers.histories import History

acknowledgements = os.open(log, os.O_WRONLY | os.O_APPEND)
with SQLiteRepository(path, synchronous="OFF") as repository:
    history = History(repository)
    while True:
        history.step()
        os.write(acknowledgements, b".")
"""


def logs_of(path: Path) -> Path:
    """Name the log of a file."""
    return Path(f"{path}-wal")


def prefixes(least: int, most: int) -> list[Any]:
    """Say what is stored after each number of calls."""
    with MemoryRepository() as repository:
        history = History(repository)
        stored = []
        for steps in range(most + 1):
            if steps >= least:
                stored.append(history.stored())
            history.step()
    return stored


def commits(log: bytes) -> list[int]:
    """List where in a log the commits end, by the format that SQLite documents."""
    page = int.from_bytes(log[8:12], "big")
    size = FRAME_HEADER + page
    starts = range(HEADER, len(log) - size + 1, size)
    return [start + size for start in starts if int.from_bytes(log[start + 4 : start + 8], "big")]


@pytest.mark.slow
def test_a_log_cut_or_garbled_anywhere_gives_exactly_the_commits_before_that_place(tmp_path: Path) -> None:
    path, copy = tmp_path / "queues.db", tmp_path / "copy.db"
    arguments = [str(path), str(TESTS), str(BEFORE), str(STEPS)]
    assert subprocess.run([sys.executable, "-c", DYING_WRITER, *arguments], check=False).returncode == -signal.SIGKILL
    whole = logs_of(path).read_bytes()
    ends = commits(whole)
    assert len(ends) == STEPS
    expected = prefixes(BEFORE, BEFORE + STEPS)
    assert len({str(each) for each in expected}) == STEPS + 1
    frame = FRAME_HEADER + int.from_bytes(whole[8:12], "big")
    dice = random.Random(3)  # noqa: S311 - where to cut, not a secret

    def what_is_left(log: bytes) -> object:
        for ending in ("-wal", "-shm"):
            Path(f"{copy}{ending}").unlink(missing_ok=True)
        shutil.copy(path, copy)
        logs_of(copy).write_bytes(log)
        with SQLiteRepository(copy, synchronous="OFF") as repository:
            assert repository.check() == ()
            return stored_in(repository)

    places = {0, 1, HEADER - 1, HEADER, len(whole), *(end + by for end in ends[:: STEPS // 4] for by in (-1, 0, 1))}
    for place in sorted(places | {dice.randrange(len(whole)) for _ in range(CUTS)}):
        assert what_is_left(whole[:place]) == expected[sum(end <= place for end in ends)]
        # As long as before, but what was not written yet reads as zeros, of which some are right.
        filled = whole[:place].ljust(len(whole), b"\0")
        right = next((at for at in range(place, len(whole)) if whole[at]), len(whole))
        assert what_is_left(filled) == expected[sum(end <= right for end in ends)]
    for _ in range(CUTS):
        place = dice.randrange(len(whole))
        garbled = bytearray(whole)
        garbled[place] ^= 1 << dice.randrange(8)
        start = max(place - HEADER, 0) // frame * frame + HEADER if place >= HEADER else 0
        assert what_is_left(bytes(garbled)) == expected[sum(end <= start for end in ends)]


@pytest.mark.slow
def test_a_copy_made_at_any_moment_holds_all_that_was_acknowledged_and_at_most_one_call_more(tmp_path: Path) -> None:
    path, log = tmp_path / "queues.db", tmp_path / "acknowledged"
    log.touch()
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS_WRITER, str(path), str(TESTS), str(log)])
    dice = random.Random(5)  # noqa: S311 - when to copy, not a secret
    copies: list[tuple[Path, int]] = []
    try:
        for number in range(COPIES):
            seen = log.stat().st_size
            goal = seen + dice.randrange(1, 20)
            wait_until(lambda goal=goal: log.stat().st_size >= goal)  # type: ignore[misc]  # a default binds the loop's value
            os.kill(writer.pid, signal.SIGSTOP)
            # A process stops at its next turn; only then is the copy one of an instant.
            os.waitpid(writer.pid, os.WUNTRACED)
            copy = tmp_path / f"copy-{number}.db"
            shutil.copy(path, copy)
            if logs_of(path).exists():
                shutil.copy(logs_of(path), logs_of(copy))
            copies.append((copy, log.stat().st_size))
            os.kill(writer.pid, signal.SIGCONT)
    finally:
        writer.kill()
        writer.wait()
    with MemoryRepository() as memory:
        history = History(memory)
        for copy, acknowledged in copies:
            with SQLiteRepository(copy, synchronous="OFF") as repository:
                assert repository.check() == ()
                stored = stored_in(repository)
            while history.steps < acknowledged:
                history.step()
            if stored != history.stored():
                history.step()
                assert stored == history.stored()
