"""Every error the library raises, below one root; each is also a fitting builtin.

Errors carry their data as attributes, say in one sentence what happened, to what and what to do, and survive pickling.
"""

from __future__ import annotations


class AnnotationQueueError(Exception):
    """Root of every error that this library raises on purpose."""


class InvalidValue(AnnotationQueueError, ValueError):
    """A value was refused before anything was stored.

    Args:
        field: Name of the argument or field, as a path where it is nested (``payload.a[3]``).
        kind: What was given instead, in words (``bool``, ``an empty str``).
        expected: What the field takes, with its limit.
    """

    def __init__(self, field: str, kind: str, expected: str) -> None:
        super().__init__(field, kind, expected)
        self.field = field
        self.kind = kind
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, got {self.kind}"


class InvalidLabel(InvalidValue):
    """A label does not satisfy its queue's ``label_schema``; ``field`` says where in it, and ``kind`` says why."""


class InvalidQuery(InvalidValue):
    """A query was refused: an unknown sort field, a negative limit, an offset together with a cursor."""


class InvalidCursor(InvalidQuery):
    """A cursor is not one that this library made for this queue, sort and perspective; start the walk again."""


class InvalidTransition(AnnotationQueueError, ValueError):
    """The workflow has no move between the two states.

    Args:
        from_state: The state the progress is in.
        to_state: The state that was asked for.
        workflow: Name of the workflow that refused.
    """

    def __init__(self, from_state: str, to_state: str, workflow: str) -> None:
        super().__init__(from_state, to_state, workflow)
        self.from_state = from_state
        self.to_state = to_state
        self.workflow = workflow

    def __str__(self) -> str:
        return f"the {self.workflow} workflow has no move from {self.from_state} to {self.to_state}"


class NotFound(AnnotationQueueError, LookupError):
    """What was asked for does not exist, was deleted, or belongs to another project: the three look the same."""


class QueueNotFound(NotFound):
    """No live queue with this id in this project.

    Args:
        queue_id: The id that was asked for.
    """

    def __init__(self, queue_id: str) -> None:
        super().__init__(queue_id)
        self.queue_id = queue_id

    def __str__(self) -> str:
        return f"no queue {self.queue_id!r} in this project"


class ItemNotFound(NotFound):
    """No live item with this id in this project, or not in the queue that was named.

    Args:
        item_id: The id that was asked for.
    """

    def __init__(self, item_id: str) -> None:
        super().__init__(item_id)
        self.item_id = item_id

    def __str__(self) -> str:
        return f"no item {self.item_id!r} in this project or queue"


class Conflict(AnnotationQueueError, RuntimeError):
    """Somebody else changed the same thing in between, or an id is already taken; read again and retry.

    Args:
        what: What could not be written, in words.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}; read it again and retry"


class ClaimLost(AnnotationQueueError, RuntimeError):
    """The claim no longer holds its item, so nothing was written; drop the work and claim again.

    Args:
        item_id: The item of the claim.
        annotator_id: Who held it.
        token: The fencing token of the claim.
    """

    def __init__(self, item_id: str, annotator_id: str, token: int) -> None:
        super().__init__(item_id, annotator_id, token)
        self.item_id = item_id
        self.annotator_id = annotator_id
        self.token = token

    def __str__(self) -> str:
        return (
            f"claim {self.token} of {self.annotator_id!r} on item {self.item_id!r} is lost: it was finished, released, "
            f"taken over after its lease or removed; claim again"
        )


class StorageError(AnnotationQueueError, OSError):
    """The storage failed; what the call would have written is not there.

    Args:
        what: What happened and what to do, in one sentence.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return self.what


class StorageUnreachable(StorageError, ConnectionError):
    """The server cannot be connected to: it is down, or out of reach; nothing was written, so try again when it is there."""


class StorageDenied(StorageError, PermissionError):
    """The storage may not be used like that: a role without rights, or a read-only replica; nothing was written."""


class StorageBusy(StorageError, TimeoutError):
    """The storage stayed locked past the deadline; nothing was written, so try again."""


class StorageFull(StorageError):
    """There is no room; nothing was written, and the repository works again once there is room."""


class StorageCorrupt(StorageError):
    """The storage is damaged or is not ours; it was left as it is."""


class SchemaVersionUnknown(StorageError):
    """The storage was written by a newer version of this library; it was left as it is.

    Args:
        what: Which storage.
        found: The schema version it has.
        supported: The newest schema version that this library knows.
    """

    def __init__(self, what: str, found: int, supported: int) -> None:
        super().__init__(what)
        self.args: tuple[object, ...] = (what, found, supported)
        self.found = found
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"{self.what} has schema version {self.found}, and this library knows versions up to {self.supported}; "
            f"upgrade annotation-queue"
        )


class OutcomeUnknown(StorageError, ConnectionError):
    """The connection died during a commit, so the write may or may not be there.

    The docstring of each method of `AnnotationQueues` says what to do then: nearly all may be repeated as they were.
    """
