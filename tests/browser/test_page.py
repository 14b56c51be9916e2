"""The first page, in a real browser, against a real hub: what a person sees who opens it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.conftest import Tab, open_tab
from tests.hub_process import ROOT, HubProcess
from tests.require import require

LAMP = "015f2fa34d310000000000010030036c"
ENDED = re.compile(r"in [\d.]+ m?s")
ANSWERED = re.compile(r"200\b.* in [\d.]+ m?s")


def sign_in(page: Page, hub: HubProcess, key: str | None = None) -> None:
    page.goto(hub.url)
    page.get_by_label("API key").fill(key or hub.key)
    page.get_by_role("button", name="Sign in").click()


def until_live(page: Page) -> None:
    expect(page.locator("#link")).to_have_text("Live", timeout=15_000)


def come_back(page: Page, hub: HubProcess) -> None:
    """The hub serves again, and the page, if it waits for its next try, need not wait longer."""
    hub.start()
    page.locator("#retry-now").evaluate("(button) => button.click()")


def send(page: Page, device: str, method: str, uri: str, payload: str = "", ref: str = "") -> None:
    page.get_by_label("Device", exact=True).fill(device)
    page.get_by_label("Method").select_option(method)
    page.locator("#uri").fill(uri)
    page.locator("#payload").fill(payload)
    if ref and not page.get_by_label("Reference (made").is_visible():
        page.get_by_text("More", exact=True).click()
    if ref:
        page.get_by_label("Reference (made").fill(ref)
    page.get_by_role("button", name="Send").click()


def rows(page: Page, ref: str) -> Locator:
    return page.locator("#rows tr").filter(has=page.get_by_role("cell", name=ref, exact=True))


def test_a_call_sent_on_the_page_shows_its_answer_without_a_reload(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    send(page, LAMP, "PUT", "/5/0/1", "value2", ref="from-the-page")

    answer = rows(page, "from-the-page")
    expect(answer).to_have_count(1)
    expect(answer.get_by_role("cell").nth(4)).to_have_text("200")
    expect(answer.get_by_role("cell").nth(6)).to_have_text(re.compile(r"^[\d.]+ m?s$"))
    expect(page.locator("#own li").first).to_contain_text(ANSWERED)
    assert tab.loads == 1


def test_the_payload_of_an_answer_is_shown_as_text(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    send(page, LAMP, "PUT", "/5/0/1", "grün & <b>fett</b>")
    expect(page.locator("#own li").first).to_contain_text("200")
    send(page, LAMP, "GET", "/5/0/1", ref="read-back")

    expect(rows(page, "read-back").get_by_role("cell").nth(5)).to_contain_text("grün & <b>fett</b>")
    assert page.locator("#rows b").count() == 0


def test_what_ended_while_the_page_was_away_is_shown_exactly_once_after_a_restart(
    own_hub: HubProcess, tab: Tab, context: BrowserContext
) -> None:
    page = tab.page
    sign_in(page, own_hub)
    until_live(page)
    # "Now on", so that the position alone can bring back what is missed.
    page.get_by_label("from").select_option("now on")
    page.get_by_role("button", name="Watch").click()
    until_live(page)
    own_hub.call_and_wait("sim-echo", "before")
    expect(rows(page, "before")).to_have_count(1)

    own_hub.kill()
    expect(page.locator("#link")).to_contain_text("Reconnecting")
    context.set_offline(True)  # the page stays away until the calls have ended, however fast it would come back
    own_hub.start()
    own_hub.call_and_wait("sim-echo", "meanwhile-1")
    own_hub.call_and_wait("sim-echo", "meanwhile-2")
    context.set_offline(False)

    until_live(page)
    own_hub.call_and_wait("sim-echo", "after")
    expect(rows(page, "after")).to_have_count(1)
    for ref in ["before", "meanwhile-1", "meanwhile-2"]:
        expect(rows(page, ref)).to_have_count(1)
    names = page.locator("#rows tr td:nth-child(4)").all_inner_texts()
    assert [name for name in names if name in {"before", "meanwhile-1", "meanwhile-2", "after"}] == [
        "after", "meanwhile-2", "meanwhile-1", "before",
    ]  # fmt: skip
    assert page.locator("#rows tr.note").count() == 0
    assert tab.loads == 1


def test_a_call_that_was_open_at_a_kill_gets_its_answer_on_the_page(own_hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, own_hub)
    until_live(page)

    send(page, "sim-slow", "GET", "/3/0/0", ref="open-at-the-kill")
    expect(page.locator("#own li").first).to_contain_text("waiting for the answer")
    own_hub.kill()
    come_back(page, own_hub)

    expect(rows(page, "open-at-the-kill")).to_have_count(1)
    expect(page.locator("#own li").first).to_contain_text(ANSWERED)


def test_a_call_sent_while_the_hub_is_down_is_sent_once_it_is_back(own_hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, own_hub)
    until_live(page)

    own_hub.kill()
    send(page, "sim-echo", "GET", "/3/0/0", ref="patient")
    expect(page.locator("#own li").first).to_contain_text("trying again")
    own_hub.start()

    expect(rows(page, "patient")).to_have_count(1, timeout=25_000)
    assert len(own_hub.ask("GET", "v1/calls?ref=patient")["calls"]) == 1


def test_a_call_whose_202_was_lost_on_the_way_is_not_made_twice(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    lost: list[int] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    page.route("**/calls", lose_the_first)
    sign_in(page, hub)
    until_live(page)

    send(page, "sim-echo", "POST", "/3/0/4", ref="lost-on-the-way")

    expect(page.locator("#own li").first).to_contain_text(ENDED, timeout=15_000)
    assert lost == [202]
    assert len(hub.ask("GET", "v1/calls?ref=lost-on-the-way")["calls"]) == 1


def test_a_restart_in_good_order_is_told_and_survived(own_hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, own_hub)
    until_live(page)

    own_hub.terminate()
    expect(page.locator("#link")).to_contain_text("Reconnecting")
    come_back(page, own_hub)

    until_live(page)
    own_hub.call_and_wait("sim-echo", "after-the-restart")
    expect(rows(page, "after-the-restart")).to_have_count(1)


def test_a_wrong_key_is_told_in_clear_words_and_not_kept(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub, "ak_nobody_has_this_key_00000000")

    expect(page.get_by_role("alert")).to_contain_text("does not know this key")
    expect(page.locator("#desk")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0


def test_something_that_cannot_be_a_key_is_told_without_asking_the_hub(hub: HubProcess, tab: Tab) -> None:
    sign_in(tab.page, hub, "not a key, ключ")

    expect(tab.page.get_by_role("alert")).to_contain_text("not a key")
    assert not any("/v1/" in address for address in tab.addresses)


def test_the_key_is_kept_in_this_tab_only_and_never_in_an_address(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    page.reload()
    until_live(page)

    assert page.evaluate("sessionStorage.getItem('hub-key')") == hub.key
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
    assert any(address.startswith("ws:") for address in tab.addresses)
    assert not any(hub.key in address for address in tab.addresses)


def test_signing_out_forgets_the_key(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    page.get_by_role("button", name="Sign out").click()
    page.reload()

    expect(page.get_by_label("API key")).to_have_value("")
    assert page.evaluate("sessionStorage.getItem('hub-key')") is None


def test_a_revoked_key_leads_back_to_signing_in(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    made = hub.ask("POST", "v1/keys", {"scopes": ["call", "listen", "device"], "label": "to be revoked"})
    sign_in(page, hub, made["key"])
    until_live(page)

    hub.ask("DELETE", f"v1/keys/{made['id']}")

    expect(page.get_by_role("alert")).to_contain_text("Sign in again")
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('hub-key')") is None


def test_a_key_that_may_not_listen_is_told_so(hub: HubProcess, tab: Tab) -> None:
    made = hub.ask("POST", "v1/keys", {"scopes": ["call"], "label": "calls only"})

    sign_in(tab.page, hub, made["key"])

    expect(tab.page.locator("#link")).to_have_text("Stopped. The key needs the scope listen.")


def test_nothing_on_the_page_breaks_its_own_policy(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    first = page.goto(hub.url)
    assert first is not None
    policy = first.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy and "*" not in policy
    sign_in(page, hub)
    until_live(page)
    send(page, LAMP, "GET", "/5/0/1", ref="under-policy")
    expect(rows(page, "under-policy")).to_have_count(1)

    assert tab.violations() == []
    assert tab.console_errors == []

    # The listener would have heard one.
    page.evaluate("new Image().src = 'http://127.0.0.1:9/elsewhere.png'")
    page.wait_for_function("window.violations.length === 1")


def test_two_tabs_see_the_same_events(hub: HubProcess, tab: Tab, context: BrowserContext) -> None:
    other = open_tab(context)
    for each in (tab, other):
        sign_in(each.page, hub)
        until_live(each.page)
    tab.page.bring_to_front()

    send(tab.page, "sim-echo", "GET", "/3/0/0", ref="for-both")

    for each in (tab, other):
        expect(rows(each.page, "for-both")).to_have_count(1)
    expect(rows(tab.page, "for-both").get_by_role("cell").nth(6)).not_to_have_text("")
    expect(rows(other.page, "for-both").get_by_role("cell").nth(6)).to_have_text("")


def test_a_channel_that_was_made_again_is_told_as_a_gap(own_hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, own_hub)
    until_live(page)
    own_hub.call_and_wait("sim-echo", "in-the-old-life")
    expect(rows(page, "in-the-old-life")).to_have_count(1)

    own_hub.kill()
    shutil.rmtree(own_hub.data)
    come_back(page, own_hub)

    expect(page.locator("#rows tr.note")).to_contain_text("The channel was made again")
    own_hub.call_and_wait("sim-echo", "in-the-new-life")
    expect(rows(page, "in-the-new-life")).to_have_count(1)


def test_a_deleted_channel_stops_the_page_and_says_so(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)
    page.get_by_label("Channel").fill("news")
    page.get_by_role("button", name="Watch").click()
    expect(page.locator("#tally")).to_have_text("")
    until_live(page)

    send(page, "sim-echo", "GET", "/3/0/0", ref="on-news")
    expect(rows(page, "on-news")).to_have_count(1)
    hub.ask("DELETE", "v1/channels/news")

    expect(page.locator("#link")).to_have_text("Stopped. The channel was deleted.")
    expect(rows(page, "on-news")).to_have_count(1)


def test_a_refused_call_is_told_and_makes_no_row(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    send(page, "no-such-device", "GET", "/3/0/0", ref="refused")

    expect(page.locator("#own li").first).to_contain_text("Refused (404)")
    expect(rows(page, "refused")).to_have_count(0)


def test_the_answer_nobody_gives_leaves_the_page_waiting(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    send(page, "sim-never", "GET", "/3/0/0")

    expect(page.locator("#own li").first).to_contain_text("waiting for the answer")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_arguments_that_are_no_object_are_told_before_anything_is_sent(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)
    until_live(page)

    send(page, "sim-echo", "INVOKE", "service", "[1, 2")

    expect(page.locator("#call-status")).to_contain_text("JSON object")
    assert page.locator("#own li").count() == 0


def test_a_device_that_registers_by_coap_is_on_the_page(hub: HubProcess, tab: Tab) -> None:
    client = require("coap-client-notls")
    url = f"coap://127.0.0.1:{hub.said['ports']['coap']}/rd?ep=by-hand&lt=300&lwm2m=1.1"
    subprocess.run([client, "-m", "post", "-t", "40", "-e", "</3303/0>", url], check=True, timeout=30)

    sign_in(tab.page, hub)

    expect(tab.page.locator("#devices").get_by_role("button").filter(has_text="by-hand")).to_have_count(1)


def test_a_device_can_be_picked_from_the_list(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, hub)

    page.locator("#devices").get_by_role("button").filter(has_text=LAMP).click()

    expect(page.get_by_label("Device", exact=True)).to_have_value(LAMP)
    expect(page.locator("#uris option[value='/3303/0/5700']")).to_have_count(1)
    expect(page.locator("#devices [aria-pressed=true]")).to_have_count(1)


def test_the_page_can_be_used_with_the_keyboard_alone(hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    page.goto(hub.url)
    page.keyboard.press("Tab")
    page.keyboard.type(hub.key)
    page.keyboard.press("Enter")
    until_live(page)

    page.keyboard.type("sim-echo")  # the form has the focus after signing in
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("/3/0/0")
    page.keyboard.press("Enter")

    expect(page.locator("#own li").first).to_contain_text(ANSWERED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_narrow_screen(hub: HubProcess, tab: Tab, scheme: Literal["light", "dark"]) -> None:
    page = tab.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 400, "height": 800})
    sign_in(page, hub)
    until_live(page)
    send(page, LAMP, "PUT", "/5/0/1", "x" * 120, ref="a-rather-long-reference/with/a/path/and-more-of-it-to-come")
    expect(page.locator("#rows tr").first).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator(".scroll").evaluate("(table) => table.scrollWidth <= table.clientWidth")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((c) => c < 128)")
    assert dark == (scheme == "dark")


def test_every_control_has_a_name(hub: HubProcess, tab: Tab) -> None:
    sign_in(tab.page, hub)
    until_live(tab.page)

    nameless = tab.page.evaluate(
        """[...document.querySelectorAll("input, select, textarea")]
            .filter((control) => !control.labels.length).map((control) => control.id)"""
    )
    assert nameless == []


@pytest.mark.skipif(os.environ.get("HUB_WRITE_SCREENSHOTS") != "1", reason="HUB_WRITE_SCREENSHOTS=1 writes docs/images")
def test_the_picture_in_the_documentation_is_drawn(own_hub: HubProcess, tab: Tab) -> None:
    page = tab.page
    sign_in(page, own_hub)
    until_live(page)
    for method, uri, payload in [("GET", "/3303/0/5700", ""), ("PUT", "/5/0/1", "value2"), ("GET", "/5/0/1", "")]:
        send(page, LAMP, method, uri, payload)
        expect(page.locator("#own li").first).to_contain_text(ENDED)
    send(page, "sim-slow", "GET", "/3/0/0")
    expect(page.locator("#own li").first).to_contain_text(ENDED)
    send(page, LAMP, "GET", "/9/9/9")
    send(page, LAMP, "GET", "/3303/0/5700")
    expect(page.locator("#own li").first).to_contain_text(ENDED)

    picture: Path = ROOT / "docs" / "images" / "page.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=picture)
