"""The pages as people use them: in a real Chromium, on a real server process and a real file."""

from __future__ import annotations

import json
from datetime import timedelta
from operator import gt
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationState, JsonValue, NewItem
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED
from helpers.browsers import AXE, Desk, desk, find_axe, text_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, Request

pytestmark = pytest.mark.slow
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "sentiment": {"title": "Sentiment", "enum": ["positive", "negative", "mixed"]},
        "urgent": {"title": "Urgent", "type": "boolean"},
        "note": {"title": "Note", "type": "string"},
        "stars": {"title": "Stars", "type": "number", "minimum": 0, "maximum": 10},
    },
    "required": ["sentiment"],
}
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script><b>bold</b> "


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A served file and a browser, for all of these tests; each makes a queue of its own."""
    with desk(tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.fixture
def at(shared: Desk) -> Iterator[Desk]:
    """The same, for one test; no script of its pages may raise anything."""
    yield shared
    shared.close_pages()
    assert shared.problems == []


def filled(at: Desk, count: int, **settings: Any) -> str:  # noqa: ANN401 - of a queue
    """Make a queue with items; give its id."""
    queue = at.queues.create(
        "Reviews", created_by="boss", label_schema=settings.pop("label_schema", SCHEMA), **settings
    )
    new = [NewItem(call_id=f"review-{n:03}", payload={"text": f"Review {n}. " * 9, "n": n}) for n in range(count)]
    at.queues.add_items(queue.id, new, added_by="boss")
    return queue.id


def title_of(page: Page) -> str:
    """Which item the page shows."""
    return text_of(page, "#item h2")


def wait_for_item(page: Page, call_id: str) -> None:
    """Wait until the page shows an item."""
    page.wait_for_function("wanted => document.querySelector('#item h2')?.textContent === wanted", arg=call_id)


def said(at: Desk, queue_id: str) -> dict[str, tuple[AnnotationState, Any]]:
    """What was said of each item."""
    return {
        each.item.call_id: (each.progress.state, each.progress.annotation) for each in at.queues.iter_labels(queue_id)
    }


def test_twenty_items_are_labelled_by_the_keyboard_alone(at: Desk) -> None:
    queue_id = filled(at, 20)
    page = at.rate(queue_id)
    for number in range(20):
        wait_for_item(page, f"review-{number:03}")
        if number == 3:
            page.keyboard.press("Enter")  # nothing is chosen yet
            assert "Sentiment: choose one, or skip" in text_of(page, "#problem")
        page.keyboard.press(str(number % 3 + 1))
        if number == 5:
            page.keyboard.press("2")  # not urgent: the keys went on to the next choice
            page.keyboard.press("Tab")
            page.locator("#field-3").press_sequentially("1 s Enter")
            page.keyboard.press("Control+Enter")
            continue
        if number == 7:
            page.keyboard.press("s")
            continue
        page.keyboard.press("Enter")
    page.wait_for_selector("text=All done")
    labels = ["positive", "negative", "mixed"]
    wanted: dict[str, tuple[AnnotationState, Any]] = {
        f"review-{n:03}": (COMPLETED, {"sentiment": labels[n % 3]}) for n in range(20)
    }
    wanted["review-005"] = (COMPLETED, {"sentiment": "mixed", "urgent": False, "note": "1 s Enter"})
    wanted["review-007"] = (SKIPPED, None)
    answers = said(at, queue_id)
    assert answers.pop("review-007")[0] is wanted.pop("review-007")[0]
    assert answers == wanted
    assert (text_of(page, "#left"), text_of(page, "#mine")) == ("0", "20")


def test_what_was_labelled_or_skipped_is_gone_back_to_and_corrected(at: Desk) -> None:
    queue_id = filled(at, 4)
    page = at.rate(queue_id)
    for number, key in enumerate(("1", "s")):
        wait_for_item(page, f"review-{number:03}")
        page.keyboard.press(key)
        if key != "s":
            page.keyboard.press("Enter")
    wait_for_item(page, "review-002")
    page.locator("#field-3").fill("half a no")  # a draft of the item at hand waits meanwhile
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    wait_for_item(page, "review-001")
    assert "You skipped this one" in text_of(page, "#item")
    page.keyboard.press("ArrowLeft")
    wait_for_item(page, "review-000")
    assert page.locator(".choice[aria-pressed=true]").inner_text().endswith("positive")
    page.keyboard.press("ArrowRight")
    wait_for_item(page, "review-001")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    wait_for_item(page, "review-002")
    assert page.locator("#field-3").input_value() == "half a no"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    wait_for_item(page, "review-001")  # what was corrected last is the newest
    page.keyboard.press("ArrowLeft")
    wait_for_item(page, "review-000")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    wait_for_item(page, "review-002")
    assert said(at, queue_id) == {
        "review-000": (COMPLETED, {"sentiment": "negative"}),
        "review-001": (COMPLETED, {"sentiment": "mixed"}),
    }
    first = at.queues.query_items(queue_id).items[0]
    assert [each.annotation for each in at.queues.history(first.id) if each.to_state is COMPLETED] == [
        {"sentiment": "positive"},
        {"sentiment": "negative"},
    ]


def test_a_reload_in_the_middle_of_a_draft_goes_on_with_the_item_and_all_that_was_typed(at: Desk) -> None:
    queue_id = filled(at, 3)
    page = at.rate(queue_id)
    page.keyboard.press("2")
    page.locator("#field-4").fill("7.5")
    page.locator("#field-3").press_sequentially("half a sent")
    page.reload()  # at once: no draft was sent yet
    wait_for_item(page, "review-000")
    assert page.locator("#field-3").input_value() == "half a sent"
    assert page.locator("#field-4").input_value() == "7.5"
    page.locator("#field-3").press_sequentially("ence")
    page.wait_for_selector("text=Draft saved")
    first = at.queues.query_items(queue_id).items[0]
    (own,) = at.queues.progress(first.id)
    assert (own.state, own.annotation) == (
        IN_PROGRESS,
        {"sentiment": "negative", "stars": 7.5, "note": "half a sentence"},
    )
    # Another browser of the same person has it too: out of the file, not out of the tab.
    other = at.rate(queue_id)
    wait_for_item(other, "review-000")
    assert other.locator("#field-3").input_value() == "half a sentence"


def test_two_raters_are_never_on_one_item_and_what_was_fetched_ahead_is_given_back(at: Desk) -> None:
    queue_id = filled(at, 12)
    pages = [at.rate(queue_id, user) for user in ("ann", "bob")]
    under_way: set[Request] = set()
    for page in pages:
        page.on("request", lambda request: under_way.add(request))  # noqa: PLW0108 - Playwright takes no builtin
        page.on("requestfinished", lambda request: under_way.discard(request))  # noqa: PLW0108 - as above
    seen: list[list[str]] = [[], []]
    for _ in range(4):
        for number, page in enumerate(pages):
            seen[number].append(title_of(page))
            page.keyboard.press("1")
            page.keyboard.press("Enter")
            wait_for(page, lambda number=number, page=page: title_of(page) != seen[number][-1])  # type: ignore[misc]
    assert len({*seen[0], *seen[1]}) == 8
    assert {each.item.call_id for each in at.queues.iter_labels(queue_id)} == {*seen[0], *seen[1]}
    at_hand = [title_of(page) for page in pages]
    for user, page in zip(("ann", "bob"), pages, strict=True):
        wait_for(page, lambda user=user: len(at.queues.holds(queue_id, user)) == 2)  # type: ignore[misc]
        # A page gives back what it knows of.
        wait_for(page, lambda page=page: page.evaluate("true") and not under_way)  # type: ignore[misc]
        page.close()
    # Each keeps the item at hand until its lease ends; the one ahead can be claimed by others.
    for user, call_id in zip(("ann", "bob"), at_hand, strict=True):
        wait_for(page, lambda user=user: len(at.queues.holds(queue_id, user)) == 1)  # type: ignore[misc]
        assert at.queues.holds(queue_id, user)[0].item.call_id == call_id


def test_a_claim_that_is_lost_while_one_types_says_so_and_loses_no_text(at: Desk) -> None:
    queue_id = filled(at, 3)
    page = at.rate(queue_id)
    page.keyboard.press("1")
    page.locator("#field-3").fill("The first half,")
    page.wait_for_selector("text=Draft saved")
    item = at.queues.query_items(queue_id).items[0]
    at.queues.update_progress(item.id, "ann", UNSTARTED, actor_id="boss")
    taken = at.queues.claim_item(item.id, "bob")
    assert taken
    page.locator("#field-3").press_sequentially(" and the second")
    page.wait_for_selector("text=no longer yours")
    assert page.locator("#field-3").input_value() == "The first half, and the second"
    assert page.locator("#done").is_disabled()
    page.click("text=Take it again")
    page.wait_for_selector("text=Somebody else is at work on it")
    at.queues.release(taken)
    page.reload()
    page.wait_for_selector("#item h2")
    # Once it is free again the page resumes nothing of it by itself, but the text comes back with the item.
    while title_of(page) != "review-000":
        before = title_of(page)
        page.keyboard.press("Escape")
        page.keyboard.press("s")
        wait_for(page, lambda before=before: title_of(page) != before)  # type: ignore[misc]
    assert page.locator("#field-3").input_value() == "The first half, and the second"
    page.keyboard.press("Enter")
    wait_for(page, lambda: "review-000" in said(at, queue_id))
    assert said(at, queue_id)["review-000"][1]["note"] == "The first half, and the second"


def test_a_claim_that_is_lost_can_be_taken_again_with_the_text(at: Desk) -> None:
    queue_id = filled(at, 3)
    page = at.rate(queue_id)
    page.locator("#field-3").fill("kept")
    page.wait_for_selector("text=Draft saved")
    item = at.queues.query_items(queue_id).items[0]
    at.queues.update_progress(item.id, "ann", UNSTARTED, actor_id="boss")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_selector("text=no longer yours")
    page.click("text=Take it again")
    wait_for(page, page.locator("#done").is_enabled)
    page.keyboard.press("Escape")
    page.locator("#done").click()
    wait_for(page, lambda: said(at, queue_id) == {"review-000": (COMPLETED, {"sentiment": "positive", "note": "kept"})})


def test_the_next_item_is_there_before_anybody_asks_the_server_for_it(at: Desk) -> None:
    queue_id = filled(at, 4)
    page = at.rate(queue_id)
    wait_for(page, lambda: len(at.queues.holds(queue_id, "ann")) == 2)
    page.route("**/next*", lambda _route: None)  # from now on nothing more is handed out
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    wait_for_item(page, "review-001")


def test_a_page_that_is_open_keeps_its_claims(at: Desk) -> None:
    queue_id = filled(at, 2, lease=timedelta(seconds=2))
    page = at.rate(queue_id)
    wait_for(page, lambda: len(at.queues.holds(queue_id, "ann")) == 2)
    first = [claim.expires_at for claim in at.queues.holds(queue_id, "ann")]
    wait_for(page, lambda: all(map(gt, [claim.expires_at for claim in at.queues.holds(queue_id, "ann")], first)))


def test_a_single_choice_can_be_all_that_it_takes(at: Desk) -> None:
    queue_id = filled(at, 3, label_schema={"enum": ["good", "bad"]})
    page = at.rate(queue_id)
    page.click("text=Keys")
    page.check("#at-once")
    page.locator("#item").focus()
    for number in range(3):
        wait_for_item(page, f"review-{number:03}")
        page.keyboard.press("2")
    page.wait_for_selector("text=All done")
    assert [label for _, label in said(at, queue_id).values()] == ["bad"] * 3


def test_a_link_on_another_site_leads_to_the_page_and_not_to_signing_in(at: Desk) -> None:
    queue_id = filled(at, 1)
    page = at.rate(queue_id)
    elsewhere = at.url.replace(
        "127.0.0.1", "localhost"
    )  # another site for a browser, which holds the strict cookie back
    page.goto(f"{elsewhere}/pages/sign-in")
    page.evaluate("to => { location.href = to }", f"{at.url}/pages/label/{queue_id}")
    page.wait_for_selector("#item h2")
    assert title_of(page) == "review-000"


def test_a_server_that_is_away_takes_nothing_from_what_was_written(at: Desk) -> None:
    queue_id = filled(at, 3)
    page = at.rate(queue_id)
    page.context.set_offline(offline=True)
    page.locator("#field-3").fill("written on a train")
    page.wait_for_selector("text=cannot be reached")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#form[aria-busy=false]")
    assert page.locator("#field-3").input_value() == "written on a train"
    page.context.set_offline(offline=False)
    page.keyboard.press("Enter")
    wait_for_item(page, "review-001")
    assert said(at, queue_id)["review-000"][1] == {"sentiment": "positive", "note": "written on a train"}


def test_without_a_schema_a_label_is_json_or_plain_text(at: Desk) -> None:
    queue_id = filled(at, 3, label_schema=None)
    page = at.rate(queue_id)
    for number, typed in enumerate(('{"score": 1, "tags": ["a"]}', "just fine", "[1")):
        wait_for_item(page, f"review-{number:03}")
        page.keyboard.type(typed)  # the field has the focus already
        page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=this is not JSON yet")
    page.keyboard.type(", 2]")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=All done")
    assert [label for _, label in said(at, queue_id).values()] == [{"score": 1, "tags": ["a"]}, "just fine", [1, 2]]


def test_a_payload_that_wants_to_run_does_not(at: Desk) -> None:
    queue = at.queues.create(HOSTILE, created_by="boss", label_schema={"enum": [HOSTILE, "fine"]}, description=HOSTILE)
    payload: dict[str, JsonValue] = {
        "text": HOSTILE * 3,
        HOSTILE: "javascript:alert(1)",
        "nested": {HOSTILE: [HOSTILE]},
    }
    (item,) = at.queues.add_items(queue.id, [NewItem(call_id=HOSTILE, payload=payload)], added_by="boss").added
    page = at.rate(queue.id)
    assert HOSTILE.strip() in text_of(page, "#item .prose")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=All done")
    assert [label for _, label in said(at, queue.id).values()] == [HOSTILE]
    for path in ("", f"queues/{queue.id}", f"queues/{queue.id}/items/{item.id}", f"queues/{queue.id}/annotators"):
        page.goto(f"{at.url}/pages/{path}")
        assert page.title() != "run"
        assert page.locator("main img, main script, main b").count() == 0


def test_a_payload_of_half_a_megabyte_and_one_of_arabic_are_shown(at: Desk) -> None:
    queue = at.queues.create("Large", created_by="boss", label_schema=SCHEMA)
    payloads = [
        {"text": "word " * 100_000},
        {"text": "هذا المنتج رائع جدًا، أنصح به الجميع. وصل في الموعد المحدد وكانت الجودة ممتازة."},
    ]
    new = [NewItem(call_id=f"item-{number}", payload=payload) for number, payload in enumerate(payloads)]
    at.queues.add_items(queue.id, new, added_by="boss")
    page = at.rate(queue.id, viewport={"width": 390, "height": 844})
    assert page.locator(".prose").evaluate("place => place.textContent.length") == 500_000
    page.click("text=negative")
    page.click("#done")
    wait_for_item(page, "item-1")
    assert page.locator(".prose").evaluate("place => getComputedStyle(place).direction") == "rtl"
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def rows(page: Page) -> list[str]:
    """The items that the list shows."""
    return page.locator("table.items tbody th").all_inner_texts()


def test_the_dashboard_pages_sorts_filters_ranks_resets_removes_and_pauses(at: Desk) -> None:
    queue_id = filled(at, 60)
    first, second = at.queues.query_items(queue_id).items[:2]
    at.queues.update_progress(first.id, "bob", COMPLETED, annotation={"sentiment": "mixed"})
    at.queues.update_progress(second.id, "bob", SKIPPED, reason="unclear")
    page = at.open("", "boss")
    page.get_by_role("link", name="Reviews").first.click()
    page.goto(f"{at.url}/pages/queues/{queue_id}")
    assert rows(page)[0] == "review-000"
    page.click("text=Next")
    assert (rows(page)[0], page.locator("table.items tbody td.number").first.inner_text()) == ("review-050", "51")
    page.get_by_role("link", name="Item", exact=True).click()
    page.get_by_role("link", name="Item", exact=True).click()
    assert rows(page)[0] == "review-059"
    page.check("input[value=skipped]")
    page.click("text=Filter")
    assert rows(page) == ["review-001"]
    page.click("text=Clear")
    page.check("[aria-label='Tick review-002']")
    page.fill("[name=priority]", "9")
    page.click("text=Set priority")
    assert "Priority 9: 1 item changed." in text_of(page, ".notice")
    assert rows(page)[0] == "review-002"
    page.check("[aria-label='Tick review-000']")
    page.get_by_role("button", name="Reset").click()
    page.wait_for_selector("text=1 progress put back")
    assert at.queues.get_item(first.id).annotation_state is UNSTARTED
    page.check("[aria-label='Tick all items of this page']")
    page.get_by_role("button", name="Remove").click()
    page.wait_for_selector("text=Removed: 50 items.")
    assert at.queues.stats([queue_id])[0].total_items == 10
    page.click("text=Undo")
    page.wait_for_selector("text=Restored: 50 items.")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector("text=Paused")
    rater = at.open(f"label/{queue_id}", "ann")
    rater.wait_for_selector("text=This queue is paused")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_selector("text=open again")
    wait_for(rater, lambda: rater.locator("#item h2").count() == 1)  # it looks again by itself
    page.click("text=Annotators and holds")
    page.get_by_role("button", name="Release review-002 from ann").click()
    page.wait_for_selector("text=Released: ann no longer holds it.")
    assert page.locator("section:has(h2:text('History')) tbody tr").count() == 2


def test_axe_finds_nothing_serious_on_any_page(at: Desk) -> None:
    axe = find_axe()
    if axe is None:
        pytest.skip(f"axe-core is not there (npm install axe-core, or {AXE}): accessibility is NOT TESTED")
    queue_id = filled(at, 3)
    item = at.queues.query_items(queue_id).items[0]
    at.queues.update_progress(item.id, "bob", COMPLETED, annotation={"sentiment": "mixed"})
    paths = [
        "",
        f"queues/{queue_id}",
        f"queues/{queue_id}/annotators",
        f"queues/{queue_id}/items/{item.id}",
        f"label/{queue_id}",
    ]
    found: dict[str, list[str]] = {}
    for scheme in ("light", "dark"):
        # Its own script is foreign to the pages' policy.
        page = at.open("", "boss", bypass_csp=True, color_scheme=scheme)
        # In the dark nothing but the colours is different.
        rules = "null" if scheme == "light" else '["color-contrast"]'
        for path in [*paths, "sign-in"] if scheme == "light" else paths[3:]:
            page.goto(f"{at.url}/pages/{path}")
            if path.startswith("label/"):
                page.wait_for_selector("#item h2")
                page.keyboard.press("1")
                page.click("text=Keys")
            page.add_script_tag(path=axe)
            result = page.evaluate(
                f"async () => (await axe.run(document, {{runOnly: {rules} ?? undefined}})).violations"
            )
            found[f"{path} {scheme}"] = [
                f"{each['id']}: {json.dumps([node['html'] for node in each['nodes']])}"
                for each in result
                if each["impact"] in {"serious", "critical"}
            ]
    assert {path: each for path, each in found.items() if each} == {}
