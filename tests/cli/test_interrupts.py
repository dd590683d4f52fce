"""``annotation-queue label`` killed, interrupted and run again."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, SQLiteRepository
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from helpers.shells import Shell


@pytest.mark.slow
def test_a_job_killed_half_way_is_completed_by_running_it_again(shell: Shell) -> None:
    shell.records(400)
    command = ("items.jsonl", "--lease", "2", "--workers", "2")
    process = shell.start(*shell.label_command(*command, labeler="slow"))
    wait_until(lambda: shell.exists("progress") and len((shell.folder / "progress").read_text().splitlines()) > 150)
    process.kill()
    process.communicate(timeout=PATIENCE)
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        queue = queues.query().queues[0]
        stored = {
            item.call_id: queues.progress(item.id)[0] for item in queues.iter_items(queue.id) if item.annotator_user_id
        }
    done = {call_id for call_id, progress in stored.items() if progress.state == "completed"}
    assert 0 < len(done) < 400
    assert any(progress.state == "in_progress" for progress in stored.values())
    (shell.folder / "progress").unlink()

    _, err = shell.label(*command, "--export", "out.jsonl", labeler="slow")

    assert "0 added" in err
    # Two workers labelled them, in no particular order.
    lines = sorted(shell.read("out.jsonl"), key=lambda line: int(line["call_id"]))
    assert [line["call_id"] for line in lines] == [str(n) for n in range(400)]
    assert [line["annotation"] for line in lines] == [{"size": n % 7} for n in range(400)]
    assert {line["state"] for line in lines} == {"completed"}
    assert not done & set((shell.folder / "progress").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_releases_its_items_and_says_so(shell: Shell, number: signal.Signals) -> None:
    shell.records(1_000)
    process = shell.start(*shell.label_command("items.jsonl", "--export", "out.jsonl", labeler="slow"))
    wait_until(lambda: shell.exists("progress"))
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert not shell.exists("out.jsonl")
    (row,) = [json.loads(line) for line in shell.run("stats", "--db", "labels.db", "--json")[0].splitlines()]
    assert row["by_state"]["in_progress"] == 0
    assert row["by_state"]["completed"] > 0
    assert row["by_state"]["unstarted"] > 0


def test_a_second_interrupt_stops_at_once(shell: Shell) -> None:
    shell.records(3)
    process = shell.start(*shell.label_command("items.jsonl", labeler="stuck"))
    assert process.stderr is not None
    wait_until(lambda: shell.exists("stuck"))
    process.send_signal(signal.SIGINT)
    while "stopping" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "annotation-queue: interrupted"
