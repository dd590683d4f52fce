"""Work on claims from shell scripts: each claim is a line of JSON that one process prints and another hands in."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from annotation_queue.cli.common import (
    FAILURES,
    HELD,
    choose_queue,
    db_option,
    fail,
    lease_option,
    open_queues,
    print_json,
    project_option,
    queue_option,
    say,
)
from annotation_queue.cli.jsonl import kind_of, parse_json
from annotation_queue.errors import ClaimLost, InvalidValue
from annotation_queue.items import Claim, ClaimRef, UnavailableReason
from annotation_queue.json_values import plain_json
from annotation_queue.values import check_id, check_integer, check_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from annotation_queue.cli.addresses import Address
    from annotation_queue.items import QueueItem, Unavailable
    from annotation_queue.queues import AnnotationQueues

_LONGEST_WAIT: Final = 1.0
_WHY: Final = {
    UnavailableReason.EMPTY: "the queue is empty",
    UnavailableReason.FINISHED: "every item is finished",
    UnavailableReason.PAUSED: "the queue is paused",
    UnavailableReason.ASSIGNED: "what is left is reserved for others",
    UnavailableReason.SEEN: "this annotator has labelled or skipped what is left; it waits for others",
}
_SHOWN: Final = ("call_op_name", "call_trace_id", "display_fields", "priority", "payload")
_CHECKS: Final[dict[str, Callable[[str, Any], object]]] = {
    "project_id": check_id,
    "queue_id": check_id,
    "item_id": check_id,
    "annotator_id": check_id,
    "token": partial(check_integer, minimum=1),
}


@attrs.frozen
class Held:
    """A claim as a script hands it in.

    Args:
        where: What messages call it.
        claim: What is known of it, by field.
        line: The whole line, which may have an annotation or a reason.
    """

    where: str
    claim: dict[str, Any]
    line: dict[str, Any]

    @property
    def reason(self) -> str | None:
        """The reason that came with it."""
        return self.line.get("reason")

    @property
    def annotation(self) -> Any:  # noqa: ANN401 - any JSON value
        """The label that came with it."""
        if "annotation" not in self.line:
            fail(f"{self.where}: there is no label: give LABEL, or a field 'annotation' in the line")
        return self.line["annotation"]

    def ref_for(self, queues: AnnotationQueues) -> ClaimRef:
        """Give the claim's reference; the service must be that of its project, and its queue must be there.

        Raises:
            QueueNotFound: It is not.
        """
        known = self.claim
        if known["project_id"] != queues.project_id:
            fail(f"{self.where}: the claim is of project {known['project_id']!r}; give it as --project")
        queues.get(known["queue_id"])
        return ClaimRef(item_id=known["item_id"], annotator_id=known["annotator_id"], token=known["token"])


def _print_claim(claim: Claim) -> None:
    item = claim.item
    print_json(
        {
            "project_id": item.project_id,
            "queue_id": item.queue_id,
            "item_id": item.id,
            "call_id": item.call_id,
            "annotator_id": claim.annotator_id,
            "token": claim.token,
            "expires_at": claim.expires_at,
            **{name: getattr(item, name) for name in _SHOWN},
        }
    )


def _read_claims(given: str | None) -> Iterator[Held]:
    """Read the claim of --claim, or one on each line of standard input."""
    if given is not None:
        yield _parse("--claim", given)
        return
    if sys.stdin.isatty():
        fail("give the claim on standard input, or with --claim")
    found = False
    for number, line in enumerate(sys.stdin.buffer, 1):
        if line.strip():
            found = True
            yield _parse(f"standard input:{number}", line.decode(errors="surrogateescape"))
    if not found:
        fail("standard input: there is no claim")


def _parse(where: str, text: str) -> Held:
    try:
        line = parse_json(text)
    except ValueError as error:
        fail(f"{where}: {error}")
    if not isinstance(line, dict):
        fail(f"{where}: a claim is a JSON object, not {kind_of(line)}")
    missing = [name for name in _CHECKS if name not in line]
    if missing:
        fail(f"{where}: no claim as claim prints it: no field {missing[0]!r}")
    try:
        claim = {name: check(name, line[name]) for name, check in _CHECKS.items()}
        plain_json("annotation", line.get("annotation"))
        if line.get("reason") is not None:
            check_text("reason", line["reason"])
    except InvalidValue as error:
        fail(f"{where}: {error}")
    return Held(where, claim, line)


def _settle(db: Address, project: str, given: str | None, act: Callable[[AnnotationQueues, Held], object]) -> int:
    """Act on each claim, and go on where one is lost."""
    held = list(_read_claims(given))
    lost = 0
    with open_queues(db, project) as queues:
        for each in held:
            try:
                act(queues, each)
            except ClaimLost as error:
                lost += 1
                say(f"{each.where}: {error}")
    return FAILURES if lost else 0


def _print_settled(item: QueueItem, annotator_id: str) -> None:
    print_json(
        {
            "item_id": item.id,
            "call_id": item.call_id,
            "annotator_id": annotator_id,
            "state": item.annotation_state,
            "updated_at": item.updated_at,
        }
    )


_claim_option = click.option(
    "--claim", "given", metavar="JSON", help="The line that claim printed.  [default: lines on standard input]"
)
_reason_option = click.option("--reason", metavar="TEXT", help="Why.  [default: the field reason of the line]")
_LOOP: Final = """
\b
Example:
  export ANNOTATION_QUEUE_DB=labels.db
  while claim=$(annotation-queue claim --annotator bob); do
    label=$(jq -c .payload <<<"$claim" | ./judge) &&
      annotation-queue complete "$label" --claim "$claim" ||
      annotation-queue skip --reason "judge failed" --claim "$claim"
  done
"""


@click.command(short_help="Take the next item to work on; prints the claim.", epilog=_LOOP)
@db_option
@project_option
@queue_option
@click.option("--annotator", required=True, metavar="NAME", help="Who works on it.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Take up to N items.  [default: 1]")
@lease_option("How long it is held without a heartbeat.  [default: the queue's]", default=None)
@click.option("--wait", is_flag=True, help="Wait while others hold what is left.")
@click.option("--item", "item_id", metavar="ITEM_ID", help="Take this item, and no other.")
def claim(
    *,
    db: Address,
    project: str,
    queue_name: str | None,
    annotator: str,
    limit: int | None,
    lease: timedelta | None,
    wait: bool,
    item_id: str | None,
) -> int:
    """Take the next item in queue order, and print the claim as one line of JSON.

    It is held until the lease ends. Hand the line to complete, skip, release or heartbeat, in any process; the token in
    it keeps a holder whose lease ran out from writing over the work of the next one.

    If there is nothing to claim, nothing is printed. The exit code is 4 if others hold what is left, so that there may be
    something later, else 1. If the claim cannot be printed, the item is given back.
    """
    if item_id is not None and limit is not None:
        fail("give --item or --limit, not both")
    with open_queues(db, project) as queues:
        queue_id = "" if item_id is not None and queue_name is None else choose_queue(queues, queue_name).id
        if item_id is not None and queue_id:
            queues.get_item(item_id, queue_id=queue_id)
        said = False
        while True:
            if item_id is not None:
                found = queues.claim_item(item_id, annotator, lease=lease)
            else:
                claims = queues.claim_batch(queue_id, annotator, limit or 1, lease=lease)
                if claims:
                    break
                found = queues.claim(queue_id, annotator, lease=lease)
            if isinstance(found, Claim):
                claims = (found,)
                break
            if not wait or found.retry_at is None:
                return _explain(found)
            if not said:
                said = True
                say(f"waiting: {_held(found)}")
            time.sleep(max(0.0, min((found.retry_at - utc_now()).total_seconds(), _LONGEST_WAIT)))
        _hand_out(queues, claims)
    return 0


def _hand_out(queues: AnnotationQueues, claims: Sequence[Claim]) -> None:
    """Print claims; those whose line could not be written are released, since nobody knows of them."""
    for index, each in enumerate(claims):
        try:
            _print_claim(each)
            sys.stdout.flush()
        except BaseException:
            for unknown in claims[index:]:
                with suppress(ClaimLost):
                    queues.release(unknown, "the claim could not be printed")
            raise


def _explain(found: Unavailable) -> int:
    if found.retry_at is None:
        say(f"nothing to claim: {_WHY[found.reason]}")
        return FAILURES
    say(f"nothing to claim now: {_held(found)}")
    return HELD


def _held(found: Unavailable) -> str:
    return f"others hold what is left, the first until {found.retry_at:%Y-%m-%d %H:%M:%S} UTC"


@click.command(
    short_help="Store the label of a claimed item.",
    epilog="""
\b
Examples:
  annotation-queue complete '{"n": 3}' --claim "$claim" --db labels.db
  annotation-queue complete --text good --claim "$claim" --db labels.db
  annotation-queue claim --annotator bob --limit 50 --db labels.db |
    jq -c '.annotation = {size: (.payload.text | length)}' |
    annotation-queue complete --db labels.db
""",
)
@click.argument("label", metavar="[LABEL]", required=False)
@db_option
@project_option
@_claim_option
@click.option("--text", is_flag=True, help="LABEL is text as it stands, not JSON.")
def complete(*, label: str | None, db: Address, project: str, given: str | None, text: bool) -> int:
    """Store LABEL, any JSON value, for what is claimed; without it, the field annotation of each line.

    All labels are stored together. The same label again for the same claim changes nothing and succeeds; another label corrects
    it. A line is printed for each label that is stored; if a claim is lost, its label is not stored and the exit code is 1.
    """
    annotation: Any = None
    if label is not None:
        annotation = label if text else _parse_label(label)
    elif text:
        fail("--text goes with LABEL")
    held = list(_read_claims(given))
    labels = [each.annotation if label is None else annotation for each in held]
    lost: list[str] = []
    with open_queues(db, project) as queues:
        refs = [each.ref_for(queues) for each in held]
        done = queues.complete_batch(zip(refs, labels, strict=True))
    for each, ref, result in zip(held, refs, done, strict=True):
        if isinstance(result, ClaimLost):
            lost.append(f"{each.where}: {result}")
        else:
            _print_settled(result, ref.annotator_id)
    for line in lost:
        say(line)
    return FAILURES if lost else 0


def _parse_label(label: str) -> object:
    try:
        return parse_json(label)
    except ValueError as error:
        fail(f"LABEL is {error}; give plain text with --text")


@click.command(short_help="Finish a claimed item without a label.")
@db_option
@project_option
@_claim_option
@_reason_option
def skip(*, db: Address, project: str, given: str | None, reason: str | None) -> int:
    """Finish what is claimed without a label. Again with the same claim it changes nothing and succeeds."""

    def act(queues: AnnotationQueues, held: Held) -> None:
        item = queues.skip(held.ref_for(queues), held.reason if reason is None else reason)
        _print_settled(item, held.claim["annotator_id"])

    return _settle(db, project, given, act)


@click.command(short_help="Give a claimed item back.")
@db_option
@project_option
@_claim_option
@_reason_option
def release(*, db: Address, project: str, given: str | None, reason: str | None) -> int:
    """Give back what is claimed; it can be claimed again at once. Again with the same claim: exit code 1."""

    def act(queues: AnnotationQueues, held: Held) -> None:
        item = queues.release(held.ref_for(queues), held.reason if reason is None else reason)
        _print_settled(item, held.claim["annotator_id"])

    return _settle(db, project, given, act)


@click.command(short_help="Hold a claimed item longer.")
@db_option
@project_option
@_claim_option
@lease_option("How long from now.  [default: the queue's lease]", default=None)
def heartbeat(*, db: Address, project: str, given: str | None, lease: timedelta | None) -> int:
    """Prolong what is claimed, and print the claim with its new end. The line of before is as good."""
    return _settle(
        db, project, given, lambda queues, held: _print_claim(queues.heartbeat(held.ref_for(queues), lease=lease))
    )
