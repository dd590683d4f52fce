"""What keeps the pages safe: signing in, sessions, whose change it is, under which name, and what every answer carries."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import annotation_queue.web.pages
from annotation_queue import InvalidValue, MemoryRepository
from annotation_queue.web import OneTimeTokens, PageOptions, Principal, create_app
from annotation_queue.web.pages.sessions import Sessions
from helpers.page_sites import Site
from helpers.servers import NO_TLS, OTHER, PROJECT, authenticate, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGES = Path(annotation_queue.web.pages.__file__).parent


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """Serve pages of one's own, with options."""
    with ExitStack() as stack:
        yield lambda **options: Site(PageOptions(**options), stack)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Pages for the tests that change nothing in them."""
    with ExitStack() as stack:
        yield Site(PageOptions(logins="1000/minute"), stack)


def paths(site: Site) -> list[str]:
    """Every page of the site."""
    queue, item = "/pages/queues/q", site.items[0].id
    return ["/pages/", queue, f"{queue}/annotators", f"{queue}/items/{item}", f"{queue}/labels.csv", "/pages/label/q"]


CALLS = ["next", "again", "draft", "beat", "done", "skip", "release", "earlier", "correct"]


def test_nothing_is_shown_or_done_for_whoever_is_not_signed_in(site: Site) -> None:
    browser = site.browser()
    for path in paths(site):
        answer = browser.get(path)
        assert answer.status_code == 401
        assert 'name="token"' in answer.text
        assert site.items[0].id not in answer.text.replace(path, "")
    for path in ("/pages/queues/q/pause", "/pages/queues/q/items"):
        assert browser.post(path, data={"paused": "yes", "csrf": ""}).status_code == 401
    for name in CALLS:
        assert browser.post(f"/pages/label/q/{name}", json={}).status_code == 401
    assert not site.queues.get("q").is_paused


def test_without_pages_there_are_none() -> None:
    with MemoryRepository() as repository, serving(create_app(repository, authenticate=authenticate)) as url:
        assert httpx.get(f"{url}/pages/").status_code == 404


def test_a_token_in_an_address_works_once_and_is_in_no_address_afterwards(make_site: Callable[..., Site]) -> None:
    told: list[str] = []
    one_time = OneTimeTokens(Principal("ann", [PROJECT]), told.append)
    one_time.renew()
    site = make_site(one_time=one_time)
    first = site.browser()
    answer = first.get(f"/pages/sign-in?token={told[0]}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/pages/")
    assert first.get("/pages/").status_code == 200
    again = site.browser().get(f"/pages/sign-in?token={told[0]}")
    assert again.status_code == 401
    assert "used already" in again.text
    assert "set-cookie" not in again.headers
    # The next one was told when the first was used.
    assert len(set(told)) == 2
    assert site.browser().get(f"/pages/sign-in?token={told[1]}").status_code == 303


def test_the_cookie_is_for_these_pages_and_no_script_or_other_site_gets_it(site: Site) -> None:
    answer = site.browser().post("/pages/sign-in", data={"token": "ann-key"})
    cookie = answer.headers["set-cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {
        "HttpOnly",
        "Max-Age=43200",
        "Path=/pages",
        "SameSite=strict",
    }
    assert "ann-key" not in str(answer.headers)
    behind_tls = {"X-Forwarded-Proto": "https", "Origin": f"https://{site.url.partition('//')[2]}"}
    safe = site.browser().post("/pages/sign-in", data={"token": "ann-key"}, headers=behind_tls)
    assert "; Secure" in safe.headers["set-cookie"]


def test_whoever_guesses_tokens_has_to_wait(make_site: Callable[..., Site]) -> None:
    site = make_site(logins="3/minute")
    browser = site.browser()
    guesses = [browser.post("/pages/sign-in", data={"token": f"guess-{n}"}).status_code for n in range(4)]
    assert guesses == [401, 401, 401, 429]
    # Not even the right token is looked at before the time is over.
    assert browser.post("/pages/sign-in", data={"token": "ann-key"}).status_code == 429
    with pytest.raises(InvalidValue, match="logins"):
        make_site(logins="often")


@pytest.mark.parametrize("token", ["", "nobody's", "a\nb", "\0", "ann-key\x7f"])
def test_a_token_that_nobody_has_signs_nobody_in(site: Site, token: str) -> None:
    answer = site.browser().post("/pages/sign-in", data={"token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("wanted", "led_to"),
    [
        ("/pages/label/q?x=1", "/pages/label/q?x=1"),
        ("", "/pages/"),
        ("//elsewhere.example/pages/", "/pages/"),
        ("https://elsewhere.example/pages/", "/pages/"),
        ("/elsewhere", "/pages/"),
        ("/pages/\\elsewhere.example", "/pages/"),
        ("/pages/\r\nSet-Cookie: x=1", "/pages/"),
    ],
)
def test_signing_in_leads_to_a_page_of_ours_only(site: Site, wanted: str, led_to: str) -> None:
    answer = site.browser().post("/pages/sign-in", data={"token": "ann-key", "next": wanted})
    assert answer.headers["location"] == led_to


def test_a_change_without_the_token_of_its_session_is_refused(make_site: Callable[..., Site]) -> None:
    site = make_site()
    ann, bob = site.signed_in(), site.signed_in("bob-key")
    for csrf in ("", "x", bob.csrf):
        for path in ("/pages/queues/q/pause", "/pages/queues/q/items"):
            answer = ann.client.post(path, data={"paused": "yes", "act": "remove", "csrf": csrf})
            assert answer.status_code == 403
        for name in CALLS:
            assert ann.call(name, X_CSRF_Token=csrf)[0] == 403
        assert ann.client.post("/pages/sign-out", data={"csrf": csrf}).status_code == 403
    assert not site.queues.get("q").is_paused
    assert ann.client.get("/pages/").status_code == 200
    paused = ann.client.post("/pages/queues/q/pause", data={"paused": "yes", "csrf": ann.csrf})
    assert paused.status_code == 303
    assert site.queues.get("q").is_paused


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_change_that_another_site_sends_is_refused_even_signing_in(site: Site, headers: dict[str, str]) -> None:
    ann = site.signed_in()
    assert ann.client.post("/pages/queues/q/pause", data={"csrf": ann.csrf}, headers=headers).status_code == 403
    assert ann.call("next", None, **{key.replace("-", "_"): value for key, value in headers.items()})[0] == 403
    assert site.browser().post("/pages/sign-in", data={"token": "ann-key"}, headers=headers).status_code == 403
    assert ann.client.post("/pages/sign-out", data={"csrf": ann.csrf}, headers=headers).status_code == 403


def test_a_link_from_elsewhere_finds_its_way_although_the_cookie_is_strict(site: Site) -> None:
    # The browser leaves the cookie out of the first request, and sends it when a page of ours leads on.
    answer = site.browser().get("/pages/label/q?a=1&b=2", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/pages/label/q?a=1&amp;b=2">' in answer.text


def test_the_pages_go_by_the_names_on_the_list_and_by_addresses_in_numbers(make_site: Callable[..., Site]) -> None:
    browser = make_site(hosts=["Labels.example", "*.below.example"]).browser()
    for name in ("labels.example", "LABELS.example:8000", "a.below.example", "localhost:1", "127.0.0.1", "[::1]:8000"):
        assert browser.get("/pages/sign-in", headers={"Host": name}).status_code == 200
    for name in ("evil.example", "labels.example.evil.example", "below.example", "::1", "[::1", "a@127.0.0.1", "[", ""):
        for path in ("/pages/", "/pages/sign-in"):
            assert browser.get(path, headers={"Host": name}).status_code == 421


@pytest.mark.parametrize("hosts", ["labels.example", ["http://a"], ["a:80"], [""], [7], ["*"]])
def test_names_of_the_pages_that_are_no_names_are_refused(hosts: Any) -> None:  # noqa: ANN401 - nothing that fits
    with pytest.raises(InvalidValue, match="hosts"):
        PageOptions(hosts=hosts)


def test_every_answer_forbids_scripts_frames_and_caches(make_site: Callable[..., Site]) -> None:
    site = make_site()
    ann = site.signed_in()
    answers = [ann.client.get(path) for path in paths(site)]
    answers += [
        site.browser().get("/pages/"),
        ann.client.get("/pages/queues/nope"),
        ann.client.get("/pages/assets/nope"),
    ]
    answers += [ann.client.post("/pages/label/q/next", json={}, headers={"X-CSRF-Token": ann.csrf})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
    script = ann.client.get("/pages/assets/pages.js")
    assert (script.status_code, script.headers["cache-control"]) == (200, "no-cache")


def test_no_template_has_a_script_or_a_style_of_its_own_or_turns_escaping_off() -> None:
    for template in (PAGES / "templates").iterdir():
        text = template.read_text(encoding="utf-8")
        assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=|\| *safe|autoescape|https?://", text) == []
    script = (PAGES / "assets" / "pages.js").read_text(encoding="utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", script) == []


def test_what_is_in_a_payload_or_a_name_is_never_markup(site: Site) -> None:
    ann = site.signed_in()
    for path in paths(site):
        text = ann.client.get(path).text
        if not path.endswith("csv"):
            assert "<script>alert" not in text
            assert "<img" not in text
    assert "&lt;script&gt;alert(1)" in ann.client.get(paths(site)[3]).text


def test_a_project_that_is_not_ones_own_is_forbidden(site: Site) -> None:
    ann = site.signed_in()
    assert ann.client.get("/pages/", params={"project": OTHER}).status_code == 403
    assert ann.client.get("/pages/queues/q", params={"project": OTHER}).status_code == 403
    bob = site.signed_in("bob-key")
    assert bob.client.get("/pages/queues/q", params={"project": OTHER}).status_code == 404
    # Whoever has several projects stays in the one that they are in.
    assert f"/pages/label/q?project={PROJECT.replace('/', '%2F')}" in bob.client.get("/pages/queues/q").text


def test_nobody_acts_on_the_claim_of_somebody_else(make_site: Callable[..., Site]) -> None:
    site = make_site()
    held = site.queues.claim("q", "bob")
    assert held
    ann = site.signed_in()
    for name in ("draft", "done", "skip", "release"):
        status, answer = ann.call(name, {"ref": str(held.ref), "annotation": {"a": 1}})
        assert (status, answer["message"]) == (403, "that claim is somebody else's")
    for name in ("beat", "next"):
        assert ann.call(name, {"holding": [str(held.ref)]})[0] == 403
    assert site.queues.holds("q", "bob") == (held,)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b'{"ref": 7}', b'{"ref": "x"}', b"\xff", b'{"ref": ' + b"[" * 100_000]
)
def test_a_call_that_is_none_is_refused(site: Site, body: bytes) -> None:
    ann = site.signed_in()
    headers = {"Content-Type": "application/json", "X-CSRF-Token": ann.csrf}
    for name in ("done", "again", "draft"):
        assert ann.client.post(f"/pages/label/q/{name}", content=body, headers=headers).status_code in {400, 404}


def test_a_body_that_is_too_long_is_refused(site: Site) -> None:
    ann = site.signed_in()
    answer = ann.client.post("/pages/queues/q/items", content=b"csrf=" + b"x" * (4 << 20))
    assert answer.status_code == 413
    assert ann.client.post("/pages/queues/q/items", content=b"a=1&" * 20_000).status_code == 400
    assert ann.client.post("/pages/queues/q/items", content=b"csrf=\xff").status_code == 400


def test_a_session_ends_when_one_signs_out_or_does_nothing_for_long(site: Site) -> None:
    ann = site.signed_in()
    assert ann.client.post("/pages/sign-out", data={"csrf": ann.csrf}).status_code == 303
    assert ann.client.get("/pages/").status_code == 401
    now = [0.0]
    sessions = Sessions(10, lambda: now[0])
    key = sessions.start(Principal("ann", [PROJECT]))
    for now[0] in (9.0, 18.0):
        assert sessions.find(key) is not None
    now[0] = 28.0
    assert sessions.find(key) is None
    assert sessions.find("other") is None
    with pytest.raises(InvalidValue, match="session"):
        PageOptions(session=timedelta())


def test_a_download_is_a_file_in_which_a_spreadsheet_runs_nothing(make_site: Callable[..., Site]) -> None:
    site = make_site()
    for each, label in zip(site.items, ("=1+1", -3), strict=True):
        site.queues.update_progress(each.id, "@bob", "completed", annotation=label, reason="+reason")  # type: ignore[arg-type]
    ann = site.signed_in()
    csv = ann.client.get("/pages/queues/q/labels.csv")
    assert (
        csv.headers["content-disposition"]
        == 'attachment; filename="q-script-alert-1-script-img-src-x-onerror-alert-2.csv"'
    )
    first, second = csv.text.splitlines()[1:]
    assert first.startswith(f"{site.items[0].id},\"'=1+0<script>")
    assert ',\'@bob,completed,"""=1+1""",\'+reason,' in first
    assert ",completed,-3,'+reason," in second
    lines = ann.client.get("/pages/queues/q/labels.jsonl").text.splitlines()
    assert [json.loads(line)["annotation"] for line in lines] == ["=1+1", -3]
    assert ann.client.get("/pages/queues/q/labels.exe").status_code == 404


def test_the_pages_know_where_they_are_mounted(site: Site) -> None:
    url = site.stack.enter_context(serving(Starlette(routes=[Mount("/backend", site.app)])))
    outer = site.stack.enter_context(httpx.Client(verify=NO_TLS, base_url=url))
    assert outer.get("/backend/").headers["location"] == "/backend/pages/"
    signed = outer.post("/backend/pages/sign-in", data={"token": "ann-key"})
    assert signed.headers["location"] == "/backend/pages/"
    assert "Path=/backend/pages" in signed.headers["set-cookie"]
    text = outer.get("/backend/pages/").text
    led_to = re.findall(r'(?:href|src|action)="([^"#]*)"', text)
    assert len(led_to) > 5
    assert [each for each in led_to if not each.startswith("/backend/pages/")] == []
