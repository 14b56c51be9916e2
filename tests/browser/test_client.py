"""The page's JavaScript client: what it does at each ending of a stream, and where it goes on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Tab
from tests.browser.scripted_hub import ScriptedHub, Stream

# delivery-guarantees E: code -> whether to come back. 1008 is not a reason to come back but to sign in again.
CODES = {
    1000: "stop", 1001: "again", 1002: "stop", 1003: "stop", 1006: "again", 1007: "stop", 1008: "sign-in", 1009: "stop",
    1011: "again", 1012: "again", 1013: "later", 4001: "again", 4008: "again", 4013: "later", 4500: "stop",
    4501: "stop", 4503: "stop", 4000: "again", 4499: "again", 4504: "stop", 4999: "stop",
}  # fmt: skip

WATCH = """
async ([from]) => {
    const { HubClient } = await import("/hub-client.js");
    window.told = [];
    window.watch = new HubClient("ak_scripted").watch("default", {
        from,
        onMessage: (message) => told.push(message.offset),
        onGap: (gap) => told.push(`gap ${gap.reason}`),
        onState: (state) => told.push(state.next ? `closed ${state.next}` : state.state),
    });
}
"""


def live_forever(stream: Stream) -> int:
    stream.confirm()
    return stream.until_it_leaves()


@pytest.fixture
def bare(tab: Tab) -> Page:
    """A tab on the page's origin, to import its modules into."""
    return tab.page


def begin(page: Page, hub: ScriptedHub, start: Any = "now") -> None:
    page.goto(hub.url)
    page.evaluate(WATCH, [start])


def stand_still(page: Page) -> None:
    """From here on the page's clock and its timers move by `page.clock.run_for` only."""
    page.clock.install(time=0)
    page.clock.pause_at(1_000)


def until_told(page: Page, *last: Any) -> list[Any]:
    """What was told, once its end is `last`."""
    page.wait_for_function(
        "(last) => JSON.stringify(told.slice(-last.length)) === JSON.stringify(last)", arg=list(last), timeout=15_000
    )
    told: list[Any] = page.evaluate("told")
    return told


def test_every_close_code_is_judged_as_the_hub_means_it(bare: Page) -> None:
    with ScriptedHub(live_forever) as hub:
        bare.goto(hub.url)

        judged = bare.evaluate(
            """async (codes) => {
                const { judge } = await import("/reconnect.js");
                return codes.map((code) => [code, judge(code).next, judge(code).words]);
            }""",
            list(CODES),
        )

    assert {code: verdict for code, verdict, _ in judged} == CODES
    assert all(words.endswith(".") for _, _, words in judged)


def test_waits_double_up_to_half_a_minute_and_differ_between_pages(bare: Page) -> None:
    with ScriptedHub(live_forever) as hub:
        bare.goto(hub.url)

        shortest, longest, patient, asked = bare.evaluate(
            """async () => {
                const { backoff } = await import("/reconnect.js");
                const tries = [0, 1, 2, 3, 4, 5, 6, 7, 1000];
                const waits = (chance) => tries.map((n) => backoff(n, "again", 0, () => chance));
                return [waits(0), waits(1),
                    backoff(0, "later", 0, () => 0), backoff(0, "again", 12, () => 0)];
            }"""
        )

    assert longest == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert shortest == [wait / 2 for wait in longest]
    assert patient == 2.5
    assert asked == 12


def test_a_lost_stream_goes_on_after_the_last_event_and_tells_nothing_twice(bare: Page) -> None:
    def breaks(stream: Stream) -> int:
        stream.confirm(4)
        stream.event(5)
        stream.event(7)
        return 1012

    def repeats(stream: Stream) -> int:
        stream.confirm(7)
        stream.event(7)
        stream.event(8)
        return stream.until_it_leaves()

    with ScriptedHub(breaks, repeats) as hub:
        begin(bare, hub)
        told = until_told(bare, "live", 8)
        first, second = hub.asked(), hub.asked()

    assert first == {"type": "subscribe", "channel": "default", "from": "now"}
    assert second == {"type": "subscribe", "channel": "default", "epoch": "e1", "offset": 7}
    assert [entry for entry in told if isinstance(entry, int)] == [5, 7, 8]


def test_a_stream_that_broke_before_its_first_event_goes_on_from_where_it_was_confirmed(bare: Page) -> None:
    def breaks(stream: Stream) -> int:
        stream.confirm(41)
        return 1012

    with ScriptedHub(breaks, live_forever) as hub:
        begin(bare, hub)
        until_told(bare, "waiting", "connecting", "live")
        hub.asked()

        assert hub.asked() == {"type": "subscribe", "channel": "default", "epoch": "e1", "offset": 41}


def test_a_gap_is_told_and_moves_the_position_over_it(bare: Page) -> None:
    def with_gap(stream: Stream) -> int:
        stream.confirm(3)
        stream.say(type="gap", channel="a/default", epoch="e2", **{"from": None}, to=None, next=10, reason="epoch")
        return 1012

    with ScriptedHub(with_gap, live_forever) as hub:
        begin(bare, hub, {"epoch": "e1", "offset": 3})
        told = until_told(bare, "gap epoch", "waiting", "connecting", "live")
        hub.asked()

        assert hub.asked() == {"type": "subscribe", "channel": "default", "epoch": "e2", "offset": 10}
    assert told.count("gap epoch") == 1


@pytest.mark.parametrize("code", [4501, 1002])
def test_a_stream_that_is_closed_for_good_is_not_opened_again(bare: Page, code: int) -> None:
    def closes(stream: Stream) -> int:
        stream.confirm()
        return code

    with ScriptedHub(closes) as hub:
        stand_still(bare)
        begin(bare, hub)
        until_told(bare, "live", "closed stop")
        hub.asked()
        bare.clock.run_for(120_000)

        assert hub.subscribes.empty()


def test_a_key_that_is_refused_while_away_leads_to_signing_in(bare: Page) -> None:
    def closes(stream: Stream) -> int:
        stream.confirm()
        return 1011

    with ScriptedHub(closes) as hub:
        hub.me = [(200, {}), (401, {})]
        begin(bare, hub)

        assert until_told(bare, "closed sign-in")[:2] == ["connecting", "live"]


def test_a_retry_after_of_the_hub_is_obeyed(bare: Page) -> None:
    with ScriptedHub(live_forever) as hub:
        hub.me = [(503, {"Retry-After": "7"}), (200, {})]
        stand_still(bare)
        begin(bare, hub)
        until_told(bare, "waiting")

        bare.clock.run_for(6_990)
        assert bare.evaluate("told") == ["connecting", "waiting"]
        bare.clock.run_for(20)
        until_told(bare, "live")


def test_a_line_that_died_silently_is_noticed_by_the_missing_pong(bare: Page) -> None:
    def deaf(stream: Stream) -> int:
        stream.confirm()
        return stream.until_it_leaves()

    with ScriptedHub(deaf) as hub:
        stand_still(bare)
        begin(bare, hub)
        until_told(bare, "live")

        bare.clock.run_for(29_990)
        assert bare.evaluate("told.at(-1)") == "live"
        bare.clock.run_for(20)
        until_told(bare, "live", "waiting")


def test_a_hub_that_answers_pings_is_not_left(bare: Page) -> None:
    def answers(stream: Stream) -> int:
        stream.confirm()
        stream.say(type="pong", n=stream.hear("ping")["n"])
        stream.event(1)
        return stream.until_it_leaves()

    with ScriptedHub(answers) as hub:
        stand_still(bare)
        begin(bare, hub)
        until_told(bare, "live")
        bare.clock.run_for(20_000)
        until_told(bare, 1)  # the pong went before it
        bare.clock.run_for(11_000)

        assert bare.evaluate("told") == ["connecting", "live", 1]


def test_a_subscription_that_is_refused_stops_with_the_reason(bare: Page) -> None:
    def refuses(stream: Stream) -> int:
        stream.say(type="error", problem={"status": 403, "detail": "the key may not listen"})
        return stream.until_it_leaves()

    with ScriptedHub(refuses) as hub:
        begin(bare, hub)

        assert until_told(bare, "closed stop") == ["connecting", "closed stop"]


def test_closing_a_watch_closes_its_socket_and_tells_nothing_more(bare: Page) -> None:
    with ScriptedHub(live_forever) as hub:
        begin(bare, hub)
        until_told(bare, "live")
        with bare.expect_event("console", lambda message: message.text == "ended"):
            bare.evaluate("watch.close(); setTimeout(() => console.log('ended'), 50)")

        assert bare.evaluate("told") == ["connecting", "live"]


def test_the_table_keeps_five_hundred_rows_and_the_newest_on_top(bare: Page) -> None:
    def pours(stream: Stream) -> int:
        stream.confirm()
        for offset in range(1, 701):
            stream.event(offset)
        return stream.until_it_leaves()

    with ScriptedHub(pours) as hub:
        bare.goto(hub.url)
        bare.get_by_label("API key").fill("ak_scripted")
        bare.get_by_role("button", name="Sign in").click()

        expect(bare.locator("#tally")).to_contain_text("700 events")
        expect(bare.locator("#rows tr")).to_have_count(500)
        assert bare.locator("#rows tr").first.locator("td").nth(3).inner_text() == "r700"
        assert bare.locator("#rows tr").last.locator("td").nth(3).inner_text() == "r201"


def test_the_page_counts_down_to_the_next_try_and_can_be_hurried(bare: Page) -> None:
    def closes(stream: Stream) -> int:
        stream.confirm()
        return 1013

    with ScriptedHub(closes, live_forever) as hub:
        stand_still(bare)
        bare.goto(hub.url)
        bare.get_by_label("API key").fill("ak_scripted")
        bare.get_by_role("button", name="Sign in").click()
        expect(bare.locator("#link")).to_have_text(re.compile(r"busy .* Reconnecting in [345] s$"))
        bare.clock.run_for(1_000)
        expect(bare.locator("#link")).to_have_text(re.compile(r"busy .* Reconnecting in [234] s$"))
        bare.get_by_role("button", name="Reconnect now").click()

        expect(bare.locator("#link")).to_have_text("Live")


@pytest.mark.parametrize("order", ["answer first", "202 first"])
def test_the_round_trip_is_known_whichever_of_answer_and_acceptance_comes_first(bare: Page, order: str) -> None:
    with ScriptedHub(live_forever) as hub:
        bare.goto(hub.url)

        trips, state, waiting = bare.evaluate(
            """async (order) => {
                const { OwnCalls } = await import("/own-calls.js");
                const list = document.createElement("ol");
                const own = new OwnCalls(list, document.createElement("h3"));
                const call = own.begin({ device: "d", method: "GET", uri: "/3/0/0" });
                const answer = () => own.answered({ callId: "c", status: 200, payload: "Mw==" }, call.started + 12);
                const steps = [answer, () => own.accepted(call, "c")];
                if (order === "202 first") steps.reverse();
                return [steps.map((step) => step() ?? null), list.querySelector(".state").textContent, own.waiting];
            }""",
            order,
        )

    assert trips == [None, 12]
    assert state == "200 “3” in 12 ms"
    assert waiting == []


def test_a_payload_is_shown_as_what_it_is(bare: Page) -> None:
    shown = {
        "": ("", ""),
        "Z3LDvG4=": ("grün", ""),
        "Mw==": ("3", ""),
        "/wA=": ("ff 00", "2 bytes, not text"),
        "AGE=": ("00 61", "2 bytes, not text"),
        "4oCuYQ==": ("e2 80 ae 61", "4 bytes, not text"),  # would turn the rest of the line around
        "%%%": ("%%%", "not base64"),
    }
    with ScriptedHub(live_forever) as hub:
        bare.goto(hub.url)

        read = bare.evaluate(
            "async (all) => { const { readable } = await import('/words.js'); return all.map(readable); }", list(shown)
        )

    assert {payload: (it["text"], it["note"]) for payload, it in zip(shown, read, strict=True)} == shown


def test_values_that_the_hub_decoded_are_shown_in_the_place_of_their_bytes(bare: Page) -> None:
    values = [{"n": "/3/0/0", "vs": "Acme"}, {"n": "/3/0/9", "v": 0}, {"n": "/3/0/7", "vb": False}, {"n": "/3/0/5"}]
    item = {"ep": "d", "path": "/3/0", "ct": "application/vnd.oma.lwm2m+tlv", "payload": "wQlk", "max-age": 0}

    def told(stream: Stream) -> int:
        stream.confirm()
        place = {"channel": "a/default", "epoch": "e1", "at": "2026-01-01T00:00:00.000Z"}
        spoiled = [{"n": "/3/0/0", "vs": "\u202eAcme"}]  # would turn the rest of the line around
        stream.say(type="message", **place, offset=1, notifications=[{**item, "values": values}])
        stream.say(type="message", **place, offset=2, notifications=[{**item, "values": spoiled}])
        return stream.until_it_leaves()

    with ScriptedHub(told) as hub:
        bare.goto(hub.url)
        bare.get_by_label("API key").fill("ak_scripted")
        bare.get_by_role("button", name="Sign in").click()
        cells = bare.locator("#rows td.payload")
        expect(cells).to_have_count(2)

        expect(cells.nth(1).locator("code").last).to_have_text("/3/0/0 = Acme\n/3/0/9 = 0\n/3/0/7 = false\n/3/0/5 = ")
        expect(cells.nth(1)).to_contain_text("application/vnd.oma.lwm2m+tlv")
        expect(cells.nth(0)).to_contain_text("3 bytes, not text")


def test_every_kind_of_event_has_its_row(bare: Page) -> None:
    place = {"epoch": "e", "offset": 1, "at": "2026-01-01T00:00:00.000Z"}
    messages: list[dict[str, Any]] = [
        {"async-responses": [{"id": "r", "status": 504, "error": "TIMEOUT", "call-id": "c", "device": "d"}]},
        {"notifications": [{"ep": "d", "path": "/3303/0/5700", "payload": "Mw==", "max-age": 0}]},
        {"registrations": [{"ep": "d", "original-ep": "lamp", "q": False, "resources": []}]},
        {"reg-updates": [{"ep": "d", "q": False, "resources": []}]},
        {"de-registrations": ["d"]},
        {"registrations-expired": ["d"]},
    ]
    with ScriptedHub(live_forever) as hub:
        bare.goto(hub.url)
        rows = bare.evaluate(
            "async (all) => { const { rowsOf } = await import('/words.js'); return all.flatMap(rowsOf); }",
            [{**place, **message} for message in messages],
        )

    assert [(row["kind"], row["device"], row["name"]) for row in rows] == [
        ("answer", "d", "r"), ("value", "d", "/3303/0/5700"), ("registered", "d", "lamp"), ("updated", "d", ""),
        ("left", "d", ""), ("expired", "d", ""),
    ]  # fmt: skip
    assert (rows[0]["status"], rows[0]["error"]) == (504, "TIMEOUT")
