"""The document that describes the app: the operations, their fields and words, and random requests made from it."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, MemoryRepository, __version__
from annotation_queue.web import create_app
from helpers.servers import authenticate, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx
    from starlette.types import Message, Receive, Scope, Send

OPERATIONS = {
    ("post", "/annotation_queues"): "create",
    ("post", "/annotation_queues/query"): "query",
    ("post", "/annotation_queues/stats"): "stats",
    ("get", "/annotation_queues/{queue_id}"): "read",
    ("put", "/annotation_queues/{queue_id}"): "update",
    ("delete", "/annotation_queues/{queue_id}"): "delete",
    ("post", "/annotation_queues/{queue_id}/items"): "add_calls",
    ("post", "/annotation_queues/{queue_id}/items/query"): "query_items",
    ("post", "/annotation_queues/{queue_id}/items/{item_id}/progress"): "update_progress",
    ("post", "/feedback/create"): "create_feedback",
    ("post", "/feedback/query"): "query_feedback",
    ("patch", "/api/v1/annotations/queues/items"): "update_state",
}
STATUSES = {"200", "401", "403", "404", "500", "503"}
BODY_STATUSES = STATUSES | {"400", "413", "415", "422"}


@pytest.fixture
def document(connect: Callable[..., httpx.Client], shared_url: str) -> Any:  # noqa: ANN401 - JSON
    """The document as anybody can read it."""
    answer = connect(url=shared_url).get("/openapi.json", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def test_the_document_lists_every_operation_and_every_answer(document: Any) -> None:  # noqa: ANN401 - JSON
    assert (document["openapi"], document["info"]["version"], document["servers"]) == (
        "3.1.0",
        __version__,
        [{"url": "/"}],
    )
    published = {path: methods for path, methods in document["paths"].items() if not path.startswith("/v1/")}
    found = {(method, path): each for path, methods in published.items() for method, each in methods.items()}
    assert {place: each["operationId"] for place, each in found.items()} == OPERATIONS
    for (method, path), each in found.items():
        assert each["summary"]
        wanted = STATUSES | {"422"} if method in ("get", "delete") else BODY_STATUSES
        assert set(each["responses"]) == (wanted - {"422"} if method == "patch" else wanted)
        named = {(parameter["in"], parameter["name"]) for parameter in each["parameters"]}
        in_path = {("path", name) for name in ("queue_id", "item_id") if f"{{{name}}}" in path}
        assert named == in_path | ({("query", "project_id")} if method in ("get", "delete") else set())
        assert ("requestBody" in each) is (method not in ("get", "delete"))


def test_the_document_lists_every_method_of_the_service_below_v1(document: Any) -> None:  # noqa: ANN401 - JSON
    own = [each for path, methods in document["paths"].items() if path.startswith("/v1/") for each in methods.values()]
    public = {name for name, _ in inspect.getmembers(AnnotationQueues, inspect.isfunction) if not name.startswith("_")}
    beside = {"using", "iter_items", "iter_labels"}  # of one process, or made of pages
    assert {each["operationId"].removeprefix("v1_") for each in own} == public - beside
    assert len(own) == len(public - beside)
    for each in own:
        assert each["summary"].endswith(".")
        assert {"200", "401", "403", "404", "409", "422", "500", "503", "507"} <= set(each["responses"])
        for parameter in each["parameters"]:
            assert parameter["description"].endswith(".")


def test_every_field_has_words_and_every_reference_leads_somewhere(document: Any) -> None:  # noqa: ANN401 - JSON
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema["description"].endswith("."), name
        assert list(schema["properties"]) or name == "nothing"
        for field, described in schema["properties"].items():
            assert described.get("description", ".").endswith("."), (name, field)
            assert "description" in described or name == "Faults"

    def references(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            value = list(value.values())
        for each in value if isinstance(value, list) else ():
            yield from references(each)

    assert {each.removeprefix("#/components/schemas/") for each in references(document)} == set(schemas)


def test_what_a_request_may_hold_is_as_published(document: Any) -> None:  # noqa: ANN401 - JSON
    schemas = document["components"]["schemas"]
    query = schemas["ItemsQueryBody"]
    assert (query["required"], query["additionalProperties"]) == (["project_id"], False)
    properties = query["properties"]
    assert properties["include_position"]["default"] is False
    assert properties["limit"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    assert [name for name in ("ItemsFilter", "StateBody") if "additionalProperties" in schemas[name]] == []
    assert properties["filter"]["anyOf"] == [{"$ref": "#/components/schemas/ItemsFilter"}, {"type": "null"}]
    states = schemas["ItemsFilter"]["properties"]["annotation_states"]["anyOf"][0]
    assert states["items"]["enum"] == ["unstarted", "in_progress", "completed", "skipped"]
    assert schemas["ProgressBody"]["properties"]["annotation_state"]["enum"] == ["in_progress", "completed", "skipped"]
    assert schemas["StateBody"]["properties"]["state"]["enum"] == ["pending", "in_progress", "completed", "skipped"]
    assert schemas["CreateBody"]["required"] == ["project_id", "name", "scorer_refs"]
    assert schemas["CreateBody"]["properties"]["description"]["default"] == ""
    assert "additionalProperties" not in schemas["Item"]
    assert len(schemas["Item"]["required"]) == 17


def test_the_document_knows_the_limits_of_its_app(connect: Callable[..., httpx.Client]) -> None:
    document = connect(max_limit=7, rate_limit="100/minute").get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert schemas["ItemsQueryBody"]["properties"]["limit"]["anyOf"][0]["maximum"] == 7
    assert schemas["StatsBody"]["properties"]["queue_ids"]["maxItems"] == 7
    for methods in document["paths"].values():
        for each in methods.values():
            assert "Retry-After" in each["responses"]["429"]["headers"]


HOOKS = """
import json, random
import schemathesis

@schemathesis.deserializer("application/x-ndjson")
def read_lines(_context, response):
    return [json.loads(line) for line in response.content.splitlines()]

@schemathesis.hook
def before_call(_context, case, _options):
    for part in (case.body, case.query):
        # Else nearly every request would be about a project of its own, and be refused.
        if isinstance(part, dict) and isinstance(part.get("project_id"), str) and part["project_id"].strip("\\0"):
            if "\\0" not in part["project_id"]:
                part["project_id"] = "acme/chatbot"
    if isinstance(case.body, dict):
        # To a schema 7.0 is an integer. Here it is none, and other tests say so.
        for name, value in case.body.items():
            if isinstance(value, float) and value.is_integer():
                case.body[name] = int(value)
        if case.path.endswith("/items") and case.body.get("call_ids") == []:
            case.body["call_ids"] = ["c"]
        # Half of the queries find what was added, so that the links from there lead somewhere.
        if case.path.endswith("/items/query") and random.random() < 0.5:
            for name in ("filter", "offset", "limit"):
                if case.body.get(name) is None or isinstance(case.body[name], dict | int):
                    case.body.pop(name, None)
"""
# A refused move is 400 although the request fits: the schema cannot know the state of the item.
CONFIG = """
[[operations]]
include-path-regex = "^(/annotation.*progress|/feedback/.*|/api/v1/annotations/queues/items)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404"]

# What fits the schemas may still be refused: an id that nothing has, a lost claim, a rule that no schema can say.
[[operations]]
include-path-regex = "^/v1/"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
"""


EXAMPLES = 5
"""Random requests to each operation."""


class Watched:
    """An app whose answers are counted by operation and status."""

    def __init__(self, repository: MemoryRepository) -> None:
        self.app = create_app(repository, authenticate=authenticate)
        self.answers: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("endpoint"), "__name__", "")
                last = scope["path"].rpartition("/")[2] if route else ""
                self.answers[f"{scope['method']} {last}", message["status"]] += 1
            await send(message)

        await self.app(scope, receive, watch)


def make_requests(url: str, folder: Path, seed: int, phases: str) -> int:
    """Make random requests from the document at a URL; give how many, of which none may have failed."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
        *("--checks=all", f"--phases={phases}", f"--seed={seed}", f"--max-examples={EXAMPLES}"),
        *("--header=Authorization: Bearer ann-key", "--no-color", "--generation-database=none"),
        # A slow machine is no fault of the app.
        *("--request-timeout=60", "--suppress-health-check=all"),
        *("--report=json", "--report-json-path=report.json"),
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "own_hooks", "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-9_000:] + done.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["failures"] == report["errors"] == []
    assert [report["phases"][phase]["status"] for phase in phases.split(",")] == ["success"] * len(phases.split(","))
    return int(report["test_cases"]["generated"])


@pytest.mark.slow(seconds=25)
@pytest.mark.unmeasured
def test_random_requests_made_from_the_document_are_answered_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "own_hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with MemoryRepository() as repository:
        app = Watched(repository)
        with serving(app) as url:
            made = make_requests(url, tmp_path, 1, "coverage,fuzzing,stateful")
            # The links must have led from a new queue over its items to their states, which not every walk does.
            for seed in range(2, 12):
                if made >= 3_000 and app.answers["POST progress", 200]:
                    break
                made += make_requests(url, tmp_path, seed, "stateful")
        assert repository.check() == ()
    assert made >= 3_000
    assert app.answers["POST progress", 200]
    assert not [status for _, status in app.answers if status >= 500]
