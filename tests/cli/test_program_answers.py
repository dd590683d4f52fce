"""``label --exec``: whatever a program writes besides its answers, no item gets the label of another one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.shells import Shell

PROLOGUE = """
import json, os, sys, threading, time

def items():
    for line in sys.stdin:
        item = json.loads(line)
        if not os.path.exists("first"): open("first", "w").write(str(item["payload"]["id"]))
        yield item["$item"], item["payload"]["id"]

def write(text):
    os.write(1, text.encode())

def say(label):
    write(json.dumps(label) + "\\n")
"""
COUNT = 12


@pytest.fixture(autouse=True)
def _at_once(no_waits: None) -> None:
    """Retry at once."""


def label(shell: Shell, body: str, *more: str, code: int = 1) -> str:
    """Label the records by a program; give what was said."""
    shell.records(COUNT)
    (shell.folder / "judge.py").write_text(PROLOGUE + body)
    _, err = shell.label("items.jsonl", "--exec", f"'{sys.executable}' -S judge.py", *more, code=code)
    return err


def first_asked(shell: Shell) -> str:
    """Say which call the program was asked first: the threads race for it."""
    return repr((shell.folder / "first").read_text())


def stored(shell: Shell) -> dict[str, object]:
    return {line["call_id"]: line["annotation"] for line in shell.lines("export")}


def is_all_before(labels: dict[str, object], odd: int) -> bool:
    """Only what was answered before is stored, in whichever order threads came to it; some may be given back at the end."""
    return labels.keys() <= {str(n) for n in range(odd)}


def check_none_is_wrong(shell: Shell, err: str, doubtful: str | None = None) -> dict[str, object]:
    """Every label that is stored is that of its item, and what is in doubt is named and free to be labelled."""
    labels = stored(shell)
    assert labels == {call: int(call) for call in labels}
    assert "a line too many" in err
    assert "see annotation-queue label --help" in err
    (row,) = shell.lines("stats", "--json")
    assert row["by_state"]["in_progress"] == row["by_state"]["skipped"] == 0
    if doubtful is not None:
        assert f"were not stored: {doubtful}." in err
    return labels


@pytest.mark.parametrize(
    "banner",
    [
        "say({'msg': 'ready'})",
        "time.sleep(0.3); say({'msg': 'ready'})",
        "write('{\"msg\"'); time.sleep(0.3); write(': \"ready\"}\\n')",
        "write('Loading ...\\n')",
        "write('{\"msg\": ')",
    ],
)
@pytest.mark.parametrize("pause", [0, 0.05])
def test_a_banner_before_the_first_item_is_nobodys_label(shell: Shell, banner: str, pause: float) -> None:
    body = f"{banner}\nfor _, n in items():\n    time.sleep({pause})\n    say(n)\n"
    err = label(shell, body)
    assert check_none_is_wrong(shell, err) == {}
    assert "no label is in doubt" in err


@pytest.mark.parametrize("pause", [0, 0.05, 0.4])
def test_a_banner_after_the_first_item_was_read_is_nobodys_label(shell: Shell, pause: float) -> None:
    err = label(
        shell,
        f"""
is_first = True
for _, n in items():
    if is_first: say({{"msg": "the model is loaded"}})
    is_first = False
    time.sleep({pause})
    say(n)
""",
    )
    assert check_none_is_wrong(shell, err, first_asked(shell)) == {}


def test_a_banner_that_is_flushed_with_the_first_answer_is_nobodys_label(shell: Shell) -> None:
    err = label(
        shell,
        """
sys.stdout = open(1, "w", buffering=1 << 16, closefd=False)
print('{"msg": "ready"}')
for _, n in items():
    print(n)
    sys.stdout.flush()
""",
    )
    assert check_none_is_wrong(shell, err, first_asked(shell)) == {}


@pytest.mark.parametrize("pause", [0, 0.05, 0.4])
@pytest.mark.parametrize("odd", [0, 6, 11])
def test_a_log_line_in_the_middle_is_nobodys_label(shell: Shell, odd: int, pause: float) -> None:
    err = label(
        shell,
        f"""
for _, n in items():
    if n == {odd}:
        say({{"msg": "slow today"}})
        time.sleep({pause})
    say(n)
""",
    )
    assert is_all_before(check_none_is_wrong(shell, err, f"'{odd}'"), odd)


@pytest.mark.parametrize("pause", [0, 0.05, 0.4])
@pytest.mark.parametrize("odd", [0, 6, 11])
def test_a_second_answer_is_nobodys_label(shell: Shell, odd: int, pause: float) -> None:
    err = label(
        shell,
        f"""
for _, n in items():
    say(n)
    if n == {odd}:
        time.sleep({pause})
        say("again")
""",
    )
    assert is_all_before(check_none_is_wrong(shell, err, f"'{odd}'"), odd)


@pytest.mark.parametrize("write", ["say(n); say('again')", "write(f'{n}\\n{n}\\n')"], ids=["apart", "at once"])
@pytest.mark.parametrize(("odd", "doubtful"), [(0, "'0'"), (1, "'0', '1'"), (2, "'2'"), (11, "'11'")])
def test_the_first_label_is_in_doubt_until_the_second_one_is_certain(
    shell: Shell, odd: int, doubtful: str, write: str
) -> None:
    err = label(
        shell,
        f"""
for _, n in items():
    if n == {odd}: {write}
    else: say(n)
""",
    )
    check_none_is_wrong(shell, err, doubtful)


def test_two_answers_in_one_write_are_nobodys_label(shell: Shell) -> None:
    err = label(shell, "for _, n in items(): write(f'{n}\\n{n}\\n' if n == 3 else f'{n}\\n')")
    assert is_all_before(check_none_is_wrong(shell, err, "'3'"), 3)


@pytest.mark.parametrize("pause", [0, 0.4])
@pytest.mark.parametrize("last", ['say({"bye": 1})', "write('1')", "write('done\\n')"])
def test_a_line_after_the_last_puts_the_last_label_in_doubt(shell: Shell, last: str, pause: float) -> None:
    err = label(shell, f"for _, n in items(): say(n)\ntime.sleep({pause})\n{last}\n")
    assert is_all_before(check_none_is_wrong(shell, err, "'11'"), 11)


def test_a_thread_that_logs_at_any_moment_never_shifts_a_label(shell: Shell) -> None:
    err = label(
        shell,
        """
def log():
    while True:
        time.sleep(0.023)
        say({"msg": "alive"})
threading.Thread(target=log, daemon=True).start()
for _, n in items():
    time.sleep(0.01)
    say(n)
""",
    )
    check_none_is_wrong(shell, err)


def test_a_program_that_reads_ahead_is_found_out_before_its_first_label_is_stored(shell: Shell) -> None:
    err = label(
        shell,
        """
lines = []
threading.Thread(target=lambda: [lines.append(line) for line in sys.stdin], daemon=True).start()
say_first = True
while True:
    while not lines:
        time.sleep(0.001)
    n = json.loads(lines.pop(0))["payload"]["id"]
    if say_first: say({"msg": "ready"})
    say_first = False
    time.sleep(0.1)
    say(n)
""",
    )
    assert check_none_is_wrong(shell, err) == {}


def test_several_processes_are_told_apart(shell: Shell) -> None:
    # The third answer of one process: with a second one, the first is in doubt too, and which item is whose second is luck.
    err = label(
        shell,
        """
for count, (_, n) in enumerate(items()):
    time.sleep(0.01)
    say(n)
    if count == 2:
        try: file = open("odd", "x")
        except FileExistsError: continue
        file.write(str(n))
        file.close()
        say("again")
""",
        "--workers",
        "3",
    )
    odd = (shell.folder / "odd").read_text()
    assert odd not in check_none_is_wrong(shell, err, repr(odd))


def test_answers_may_be_split_over_writes(shell: Shell) -> None:
    label(
        shell,
        """
for _, n in items():
    for part in (f'{{"n"', ": ", f"{n}}}", "\\n"):
        write(part)
        time.sleep(0.005)
""",
        code=0,
    )
    assert stored(shell) == {str(n): {"n": n} for n in range(COUNT)}


def test_answers_with_their_items_number_are_taken_at_once(shell: Shell) -> None:
    label(
        shell,
        """
for number, n in items():
    if n == 1: say({"$item": number, "$skip": "too short"})
    elif n == 2: say({"$item": number, "$label": {"$skip": "kept as a label"}})
    elif n == 3: say({"$item": number, "n": 3})
    else: say({"$item": number, "$label": n})
""",
        code=0,
    )
    usual = {str(n): n for n in range(4, COUNT)}
    assert stored(shell) == {"0": 0, "1": None, "2": {"$skip": "kept as a label"}, "3": {"n": 3}, **usual}


def test_an_answer_with_the_number_of_another_item_ends_the_run(shell: Shell) -> None:
    err = label(shell, "for number, n in items(): say({'$item': number - (n == 5), '$label': n})")
    assert "answered item 5 when it was asked about item 6" in err
    assert "were not stored: '5'." in err
    assert is_all_before(stored(shell), 5)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"$item": "number"}, "answered $item with nothing else"),
        ({"$item": "number", "$lable": 1}, "answered $item with $lable"),
        ({"$item": "number", "$label": 1, "reason": 2}, "answered $item with $label"),
    ],
)
def test_an_answer_that_has_a_number_and_no_label_fails_the_attempt(
    shell: Shell, answer: dict[str, object], problem: str
) -> None:
    body = f"for number, n in items(): say({{**{answer!r}, '$item': number}})"
    err = label(shell, body, "--max-attempts", "1", "--limit", "1")
    assert problem in err


def test_a_line_without_a_number_among_answers_with_numbers_ends_the_run(shell: Shell) -> None:
    err = label(
        shell,
        """
for number, n in items():
    if n == 4: say({"msg": "slow today"})
    say({"$item": number, "$label": n})
""",
    )
    assert "a line too many" in err
    assert is_all_before(stored(shell), 4)


def test_a_dry_run_is_as_strict(shell: Shell) -> None:
    err = label(shell, "say({'msg': 'ready'})\nfor _, n in items(): say(n)", "--dry-run")
    assert "a line too many" in err
    assert not shell.exists("labels.db")
