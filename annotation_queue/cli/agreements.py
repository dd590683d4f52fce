"""How far annotators agree, and on which items they differ."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from annotation_queue.agreement import agreement as compare
from annotation_queue.agreement import category, value_at
from annotation_queue.cli.common import (
    choose_queue,
    db_option,
    fail,
    open_queues,
    print_json,
    project_option,
    queue_option,
    say,
    to_json,
)
from annotation_queue.cli.jsonl import kind_of
from annotation_queue.cli.tables import FOLDED, NUMBER, make_console, make_table, print_table, row
from annotation_queue.cli.views import percent
from annotation_queue.errors import InvalidValue, ItemNotFound
from annotation_queue.labels import LabelQuery
from annotation_queue.states import COMPLETED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from annotation_queue.agreement import Agreement, Level, PairAgreement
    from annotation_queue.cli.addresses import Address
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.states import Progress

_SHOWN: Final = 20


@attrs.define
class _Labels:
    """The labels of a queue, walked over as they are compared.

    Args:
        queues: The service.
        queue_id: The queue.
        annotators: Whose labels.
        field: The field of a label that is compared; None for the whole label.
        lacking: How many labels were left out, because they have no such field or it is null.
    """

    queues: AnnotationQueues
    queue_id: str
    annotators: Sequence[str]
    field: str | None
    lacking: int = 0

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give each item with labels: its id, and the labels by annotator."""
        by_item: dict[str, dict[str, Any]] = {}
        query = LabelQuery(states=frozenset({COMPLETED}), include_payload=False)
        for each in self.queues.iter_labels(self.queue_id, query):
            progress = each.progress
            if progress.annotator_id in self.annotators:
                label = value_at(progress.annotation, self.field)
                if label is None:
                    self.lacking += 1
                else:
                    _check(label, progress)
                    by_item.setdefault(progress.item_id, {})[progress.annotator_id] = label
        yield from by_item.items()

    def differing(self, item_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Show what the annotators said of items."""
        for item_id in item_ids:
            with suppress(ItemNotFound):  # it was removed meanwhile
                item = self.queues.get_item(item_id)
                given = {
                    each.annotator_id: value_at(each.annotation, self.field) for each in self.queues.progress(item_id)
                }
                labels = {name: given[name] for name in sorted(self.annotators) if given.get(name) is not None}
                yield {"item_id": item_id, "call_id": item.call_id, "labels": labels}


def _check(label: Any, progress: Progress) -> None:  # noqa: ANN401 - any JSON value
    try:
        category(label)
    except InvalidValue:
        inside = f", which has {', '.join(map(repr, label))}" if isinstance(label, dict) else ""
        fail(
            f"{progress.annotator_id!r} labelled item {progress.item_id!r} with {kind_of(label)}{inside}: "
            f"name the field to compare with --field"
        )


@click.command(
    short_help="Compare the labels of annotators.",
    epilog="""
\b
Examples:
  annotation-queue agreement --field label --db labels.db
  annotation-queue agreement --field label --db labels.db \\
      --annotator gpt-a --annotator ann
  annotation-queue agreement --field label --db labels.db --json | jq .kappa
""",
)
@db_option
@project_option
@queue_option
@click.option(
    "--field", metavar="FIELD", help="The field of a label to compare; a.b is b within a.  [default: the whole label]"
)
@click.option(
    "--annotator", "annotators", metavar="NAME", multiple=True, help="Compare these.  [default: all with a label]"
)
@click.option(
    "--level",
    type=click.Choice(["nominal", "ordinal", "interval", "ratio"]),
    default="nominal",
    show_default=True,
    help="What a difference between two labels means, for alpha; all but nominal take numbers.",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    help=f"List at most N items on which they differ.  [default: {_SHOWN}, all with --json]",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON line.")
def agreement(
    *,
    db: Address,
    project: str,
    queue_name: str | None,
    field: str | None,
    annotators: tuple[str, ...],
    level: Level,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show how far annotators agree over categorical labels, and list the items on which they differ.

    Labels are text, numbers or booleans. The first line counts the items that all of them labelled: the share on which
    all agree, and kappa, which leaves out what chance alone would give (1: always the same, 0: no more than chance):
    Cohen's for two annotators, Fleiss' for more. Then every two are compared on the items that both labelled. Alpha is
    Krippendorff's, over every item that two or more labelled. Skipped items have no label. Kappa and alpha are empty if there
    is but one label in all.
    """
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        known = queues.stats([queue.id])[0].by_annotator
        chosen = list(dict.fromkeys(annotators)) or [name for name, counts in known.items() if counts.get(COMPLETED)]
        if len(chosen) < 2:  # noqa: PLR2004 - one agrees with nobody
            fail(f"queue {queue.name!r} has labels of {len(chosen)} of the annotators: there is nothing to compare")
        for name in chosen:
            if name not in known:
                fail(f"annotator {name!r} has done nothing in queue {queue.name!r}")
        labels = _Labels(queues, queue.id, chosen, field)
        try:
            found = compare(chosen, labels, level=level)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"numpy", "statsmodels"}:
                raise
            fail('kappa needs an extra: pip install "annotation-queue[agreement]"')
        shown = found.differing[: limit if as_json or limit is not None else _SHOWN]
        differing = list(labels.differing(shown))
    if labels.lacking:
        say(f"{labels.lacking:,} labels without {'a value' if field is None else repr(field)} are left out")
    if as_json:
        print_json({"queue": queue.name, "field": field, **_plain(found), "differing": differing})
        return
    _print(found, differing)
    if len(found.differing) > len(differing):
        say(f"{len(differing):,} of {len(found.differing):,} items on which they differ; see --limit")


def _plain(found: Agreement) -> dict[str, Any]:
    pairs = [{**attrs.asdict(pair), "share": pair.share} for pair in found.pairs]
    return {**attrs.asdict(found, recurse=False), "share": found.share, "pairs": pairs}


def _print(found: Agreement, differing: Sequence[dict[str, Any]]) -> None:
    console = make_console()
    table = make_table(
        None, [("annotators", FOLDED), *((name, NUMBER) for name in ("items", "agreed", "share", "kappa", "alpha"))]
    )
    rows: list[Agreement | PairAgreement] = [*found.pairs]
    if len(found.pairs) > 1:
        rows.insert(0, found)
    for each in rows:
        kappa = None if each.kappa is None else f"{each.kappa:.3f}"
        # Two annotators alone are a pair; alpha is told once, in the first line.
        alpha = None if each is not rows[0] or found.alpha is None else f"{found.alpha:.3f}"
        share = percent(each.agreed, each.items)
        table.add_row(*row(", ".join(each.annotators), each.items, each.agreed, share, kappa, alpha))
    print_table(console, table)
    if differing:
        console.print()
        table = make_table(None, [(name, FOLDED) for name in ("call", *found.annotators)])
        for each_item in differing:
            labels = each_item["labels"]
            given = [to_json(labels[name]) if name in labels else None for name in found.annotators]
            table.add_row(*row(each_item["call_id"], *given))
        print_table(console, table)
