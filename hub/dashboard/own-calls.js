/**
 * The calls that this page sent: what became of each, and how long it took, beside the form.
 */

import { element } from "./event-table.js";
import { durationWords, readable, tone } from "./words.js";

const SHOWN = 4;
const REMEMBERED = 500; // open calls
const EARLY = 5_000; // answers kept while a call is being sent: a second of a busy channel
const EXCERPT = 60; // characters of an answer

export class OwnCalls {
  #list;
  #title;
  #open = new Map(); // call id -> call that waits for its answer
  #early = new Map(); // call id -> answer that may belong to a call whose id is still on its way to us
  #sending = 0;

  constructor(list, title) {
    this.#list = list;
    this.#title = title;
  }

  /** A call is being sent; the value is handed to the other methods. */
  begin({ device, method, uri }) {
    const state = element("span", { class: "state" }, "sending…");
    const item = element("li", {}, element("span", { class: "what" }, `${method} ${uri}`), " ",
      element("span", { class: "where", title: device }, device), " ", state);
    this.#list.prepend(item);
    while (this.#list.children.length > SHOWN) this.#list.lastElementChild.remove();
    this.#title.hidden = false;
    this.#sending += 1;
    return { started: performance.now(), state };
  }

  /** Something to say about a call that is still being sent. */
  remark(call, words) {
    call.state.textContent = words;
  }

  /** The hub refused; no answer will come. */
  refused(call, words) {
    this.#sent();
    say(call.state, words, "bad");
  }

  /** The hub took the call. Returns the round trip in ms if its answer was faster than this news, else undefined. */
  accepted(call, callId) {
    const early = this.#early.get(callId);
    this.#sent();
    if (early) return this.#settle(call, early);
    call.state.textContent = "accepted, waiting for the answer…";
    this.#open.set(callId, call);
    trim(this.#open, REMEMBERED);
    return undefined;
  }

  /** An answer came by the stream. Returns the round trip in ms if it answers one of ours, else undefined. */
  answered(row, received) {
    const call = this.#open.get(row.callId);
    if (!call && !this.#sending) return undefined;
    const { text } = readable(row.payload, row.values);
    const answer = { status: row.status, error: row.error, text: text.slice(0, EXCERPT).trim(), received };
    if (!call) {
      this.#early.set(row.callId, answer);
      trim(this.#early, EARLY);
      return undefined;
    }
    this.#open.delete(row.callId);
    return this.#settle(call, answer);
  }

  /** Ids of the calls whose answer is still to come. */
  get waiting() {
    return [...this.#open.keys()];
  }

  /** The call ended where this page could not see it; `view` is what the hub has on record. */
  foundEnded(callId, view) {
    const call = this.#open.get(callId);
    if (!call || view.state !== "done") return;
    this.#open.delete(callId);
    say(call.state, `answered ${view.status ?? ""} (seen later)`.replace("  ", " "), tone(view.status));
  }

  #sent() {
    this.#sending -= 1;
    if (!this.#sending) this.#early.clear();
  }

  #settle(call, { status, error, text, received }) {
    const trip = Math.max(0, received - call.started);
    const answer = [status, error, text && `“${text}”`].filter(Boolean).join(" ");
    say(call.state, `${answer} in ${durationWords(trip)}`, tone(status));
    return trip;
  }
}

function say(state, words, feeling) {
  state.textContent = words;
  state.dataset.tone = feeling;
}

/** Forget the oldest. */
function trim(map, most) {
  while (map.size > most) map.delete(map.keys().next().value);
}
