"""Items on their way into an SQL storage, a list at a time, and what a caller's own code raises meanwhile."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from annotation_queue.items import AnnotationQueue, NewItem, QueueItem

CHUNK: Final = 2_000
"""How many items or ids go to the database at once."""
MOST_CHARACTERS: Final = 4 << 20
"""How many characters of texts do, or one text."""


class CallerError(Exception):
    """Carries what the caller's code raised past the place where a driver's errors are translated; it is the cause."""


def in_chunks(items: Iterable[NewItem]) -> Iterator[list[NewItem]]:
    """Cut an iterable into lists of `CHUNK`, reading no further than the list that is asked for.

    Raises:
        CallerError: The iterable raised something.
    """
    source = iter(items)
    while True:
        try:
            chunk = list(islice(source, CHUNK))
        except Exception as error:
            raise CallerError from error
        if not chunk:
            return
        yield chunk


def make_new(
    chunk: Sequence[NewItem],
    taken: Collection[str],
    make: Callable[[NewItem, AnnotationQueue], QueueItem],
    queue: AnnotationQueue,
) -> list[QueueItem]:
    """Make the items of a list whose calls are neither taken nor repeated in it, in order.

    Raises:
        CallerError: The caller's code raised something.
    """
    seen = set(taken)
    made: list[QueueItem] = []
    try:
        for new in chunk:
            if new.call_id not in seen:
                seen.add(new.call_id)
                made.append(make(new, queue))
    except Exception as error:
        raise CallerError from error
    return made


def spans(sizes: Iterable[int]) -> Iterator[slice]:
    """Cut a list into slices of at most `CHUNK` members, which all are small enough, or of one member.

    Args:
        sizes: The characters of each member.

    Yields:
        The slices, in order.
    """
    start = size = 0
    index = -1
    for index, characters in enumerate(sizes):
        size += characters
        if index > start and (size > MOST_CHARACTERS or index - start == CHUNK):
            yield slice(start, index)
            start, size = index, characters
    if index >= start:
        yield slice(start, index + 1)
