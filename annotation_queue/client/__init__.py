"""The service of another machine over HTTP, without a password of its database: every method of `AnnotationQueues`.

What `annotation_queue.web.create_app` serves below ``/v1`` is asked here, with the credentials of one annotator:

```python
from annotation_queue.client import RemoteQueues

with RemoteQueues("https://example.com/weave", "acme/chatbot", token="a-key") as queues:
    while claim := queues.claim(queue_id, "ann"):
        queues.complete(claim, label(claim.item.payload))
```

It needs httpx (extra ``client``). Arguments, answers and errors are those of the method of the same name, the classes of
errors too. An ``annotator_id`` that works, a ``created_by``, an ``added_by`` and an ``actor_id`` are the user of the
credentials: another is `RequestRefused`.
`AsyncRemoteQueues` has the same methods as coroutines.

- Listings come a page at a time, of at most 1,000 entities and some MiB: ``iter_items`` and ``iter_labels`` hold no more than
  one; ``query_items`` and the like join them, so that a listing of several pages is not of one instant.
- If the server cannot be reached nothing was written: `StorageBusy`. If the connection ends before its answer is there:
  `OutcomeUnknown`, and the docstring of the method says what to do.
- One request has at most 16 MiB: what is longer is `InvalidValue`, and nothing is sent.
"""

from annotation_queue.client.coroutines import AsyncRemoteQueues
from annotation_queue.client.exchanges import RequestRefused
from annotation_queue.client.queues import RemoteQueues

__all__ = ["AsyncRemoteQueues", "RemoteQueues", "RequestRefused"]
