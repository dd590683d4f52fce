"""Who may ask what: credentials, projects, rates."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, InvalidValue, MemoryRepository, NewItem
from annotation_queue.web import Action, Credentials, Principal, create_app
from helpers.servers import OTHER, PROJECT, authenticate

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from annotation_queue import Repository

QUEUE = {"project_id": PROJECT, "name": "q", "scorer_refs": []}


def basic(text: str | bytes) -> str:
    """Encode what stands in a Basic header."""
    return "Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def requests(queue_id: str, item_id: str, project_id: str) -> list[tuple[Action, str, str, dict[str, Any]]]:
    """One request to each of Weave's operations, in an order in which each can be carried out."""
    queue, project = f"/annotation_queues/{queue_id}", {"project_id": project_id}
    return [
        (Action.CREATE, "POST", "/annotation_queues", {"json": project | {"name": "q", "scorer_refs": []}}),
        (Action.QUERY, "POST", "/annotation_queues/query", {"json": project}),
        (Action.STATS, "POST", "/annotation_queues/stats", {"json": project | {"queue_ids": [queue_id]}}),
        (Action.READ, "GET", queue, {"params": project}),
        (Action.UPDATE, "PUT", queue, {"json": project}),
        (Action.ADD_CALLS, "POST", f"{queue}/items", {"json": project | {"call_ids": ["c"], "display_fields": []}}),
        (Action.QUERY_ITEMS, "POST", f"{queue}/items/query", {"json": project}),
        (
            Action.UPDATE_PROGRESS,
            "POST",
            f"{queue}/items/{item_id}/progress",
            {"json": project | {"annotation_state": "skipped"}},
        ),
        (Action.DELETE, "DELETE", queue, {"params": project}),
    ]


def made_in(repository: Repository, project_id: str) -> tuple[str, str]:
    """Make a queue with an item; give their ids."""
    queues = AnnotationQueues(repository, project_id)
    queue = queues.create("q", created_by="somebody")
    return queue.id, queues.add_items(queue.id, [NewItem(call_id="c-0")], added_by="somebody").added[0].id


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        (basic("api:ann-key"), Credentials("basic", "api", "ann-key")),
        (basic(":ann-key"), Credentials("basic", "", "ann-key")),
        (basic("api:a:b:c"), Credentials("basic", "api", "a:b:c")),
        (basic("é:ü"), Credentials("basic", "é", "ü")),
        (basic("api:"), Credentials("basic", "api", "")),
        ("basic " + basic("a:b")[6:], Credentials("basic", "a", "b")),
        ("Bearer ann-key", Credentials("bearer", None, "ann-key")),
        ("bEaReR   ann-key", Credentials("bearer", None, "ann-key")),
    ],
)
def test_basic_and_bearer_credentials_reach_the_backend_as_they_were_sent(
    connect: Callable[..., httpx.Client], header: str, credentials: Credentials
) -> None:
    seen: list[Credentials] = []

    def look(given: Credentials) -> Principal:
        seen.append(given)
        return Principal("ann", [PROJECT])

    answer = connect(authenticate=look).post("/annotation_queues", json=QUEUE, headers={"Authorization": header})
    assert answer.status_code == 200
    assert seen == [credentials]


def test_credentials_do_not_show_their_secret() -> None:
    assert "ann-key" not in repr(Credentials("basic", "api", "ann-key"))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer two words"],
        ["Basic"],
        ["Basic !!!"],
        ["Basic YXBp"],
        [basic(b"\xff\xfe:x")],
        ["Digest username=ann"],
        ["ann-key"],
        ["Bearer ann-key", "Bearer ann-key"],
        ["Bearer ann-key", basic("api:ann-key")],
        ["Bearer nobody's"],
    ],
)
def test_whoever_is_not_known_is_told_what_is_needed(
    connect: Callable[..., httpx.Client], shared_url: str, headers: list[str]
) -> None:
    client = connect(url=shared_url)
    del client.headers["Authorization"]
    sent = [("Authorization", header) for header in headers]
    for _, method, path, options in requests("q", "i", PROJECT):
        answer = client.request(method, path, headers=sent, **options)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="annotation-queue", charset="UTF-8", Bearer'
        assert list(answer.json()) == ["reason"]


def test_a_project_that_is_not_ones_own_is_forbidden_whatever_it_holds(connect: Callable[..., httpx.Client]) -> None:
    with MemoryRepository() as repository:
        queue_id, item_id = made_in(repository, OTHER)
        client = connect(repository=repository)
        told = set()
        for ids in ((queue_id, item_id), ("nope", "nope")):
            for action, method, path, options in requests(*ids, OTHER):
                answer = client.request(method, path, **options)
                assert answer.status_code == 403
                assert answer.json() == {"reason": f"no right to {action} in this project"}
                told.add(answer.text)
        assert len(told) == 9


def test_what_is_in_another_project_cannot_be_told_from_what_does_not_exist(
    connect: Callable[..., httpx.Client],
) -> None:
    with MemoryRepository() as repository:
        queue_id, item_id = made_in(repository, OTHER)
        own_queue_id, _ = made_in(repository, PROJECT)
        client = connect(repository=repository)
        there, nowhere = requests(queue_id, item_id, PROJECT)[2:], requests("nope", "nope", PROJECT)[2:]
        for (_, method, path, options), (_, _, no_path, no_options) in zip(there, nowhere, strict=True):
            answer, no_answer = client.request(method, path, **options), client.request(method, no_path, **no_options)
            # Weave has zeros for a queue and refuses progress on an item that it does not find.
            status = 200 if path.endswith("/stats") else 400 if path.endswith("/progress") else 404
            assert (answer.status_code, no_answer.status_code) == (status, status)
            assert answer.text.replace(queue_id, "nope") == no_answer.text
        # An item in a queue of one's own that it is not in, and EvalGuard's request, which names no queue.
        path = f"/annotation_queues/{own_queue_id}/items/{item_id}/progress"
        moving = {"project_id": PROJECT, "annotation_state": "completed"}
        assert client.post(path, json=moving).status_code == 400
        path = "/api/v1/annotations/queues/items"
        answers = [client.patch(path, json={"item_id": each, "state": "completed"}) for each in (item_id, "nope")]
        assert [each.status_code for each in answers] == [404, 404]
        assert answers[0].text.replace(item_id, "nope") == answers[1].text
        assert AnnotationQueues(repository, OTHER).progress(item_id) == ()


OWN = {Action.CLAIM, Action.UPDATE_ITEMS, Action.READ_LABELS, Action.OVERRIDE, Action.RESTORE, Action.PURGE}
"""What only our own API asks for."""


@pytest.mark.parametrize("allowed", sorted(set(Action) - OWN))
def test_a_backend_decides_about_each_action(connect: Callable[..., httpx.Client], allowed: Action) -> None:
    seen: list[tuple[Principal, str, Action]] = []

    def authorize(principal: Principal, project_id: str, action: Action) -> bool:
        seen.append((principal, project_id, action))
        return action is allowed

    with MemoryRepository() as repository:
        queue_id, item_id = made_in(repository, "anywhere")
        client = connect(repository=repository, authorize=authorize)
        asked = requests(queue_id, item_id, "anywhere")
        statuses = {action: client.request(method, path, **how).status_code for action, method, path, how in asked}
    assert statuses == {action: 200 if action is allowed else 403 for action in set(Action) - OWN}
    assert seen == [(Principal("ann", [PROJECT]), "anywhere", action) for action, *_ in asked]


OWN_REQUESTS: list[tuple[Action, str, str, dict[str, Any]]] = [
    (Action.CREATE, "POST", "/queues", {"name": "q"}),
    (Action.QUERY, "POST", "/queues/query", {}),
    (Action.STATS, "POST", "/queues/stats", {"queue_ids": []}),
    (Action.READ, "GET", "/queues/{queue}", {}),
    (Action.UPDATE, "PATCH", "/queues/{queue}", {"name": "r"}),
    (Action.ADD_CALLS, "POST", "/queues/{queue}/items", {"items": []}),
    (Action.QUERY_ITEMS, "GET", "/items/{item}", {}),
    (Action.UPDATE_ITEMS, "POST", "/queues/{queue}/items/remove", {"which": []}),
    (Action.READ_LABELS, "GET", "/items/{item}/history", {}),
    (Action.CLAIM, "POST", "/queues/{queue}/claims", {}),
    (Action.UPDATE_PROGRESS, "PUT", "/items/{item}/progress", {"state": "in_progress"}),
    (Action.OVERRIDE, "PUT", "/items/{item}/progress", {"state": "skipped", "annotator_id": "bob"}),
    (Action.OVERRIDE, "PUT", "/items/{item}/progress", {"state": "skipped", "override": True, "actor_id": "ann"}),
    (Action.OVERRIDE, "POST", "/queues/{queue}/items/reset", {"which": []}),
    (Action.RESTORE, "POST", "/queues/{queue}/items/restore", {"item_ids": []}),
    (Action.PURGE, "POST", "/purge", {"removed_before": "2000-01-01T00:00:00Z"}),
    (Action.DELETE, "DELETE", "/queues/{queue}", {}),
]


@pytest.mark.parametrize("allowed", Action)
def test_a_backend_decides_about_each_action_of_our_own_api_too(
    connect: Callable[..., httpx.Client], allowed: Action
) -> None:
    with MemoryRepository() as repository:
        queue_id, item_id = made_in(repository, "anywhere")
        client = connect(repository=repository, authorize=lambda _who, _where, action: action is allowed)
        for action, method, path, sent in OWN_REQUESTS:
            how: dict[str, Any] = {"json": sent} if method in ("POST", "PUT", "PATCH") else {}
            path_of = path.format(queue=queue_id, item=item_id)
            answer = client.request(method, f"/v1{path_of}", params={"project_id": "anywhere"}, **how)
            assert answer.status_code == (200 if action is allowed else 403), (path, answer.text)
    assert {action for action, *_ in OWN_REQUESTS} == set(Action)


def test_evalguard_looks_only_where_the_user_may_annotate(connect: Callable[..., httpx.Client]) -> None:
    with MemoryRepository() as repository:
        _, item_id = made_in(repository, OTHER)

        def move(key: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - those of create_app
            client = connect(key, repository=repository, **options)
            return client.patch("/api/v1/annotations/queues/items", json={"item_id": item_id, "state": "completed"})

        assert move("ann-key").status_code == 404
        refused = move("bob-key", authorize=lambda *_: False)
        assert (refused.status_code, refused.json()) == (403, {"reason": "no right to update_progress in any project"})
        assert move("bob-key", authorize=lambda _, project_id, __: project_id == PROJECT).status_code == 404
        assert move("x", authenticate=lambda _: Principal("nobody")).status_code == 403
        done = move("bob-key")
        assert (done.status_code, done.json()) == (200, {"success": True})
        assert [each.annotator_id for each in AnnotationQueues(repository, OTHER).progress(item_id)] == ["bob"]


@pytest.mark.parametrize("options", [{"authorize": lambda *_: "yes"}, {"authenticate": lambda _: "ann"}])
def test_what_only_looks_like_a_yes_opens_nothing(
    connect: Callable[..., httpx.Client], caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    # Any coroutine counts as true: a check that was written as "async def" must not let everybody in.
    client = connect(**{"authorize": lambda *_: True} | options)
    answer = client.post("/annotation_queues/query", json={"project_id": PROJECT})
    assert (answer.status_code, answer.json()) == (500, {"reason": "the server failed"})
    (name,) = options
    assert f"TypeError: {name} gave str" in caplog.text


def test_a_user_who_asks_too_often_is_told_when_to_come_back(connect: Callable[..., httpx.Client]) -> None:
    client = connect(rate_limit="3/minute;100/hour")
    asked = [client.post("/annotation_queues/query", json={"project_id": PROJECT}) for _ in range(4)]
    assert [each.status_code for each in asked] == [200, 200, 200, 429]
    seconds = int(asked[-1].headers["retry-after"])
    assert 1 <= seconds <= 60
    assert asked[-1].json() == {"reason": f"too many requests; again in {seconds} s"}
    # Others are not held up, whoever is not known counts for nobody, and what is not carried out counts too.
    path = "/annotation_queues/query"
    assert client.post(path, json={}, headers={"Authorization": "Bearer bob-key"}).status_code == 422
    assert client.post(path, json={}, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.patch("/api/v1/annotations/queues/items", json={}).status_code == 429


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rate_limit": "often"}, "rate_limit"),
        ({"rate_limit": ""}, "rate_limit"),
        ({"rate_limit": 7}, "rate_limit"),
        ({"max_limit": 0}, "max_limit"),
        ({"max_limit": True}, "max_limit"),
        ({"max_limit": 1.5}, "max_limit"),
    ],
)
def test_an_app_that_cannot_work_is_not_made(options: dict[str, Any], field: str) -> None:
    with MemoryRepository() as repository, pytest.raises(InvalidValue) as refused:
        create_app(repository, authenticate=authenticate, **options)
    assert refused.value.field == field


@pytest.mark.parametrize(("user_id", "projects"), [("", ["p"]), ("a\0", ["p"]), ("ann", "p"), ("ann", [7])])
def test_a_principal_that_cannot_be_stored_is_not_made(user_id: str, projects: Any) -> None:  # noqa: ANN401 - wrong ones
    with pytest.raises(InvalidValue):
        Principal(user_id, projects)
