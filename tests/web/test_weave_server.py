"""Weave's own in-memory server beside ours: random histories are answered alike, but for differences that are kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from annotation_queue import MemoryRepository, NewItem
from annotation_queue.web import create_app
from helpers.servers import PROJECT, authenticate, serving
from web.conftest import download_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.network

SERVER = "weave==0.53.1"  # the last release whose wheel has the whole server
STEPS = 150
CALLS = [f"call-{n}" for n in range(6)]
USERS = ("ann", "bob")

# What ours answers in another way, and why that stays. Each is seen in the histories, so none can outlive its reason.
KEPT = {
    "queue that is not there": "theirs goes on with the items of a deleted or unknown queue, even adds to it; ours says 404",
    "position below a filter": "theirs counts again from 1 below a filter; published is the place in the full queue",
    "unknown sort field": "theirs passes over it in silence; ours refuses what it cannot do",
    "negative number": "theirs takes it for none in silence; ours refuses what it cannot do",
    "view after an update": "theirs shows the last change of anybody; ours shows the asker what they just did",
    "time of an item": "theirs stays when somebody works on it; ours moves with its progress, so that what changed is found",
    "nobody's name": "theirs calls the annotator of an unstarted item '', an artefact of its database; published is null",
}


def weave_wheel(cache: pytest.Cache) -> Path:
    """Give the folder of the unpacked wheel; without it, skip and say so."""
    folder = cache.mkdir("weave_server") / SERVER.replace("==", "-")
    if not folder.exists():
        wheel = download_wheel(SERVER, folder.parent)
        if isinstance(wheel, str):
            pytest.skip(f"NOT COMPARED WITH WEAVE'S SERVER: its wheel {SERVER} cannot be had: {wheel}")
        with zipfile.ZipFile(wheel) as opened:
            names = [name for name in opened.namelist() if name.startswith(("weave/trace_server/", "weave/shared/"))]
            opened.extractall(folder, names)
    return folder


class Theirs:
    """Weave's server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).parents[1] / "helpers" / "weave_server.py"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, kind: str = "", /, **fields: Any) -> tuple[int, Any]:  # noqa: ANN401 - JSON
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, kind, fields]) + "\n")
        self.process.stdin.flush()
        status, answer = json.loads(self.process.stdout.readline())
        return status, answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Both:
    """The same requests to both servers. A thing is known by what it is called, since each gives ids of its own."""

    def __init__(self, theirs: Theirs, url: str) -> None:
        self.theirs = theirs
        self.ours = {
            user: httpx.Client(base_url=url, headers={"Authorization": f"Bearer {user}-key"}, timeout=30)
            for user in USERS
        }
        self.queues: list[tuple[str, str]] = [("nope", "nope")]
        self.alive: list[bool] = [False]
        self.items: dict[tuple[int, str], tuple[str, str]] = {}

    def close(self) -> None:
        for client in self.ours.values():
            client.close()

    def _their(self, name: str, kind: str, /, **fields: Any) -> tuple[int, Any]:  # noqa: ANN401 - JSON
        return self.theirs.ask(name, kind, project_id=PROJECT, **fields)

    def _our(self, user: str, method: str, path: str, /, **fields: Any) -> tuple[int, Any]:  # noqa: ANN401 - JSON
        sent = {"project_id": PROJECT} | fields
        how: dict[str, Any] = {"params": sent} if method in ("GET", "DELETE") else {"json": sent}
        answer = self.ours[user].request(method, f"/annotation_queues{path}", **how)
        if answer.headers["content-type"] == "application/x-ndjson":
            return answer.status_code, [json.loads(line) for line in answer.text.splitlines()]
        return answer.status_code, answer.json()

    def create(self, user: str, /, **fields: Any) -> None:  # noqa: ANN401 - JSON
        _, their = self._their("annotation_queue_create", "AnnotationQueueCreateReq", wb_user_id=user, **fields)
        _, our = self._our(user, "POST", "", **fields)
        self.queues.append((their["id"], our["id"]))
        self.alive.append(True)

    def on_queue(self, what: str, user: str, queue: int, /, **fields: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - JSON
        their_id, our_id = self.queues[queue]
        by = {"wb_user_id": user} if what in ("Update", "Delete") else {}
        method = {"Read": "GET", "Update": "PUT", "Delete": "DELETE"}[what]
        name, kind = f"annotation_queue_{what.lower()}", f"AnnotationQueue{what}Req"
        yield self._plain(self._their(name, kind, queue_id=their_id, **by, **fields))
        yield self._plain(self._our(user, method, f"/{our_id}", **fields))

    def list_queues(self, user: str, /, **fields: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - JSON
        yield self._plain(self._their("annotation_queues_query_stream", "AnnotationQueuesQueryReq", **fields))
        yield self._plain(self._our(user, "POST", "/query", **fields))

    def add(self, user: str, queue: int, call_ids: Sequence[str]) -> Iterator[tuple[int, Any]]:
        their_id, our_id = self.queues[queue]
        fields = {"call_ids": list(call_ids), "display_fields": ["output"]}
        req = "AnnotationQueueAddCallsReq"
        yield self._their("annotation_queue_add_calls", req, queue_id=their_id, wb_user_id=user, **fields)
        yield self._our(user, "POST", f"/{our_id}/items", **fields)
        for side, (_, found) in enumerate(self._items(queue)):
            for item in found.get("items", ()):
                before = self.items.get((queue, item["call_id"]), ("nope", "nope"))
                self.items[queue, item["call_id"]] = (item["id"], before[1]) if side == 0 else (before[0], item["id"])

    def _items(self, queue: int, user: str = "ann", **fields: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - JSON
        their_id, our_id = self.queues[queue]
        req = "AnnotationQueueItemsQueryReq"
        yield self._their("annotation_queue_items_query", req, queue_id=their_id, **fields)
        yield self._our(user, "POST", f"/{our_id}/items/query", **fields)

    def list_items(self, user: str, queue: int, **fields: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - JSON
        yield from map(self._plain, self._items(queue, user, **fields))

    def move(self, user: str, queue: int, call_id: str, state: str) -> Iterator[tuple[int, Any]]:
        their_id, our_id = self.queues[queue]
        their_item, our_item = self.items.get((queue, call_id), ("nope", "nope"))
        asked = {"annotation_state": state}
        req = "AnnotatorQueueItemsProgressUpdateReq"
        ids = {"queue_id": their_id, "item_id": their_item, "wb_user_id": user}
        yield self._plain(self._their("annotator_queue_items_progress_update", req, **ids, **asked))
        yield self._plain(self._our(user, "POST", f"/{our_id}/items/{our_item}/progress", **asked))

    def stats(self, user: str, queues: Sequence[int]) -> Iterator[tuple[int, Any]]:
        asked = [self.queues[queue] for queue in queues]
        req = "AnnotationQueuesStatsReq"
        yield self._plain(self._their("annotation_queues_stats", req, queue_ids=[each for each, _ in asked]))
        yield self._plain(self._our(user, "POST", "/stats", queue_ids=[each for _, each in asked]))

    def _plain(self, answered: tuple[int, Any]) -> tuple[int, Any]:
        """Put names for ids, drop the times, and the words of refusals."""
        status, answer = answered
        if status != 200:
            return status, None
        text = json.dumps(answer)
        for number, pair in enumerate(self.queues[1:], 1):
            for each in pair:
                text = text.replace(f'"{each}"', f'"queue {number}"')
        for (queue, call_id), pair in self.items.items():
            for each in pair:
                text = text.replace(f'"{each}"', f'"item {queue} {call_id}"')
        return status, without_times(json.loads(text))


def without_times(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out when things were done, which differs; whether they were, and items after they were added, is kept."""
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if isinstance(value, dict):
        known = {
            name: (each is not None if name.endswith("_at") else without_times(each)) for name, each in value.items()
        }
        return known | {"has_moved": value["updated_at"] != value["created_at"]} if "call_id" in value else known
    return value


def items_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the items of an answer, one or many."""
    return [answer["item"]] if "item" in answer else answer.get("items", [])


def let_move(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Let their items move that ours say have moved; tell whether there were any."""
    moved = {each["id"] for each in items_of(ours) if each["has_moved"]}
    stayed = [each for each in items_of(theirs) if each["id"] in moved and not each["has_moved"]]
    for each in stayed:
        each["has_moved"] = True
    return bool(stayed)


def kept_difference(asked: dict[str, Any], theirs: tuple[int, Any], ours: tuple[int, Any]) -> tuple[str, Any]:
    """Find the kept difference that this is; give its name, and what theirs would be without it."""
    if ours[0] == 422 and (asked.get("negative") or asked.get("unknown_field")):
        return "negative number" if asked.get("negative") else "unknown sort field", ours
    if not asked["alive"]:
        zeros = asked["what"] == "stats" and ours[0] == 200
        assert zeros or ours[0] == (400 if asked["what"] == "move" else 404), (asked, theirs, ours)
        return "queue that is not there", ours
    assert theirs[0] == ours[0] == 200, (asked, theirs, ours)
    return difference_of_items(asked, theirs, ours)


def difference_of_items(asked: dict[str, Any], theirs: tuple[int, Any], ours: tuple[int, Any]) -> tuple[str, Any]:
    """Find the kept difference between items that both show."""
    answer = theirs[1]
    if asked["what"] in {"items", "move"} and let_move(answer, ours[1]):
        return "time of an item", theirs
    if asked["what"] == "move":
        shown = {"annotation_state": asked["state"], "annotator_user_id": asked["user"]}
        if answer["item"] | shown != answer["item"]:
            return "view after an update", (200, {"item": answer["item"] | shown})
    if asked["what"] == "items":
        if any(item["annotator_user_id"] == "" for item in answer["items"]):
            named = [each | {"annotator_user_id": each["annotator_user_id"] or None} for each in answer["items"]]
            return "nobody's name", (200, {"items": named})
        if asked.get("filter") and asked.get("include_position"):
            places = {each["id"]: each["position_in_queue"] for each in ours[1]["items"]}
            named = [each | {"position_in_queue": places[each["id"]]} for each in answer["items"]]
            return "position below a filter", (200, {"items": named})
    raise AssertionError((asked, theirs, ours))


def compare(asked: dict[str, Any], answers: Iterator[tuple[int, Any]], seen: set[str]) -> None:
    """Compare two answers; a difference must be made of kept ones."""
    theirs, ours = answers
    while theirs != ours:
        name, theirs = kept_difference(asked, theirs, ours)
        seen.add(name)


def random_step(both: Both, chance: random.Random, seen: set[str]) -> None:  # noqa: C901 - one branch an operation
    user, queue = chance.choice(USERS), chance.randrange(len(both.queues))
    asked: dict[str, Any] = {"user": user, "alive": both.alive[queue]}
    what = chance.choice(
        ["create", "read", "update", "delete", "queues", "add", "items", "items", "move", "move", "move", "stats"]
    )
    if what == "create" and len(both.queues) < 5:
        name = chance.choice(["Triage", "triage 2", "Review", "É"])
        both.create(user, name=name, scorer_refs=["ref"], description=chance.choice(["", "why"]))
    elif what == "read":
        compare(asked | {"what": what}, both.on_queue("Read", user, queue), seen)
    elif what == "update":
        changes = {name: chance.choice(["new", "", None]) for name in ("name", "description") if chance.random() < 0.7}
        compare(asked | {"what": what}, both.on_queue("Update", user, queue, **changes), seen)
    elif what == "delete" and chance.random() < 0.2:
        compare(asked | {"what": what}, both.on_queue("Delete", user, queue), seen)
        both.alive[queue] = False
    elif what == "queues":
        fields, told = random_page(chance, ["id", "name", "created_at"])
        if chance.random() < 0.5:
            fields["name"] = chance.choice(["TRIAGE", "e", "", "nope", None])
        # The ids of the two sort alike, as both were made in this order.
        compare(asked | told | {"what": what, "alive": True}, both.list_queues(user, **fields), seen)
    elif what == "add":
        calls = chance.sample([*CALLS, "gone"], chance.randrange(1, 6))
        compare(asked | {"what": what}, both.add(user, queue, calls), seen)
    elif what == "items":
        fields, told = random_page(chance, ["call_started_at", "call_op_name", "created_at"])
        fields["include_position"] = chance.random() < 0.5
        if chance.random() < 0.6:
            fields["filter"] = random_filter(chance)
        compare(asked | fields | told | {"what": what}, both.list_items(user, queue, **fields), seen)
    elif what == "move":
        state = chance.choice(["in_progress", "completed", "skipped", "skipped", "unstarted", "nope"])
        moved = both.move(user, queue, chance.choice([*CALLS, "gone"]), state)
        compare(asked | {"what": what, "state": state}, moved, seen)
    elif what == "stats":
        chosen = [chance.randrange(len(both.queues)) for _ in range(chance.randrange(4))]
        told = {"what": what, "alive": all(both.alive[each] for each in chosen)}
        compare(asked | told, both.stats(user, chosen), seen)


def random_page(chance: random.Random, fields: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Choose how to sort and page; give it, and what is to be known about it."""
    page: dict[str, Any] = {}
    told: dict[str, Any] = {}
    if chance.random() < 0.6:
        named = chance.sample(fields, chance.randrange(1, len(fields) + 1))
        if chance.random() < 0.15:
            named.append("nope")
            told["unknown_field"] = True
        page["sort_by"] = [{"field": each, "direction": chance.choice(["asc", "desc"])} for each in named]
    for name in ("limit", "offset"):
        if chance.random() < 0.4:
            page[name] = chance.choice([0, 1, 2, 5, 100, None, -1])
            told["negative"] = told.get("negative") or page[name] == -1
    return page, told


def random_filter(chance: random.Random) -> dict[str, Any]:
    """Choose conditions, with a field that nobody knows."""
    conditions: dict[str, Any] = {
        "call_id": chance.choice(CALLS),
        "call_op_name": chance.choice(["op 0", "op 1", "nope"]),
        "call_trace_id": chance.choice(["trace 0", "trace 2"]),
        "added_by": chance.choice(USERS),
        "annotation_states": chance.sample(["unstarted", "in_progress", "completed", "skipped"], chance.randrange(5)),
        "nobody_knows": 1,
        "id": None,
    }
    return {name: conditions[name] for name in chance.sample(sorted(conditions), chance.randrange(1, 3))}


def calls() -> dict[str, NewItem]:
    """The calls that both servers know."""
    return {
        call_id: NewItem(
            call_id=call_id,
            call_started_at=datetime(2026, 1, 1 + n % 5, tzinfo=UTC),
            call_op_name=f"op {n % 2}",
            call_trace_id=f"trace {n % 3}",
        )
        for n, call_id in enumerate(CALLS)
    }


@pytest.mark.slow
def test_random_histories_are_answered_as_weaves_own_server_does_but_for_what_is_kept(
    pytestconfig: pytest.Config,
) -> None:
    assert pytestconfig.cache is not None
    folder, known, seen = weave_wheel(pytestconfig.cache), calls(), set[str]()

    def resolve(_project_id: str, call_ids: Sequence[str]) -> Iterator[NewItem]:
        return (known[each] for each in call_ids if each in known)

    for seed in range(4):
        with (
            MemoryRepository() as repository,
            closing(Theirs(folder)) as theirs,
            serving(create_app(repository, authenticate=authenticate, resolve_calls=resolve)) as url,
            closing(Both(theirs, url)) as both,
        ):
            for new in known.values():
                started: dict[str, Any] = {
                    "id": new.call_id,
                    "op_name": new.call_op_name,
                    "trace_id": new.call_trace_id,
                }
                started |= {
                    "project_id": PROJECT,
                    "started_at": str(new.call_started_at),
                    "attributes": {},
                    "inputs": {},
                }
                assert theirs.ask("call", **started) == (200, None)
            chance = random.Random(seed)  # noqa: S311 - no secret
            for _ in range(STEPS):
                random_step(both, chance, seen)
            assert repository.check() == ()
    assert seen == set(KEPT)
