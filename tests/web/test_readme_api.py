"""The examples of a backend that speaks the published APIs, out of the docstring of the package, asked over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from annotation_queue import web
from helpers.servers import NO_TLS, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT = {"project_id": "acme/chatbot"}


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The app that the docstring makes."""
    monkeypatch.chdir(tmp_path)
    alone = tmp_path / "web.md"
    alone.write_text(web.__doc__ or "", encoding="utf-8")
    examples = list(Sybil(parsers=[PythonCodeBlockParser()]).parse(alone))
    for example in examples:
        example.evaluate()
    assert len(examples) == 2
    namespace = examples[0].document.namespace
    yield namespace["backend"]
    namespace["labels"].close()


def test_the_route_and_the_mounted_app_of_the_docstring_work_on_the_same_queues(backend: Any) -> None:  # noqa: ANN401
    with serving(backend) as url, httpx.Client(verify=NO_TLS, base_url=url, auth=("api", "a-key")) as client:
        queue_id = client.post("/weave/annotation_queues", json={**PROJECT, "name": "q", "scorer_refs": []}).json()[
            "id"
        ]
        items = f"/annotation_queues/{queue_id}/items"
        client.post(f"/weave{items}", json={**PROJECT, "call_ids": ["c"], "display_fields": []})
        (item,) = client.post(f"/weave{items}/query", json=PROJECT).json()["items"]

        def move(state: object, item_id: str = item["id"]) -> httpx.Response:
            body = {**PROJECT, "annotation_state": state}
            return client.post(f"{items}/{item_id}/progress", json=body, headers={"x-user": "bob"})

        moved = move("completed")
        assert moved.status_code == 200
        assert (
            moved.json()["item"] | {"annotation_state": "completed", "annotator_user_id": "bob"} == moved.json()["item"]
        )
        assert client.post(f"/weave{items}/query", json=PROJECT).json()["items"] == [moved.json()["item"]]
        assert (move("skipped").status_code, move("skipped", "nope").status_code) == (400, 400)
        unfit = move(True)
        fault = {"loc": ["body", "annotation_state"], "msg": "expected text, got bool True", "type": "string_type"}
        assert (unfit.status_code, unfit.json()) == (422, {"detail": [fault]})
        assert httpx.post(f"{url}/weave{items}/query", json=PROJECT, auth=("api", "x")).status_code == 401
