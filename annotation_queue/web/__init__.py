"""The published APIs over HTTP: an ASGI app for any backend to mount (extra ``web``).

``annotation_queue.wire`` has the requests and answers of W&B Weave's nine annotation-queue operations and of EvalGuard's
update of an item as typed messages, for routes of your own; it knows nothing of HTTP. Unknown fields are refused, nothing
is coerced, and every fault is named at once. In FastAPI:

```python
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from annotation_queue import AnnotationQueueError, AnnotationQueues, SQLiteRepository
from annotation_queue.wire import weave

backend = FastAPI()
labels = SQLiteRepository("labels.db")


def current_user(request: Request) -> str:
    return request.headers["x-user"]  # who it is, and what they may see, is yours to decide


@backend.post("/annotation_queues/{queue_id}/items/{item_id}/progress")
def update(queue_id: str, item_id: str, body: Annotated[Any, Body()], user: Annotated[str, Depends(current_user)]):
    message = weave.read(weave.ProgressBody, body)
    queues = AnnotationQueues(labels, message.project_id)
    return weave.write(weave.update_progress(queues, queue_id, item_id, message, annotator_id=user))


@backend.exception_handler(AnnotationQueueError)
def refuse(request: Request, error: AnnotationQueueError) -> JSONResponse:
    status, body = weave.refusal(error)
    return JSONResponse(body, status)
```

Or take all of it as one ASGI app (extra ``web``), below any prefix of yours. Weave's own client works against it:
``WeaveTrace(base_url="https://example.com/weave", username="api", password="a-key")``.

```python
import hmac

from annotation_queue.web import Credentials, Principal, create_app


def authenticate(credentials: Credentials) -> Principal | None:
    known = hmac.compare_digest(credentials.secret.encode(), b"a-key")
    return Principal("ann", project_ids=["acme/chatbot"]) if known else None


backend.mount("/weave", create_app(labels, authenticate=authenticate, rate_limit="600/minute"))
```

Below ``/v1`` it serves the whole of `AnnotationQueues` as JSON, a path for each method: ``POST
/weave/v1/queues/{queue_id}/claims?project_id=acme/chatbot`` claims, and the claim's ``ref`` is sent back to complete it. An
error is ``{"error": "claim_lost", "message": ...}`` with its data. `annotation_queue.client` is a Python client of it.

``create_app(..., pages=True)`` serves pages too, below ``/pages``: one to label in, with the form that the queue's
``label_schema`` asks for, and a dashboard. People sign in to them with a token that ``authenticate`` knows as a bearer token;
``PageOptions`` says under which names they are served and how long one stays signed in.

The annotator is always the user that the credentials belong to. ``/weave/openapi.json`` describes what is served. To try it
by hand, ``annotation-queue serve --db labels.db`` (extras ``cli,web``) serves a file to yourself, with the pages, and
``--token-file tokens.toml`` to whoever has one of the tokens:

```toml
[[tokens]]
token = "a-key"
user = "ann"
projects = ["acme/chatbot"]
```
"""

from annotation_queue.web.access import Action, Authenticate, Authorize, Credentials, Principal
from annotation_queue.web.app import create_app
from annotation_queue.web.pages.options import OneTimeTokens, PageOptions

__all__ = [
    "Action",
    "Authenticate",
    "Authorize",
    "Credentials",
    "OneTimeTokens",
    "PageOptions",
    "Principal",
    "create_app",
]
