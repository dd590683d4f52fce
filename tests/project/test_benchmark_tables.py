"""The figures that are shown are those of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def test_the_page_of_the_benchmarks_shows_the_tables_of_the_stored_run() -> None:
    command = [sys.executable, "-m", "benchmarks.tables", "benchmarks/results/report.json"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout

    assert "| claim + complete" in printed
    assert printed in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "benchmarks" / "results" / "sizes.svg").exists()
