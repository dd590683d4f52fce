"""What the rater's page asks for, and what the dashboard changes, without a browser."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import ClaimRef, NewItem
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED
from annotation_queue.web import PageOptions
from helpers.page_sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.page_sites import Browser


@pytest.fixture
def site() -> Iterator[Site]:
    """A queue with two items, and pages of it."""
    with ExitStack() as stack:
        yield Site(PageOptions(), stack)


def asked(browser: Browser, name: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Ask as the rater's page does, where it works."""
    status, answer = browser.call(name, body)
    assert status == 200, answer
    return answer


def state_of(site: Site, number: int, annotator: str = "ann") -> tuple[Any, Any]:
    """What an annotator did with an item: the state and the label."""
    (own,) = [each for each in site.queues.progress(site.items[number].id) if each.annotator_id == annotator]
    return own.state, own.annotation


def test_a_page_gets_one_item_and_the_next_one_ahead_and_after_a_reload_the_one_with_the_draft(site: Site) -> None:
    ann = site.signed_in()
    first = asked(ann, "next", holding=[])
    second = asked(ann, "next", holding=[first["claim"]["ref"]])
    assert [first["claim"]["item_id"], second["claim"]["item_id"]] == [each.id for each in site.items]
    assert asked(ann, "next", holding=[first["claim"]["ref"], second["claim"]["ref"]])["claim"] is None
    asked(ann, "draft", ref=second["claim"]["ref"], annotation={"half": "a w"})
    again = asked(ann, "next", holding=[])["claim"]
    assert (again["ref"], again["draft"]) == (second["claim"]["ref"], {"half": "a w"})
    assert asked(ann, "next", holding=[again["ref"]])["claim"]["ref"] == first["claim"]["ref"]
    asked(ann, "release", ref=first["claim"]["ref"])
    asked(ann, "release", ref=first["claim"]["ref"])  # once more does no harm
    assert state_of(site, 0)[0] is UNSTARTED


def test_what_is_done_is_counted_and_nothing_is_completed_with_an_empty_form(site: Site) -> None:
    ann = site.signed_in()
    first = asked(ann, "next", holding=[])
    assert (first["left"], first["total"], first["mine"]) == (2, 2, 0)
    status, answer = ann.call("done", {"ref": first["claim"]["ref"], "annotation": None})
    assert (status, answer["message"]) == (422, "nothing is filled in")
    assert asked(ann, "done", ref=first["claim"]["ref"], annotation=0)["left"] == 1
    second = asked(ann, "next", holding=[])
    after = asked(ann, "skip", ref=second["claim"]["ref"], reason="unclear")
    assert (after["left"], after["mine"]) == (0, 2)
    assert asked(ann, "next", holding=[])["reason"] == "finished"
    assert [state_of(site, 0), state_of(site, 1)] == [(COMPLETED, 0), (SKIPPED, None)]


def test_a_label_that_the_schema_refuses_is_named_and_not_stored(site: Site) -> None:
    site.queues.update("q", label_schema={"type": "object", "properties": {"stars": {"type": "integer"}}})
    ann = site.signed_in()
    claim = asked(ann, "next", holding=[])["claim"]
    status, answer = ann.call("done", {"ref": claim["ref"], "annotation": {"stars": "five"}})
    assert (status, answer["error"], answer["field"]) == (422, "invalid_label", "annotation.stars")
    assert state_of(site, 0)[0] is IN_PROGRESS


def test_a_lost_claim_says_so_to_whoever_comes_late_and_can_be_taken_again(site: Site) -> None:
    ann = site.signed_in()
    claim = asked(ann, "next", holding=[])["claim"]
    site.queues.release(ClaimRef.parse(claim["ref"]))
    for name in ("draft", "done", "skip"):
        status, answer = ann.call(name, {"ref": claim["ref"], "annotation": 1})
        assert (status, answer["error"]) == (409, "claim_lost")
    assert asked(ann, "beat", holding=[claim["ref"]])["lost"] == [claim["ref"]]
    again = asked(ann, "again", item_id=claim["item_id"])["claim"]
    assert again["ref"] != claim["ref"]
    assert asked(ann, "beat", holding=[again["ref"]])["lost"] == []


def test_what_was_said_before_is_shown_newest_first_and_corrected_even_a_skip(site: Site) -> None:
    ann = site.signed_in()
    for name in ("done", "skip"):
        claim = asked(ann, "next", holding=[])["claim"]
        asked(ann, name, ref=claim["ref"], annotation={"a": 1})
    newest = asked(ann, "earlier", cursor="")
    oldest = asked(ann, "earlier", cursor=newest["cursor"])
    assert [page["found"][0]["state"] for page in (newest, oldest)] == ["skipped", "completed"]
    assert oldest["found"][0]["draft"] == {"a": 1}
    assert oldest["cursor"] is None
    asked(ann, "correct", item_id=site.items[0].id, state="completed", annotation={"a": 2})
    asked(ann, "correct", item_id=site.items[1].id, state="completed", annotation={"a": 3})
    assert [state_of(site, 0), state_of(site, 1)] == [(COMPLETED, {"a": 2}), (COMPLETED, {"a": 3})]
    assert [each.annotation for each in site.queues.history(site.items[0].id)][-2:] == [{"a": 1}, {"a": 2}]
    asked(ann, "correct", item_id=site.items[0].id, state="skipped")
    assert state_of(site, 0)[0] is SKIPPED
    for body in ({"state": "unstarted"}, {"state": ""}, {"state": "completed", "annotation": None}):
        assert ann.call("correct", {"item_id": site.items[0].id, **body})[0] in {409, 422}
    site.queues.reset("q", [site.items[0].id], actor_id="boss")
    assert ann.call("correct", {"item_id": site.items[0].id, "state": "completed", "annotation": 1})[0] == 409


def change(browser: Browser, act: str, **fields: Any) -> tuple[int, str]:  # noqa: ANN401 - of a form
    """Send the dashboard's form; give the status, and what the next page says."""
    answer = browser.client.post("/pages/queues/q/items", data={"csrf": browser.csrf, "list": "", "act": act, **fields})
    if answer.status_code != 303:
        return answer.status_code, answer.text
    return 303, browser.client.get(answer.headers["location"]).text


def test_the_dashboard_ranks_reserves_resets_removes_and_restores(site: Site) -> None:
    ann = site.signed_in()
    one, two = (each.id for each in site.items)
    site.queues.update_progress(two, "bob", COMPLETED, annotation=1)
    assert "Priority 5: 1 item changed." in change(ann, "prioritise", item=two, priority="5")[1]
    assert site.queues.query_items("q").items[0].id == two
    assert "Reserved for bob, carol: 2 items" in change(ann, "assign", scope="filter", assignees="carol, bob,")[1]
    assert "Open to anybody: 2 items" in change(ann, "assign", item=[one, two], assignees="")[1]
    assert "Reset: 1 progress put back" in change(ann, "reset", item=two, annotator="bob", reason="no")[1]
    assert state_of(site, 1, "bob")[0] is UNSTARTED
    assert site.queues.history(two)[-1].actor_id == "ann"
    assert "Removed: 1 item." in change(ann, "remove", item=one)[1]
    assert "1 item was removed" in ann.client.get("/pages/queues/q").text
    assert "Restored: 1 item." in change(ann, "restore")[1]
    assert "Restored: 0 items." in change(ann, "restore", ids=f"{one}\n{two}")[1]
    assert "was removed" not in ann.client.get("/pages/queues/q").text


def test_the_dashboard_releases_what_somebody_holds_and_keeps_their_draft(site: Site) -> None:
    held = site.queues.claim("q", "bob")
    assert held
    site.queues.save_draft(held, {"half": 1})
    ann = site.signed_in()
    assert held.item.id in ann.client.get("/pages/queues/q/annotators").text
    change(ann, "release", item=held.item.id, annotator="bob")
    assert site.queues.holds("q", "bob") == ()
    assert state_of(site, 0, "bob") == (UNSTARTED, {"half": 1})
    assert (site.queues.history(held.item.id)[-1].actor_id) == "ann"


def test_what_the_dashboard_cannot_do_is_said_and_nothing_is_changed(site: Site) -> None:
    ann = site.signed_in()
    one = site.items[0].id
    before = site.queues.query_items("q")
    for status, act, fields in [
        (400, "prioritise", {"item": one, "priority": "high"}),
        (400, "prioritise", {"item": one, "priority": str(1 << 70)}),
        (400, "explode", {"item": one}),
        (400, "remove", {"scope": "filter"}),
        (400, "reset", {"scope": "filter", "list": "annotator=bob&state=completed"}),
        (400, "reset", {"item": one, "list": "é"}),
    ]:
        assert change(ann, act, **fields)[0] == status
    assert site.queues.query_items("q") == before
    assert ann.client.get("/pages/queues/nope").status_code == 404
    assert ann.client.get(f"/pages/queues/q/items/{one}x").status_code == 404
    assert ann.client.get("/pages/?after=nonsense").status_code == 400


def test_queues_are_found_by_name_and_shown_in_pages(site: Site) -> None:
    for number in range(60):
        site.queues.create(f"queue {number}", created_by="ann")
    ann = site.signed_in()
    first = ann.client.get("/pages/").text
    assert "queue 59" in first
    assert "queue 3<" not in first
    following = first.split('<a class="button" href="/pages/?after=')[1].split('"')[0].replace("&amp;", "&")
    assert "queue 3<" in ann.client.get(f"/pages/?after={following}").text
    assert ann.client.get("/pages/?name=EUE+59").text.count("<tr>") == 2
    assert "No queue has that" in ann.client.get("/pages/?name=nope").text


def test_a_list_of_many_items_has_pages_with_positions(site: Site) -> None:
    site.queues.add_items("q", (NewItem(call_id=f"c-{n:03}", priority=n) for n in range(120)), added_by="ann")
    ann = site.signed_in()
    text = ann.client.get("/pages/queues/q?sort=-call_id&page=2&state=unstarted").text
    assert "122 items, page 2 of 3" in text
    assert ">c-069</a>" in text
    assert '<td class="number">51</td>' in text
    assert 'aria-sort="descending"' in text
