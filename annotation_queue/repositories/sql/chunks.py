"""Items on their way into an SQL storage, a list at a time, and what a caller's own code raises meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

from annotation_queue.items import AddedItems

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from annotation_queue.items import AnnotationQueue, NewItem, QueueItem

CHUNK: Final = 2_000
"""How many items or ids go to the database at once."""
MOST_CHARACTERS: Final = 4 << 20
"""How many characters of texts go to the database at once, unless one text alone has more."""

_Member = TypeVar("_Member")


class CallerError(Exception):
    """Carries what the caller's code raised past the place where a driver's errors are translated; it is the cause."""


def add_each_call(items: Iterable[NewItem], add: Callable[[Sequence[NewItem]], Sequence[QueueItem]]) -> AddedItems:
    """Read what is to be added, each call once, and add it.

    The iterable is read to its end first: it may take its time, and raise what it wants, while nothing is locked. What is
    kept of it meanwhile is one item for each call.

    Args:
        items: What the caller gives.
        add: Adds those of a list whose calls are not taken, and gives them in order.

    Returns:
        What was added, and how many items were left out.
    """
    given = 0
    new: dict[str, NewItem] = {}
    for given, item in enumerate(items, 1):  # noqa: B007 - the last one is how many there were
        new.setdefault(item.call_id, item)
    try:
        added = add([*new.values()])
    except CallerError as carrier:
        error = cast("Exception", carrier.__cause__)
    else:
        return AddedItems(added=tuple(added), duplicates=given - len(added))
    # Out here, so that it keeps the cause that its raiser gave it.
    raise error


def in_chunks(members: Sequence[_Member]) -> Iterator[Sequence[_Member]]:
    """Cut a list into lists of at most `CHUNK`, in order."""
    return (members[start : start + CHUNK] for start in range(0, len(members), CHUNK))


def make_new(
    chunk: Sequence[NewItem],
    taken: Collection[str],
    make: Callable[[NewItem, AnnotationQueue], QueueItem],
    queue: AnnotationQueue,
) -> list[QueueItem]:
    """Make the items of a list whose calls are not taken, in order.

    Raises:
        CallerError: The caller's code raised something.
    """
    try:
        return [make(new, queue) for new in chunk if new.call_id not in taken]
    except Exception as error:
        raise CallerError from error


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
