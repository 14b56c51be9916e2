/**
 * The table of events: newest on top, at most 500 rows, drawn once per frame however fast events come.
 */

import { durationWords, readable, tone } from "./words.js";

export const MOST_ROWS = 500;
const LONG_PAYLOAD = 160; // characters; longer ones fold

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

/** An element with text and attributes; text never becomes markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export class EventTable {
  #body;
  #empty;
  #waiting = [];
  #drawing = false;
  #trips = new Map(); // call id -> cell of the round trip, for rows that stand in the table

  constructor(body, empty) {
    this.#body = body;
    this.#empty = empty;
  }

  /** Show an event; `trip` is the round trip in ms where the call was ours. */
  add(row, trip) {
    this.#queue({ row, trip });
  }

  /** Show a line of words across the table. */
  addNote(words) {
    this.#queue({ note: words });
  }

  /** Fill in the round trip of an answer that came before the hub had told us its call id. */
  setTrip(callId, trip) {
    const waiting = this.#waiting.find(({ row }) => row?.callId === callId);
    if (waiting) waiting.trip = trip;
    else if (this.#trips.has(callId)) fillTrip(this.#trips.get(callId), trip);
  }

  clear() {
    this.#waiting = [];
    this.#trips.clear();
    this.#body.replaceChildren();
    this.#empty.hidden = false;
  }

  #queue(entry) {
    this.#waiting.push(entry);
    // A hidden tab draws nothing; what could never be seen need not wait either.
    if (this.#waiting.length > MOST_ROWS) this.#waiting.shift();
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawing = false;
    const fresh = this.#waiting.reverse().map((entry) => (entry.note ? noteLine(entry.note) : this.#line(entry)));
    this.#waiting = [];
    this.#body.prepend(...fresh);
    while (this.#body.rows.length > MOST_ROWS) {
      const last = this.#body.rows[this.#body.rows.length - 1];
      this.#trips.delete(last.dataset.call);
      last.remove();
    }
    this.#empty.hidden = this.#body.rows.length > 0;
  }

  #line({ row, trip }) {
    const line = element("tr", { role: "row", "data-kind": row.kind, "data-call": row.callId, "data-place": row.place });
    const at = new Date(row.at);
    const time = element("time", { datetime: row.at, title: `${at.toLocaleString()}, position ${row.place}` }, clock.format(at));
    const outcome = [row.status, row.error].filter((part) => part !== undefined).join(" ");
    const status = outcome && element("span", { class: "status", "data-tone": tone(row.status) }, outcome);
    const tripCell = cell("Round trip", "number");
    if (row.callId) this.#trips.set(row.callId, tripCell);
    line.append(
      cell("Time", "time", time),
      cell("Kind", "kind", element("span", { class: "kind", "data-kind": row.kind }, row.kind)),
      cell("Device", "name", row.device),
      cell("Reference", "name", row.name),
      cell("Status", "", status),
      cell("Payload", "payload", payload(row)),
      tripCell,
    );
    if (trip !== undefined) fillTrip(tripCell, trip);
    return line;
  }
}

function cell(label, kind, ...children) {
  return element("td", { role: "cell", "data-label": label, class: kind || undefined }, ...children.filter((child) => child !== ""));
}

function fillTrip(tripCell, trip) {
  tripCell.textContent = durationWords(trip);
  tripCell.closest("tr").classList.add("mine");
}

function noteLine(words) {
  return element("tr", { role: "row", class: "note" }, element("td", { role: "cell", colspan: "7" }, words));
}

function payload({ payload: content, type, values }) {
  const { text, note } = readable(content, values);
  const about = [note, type && type !== "text/plain" ? type : ""].filter(Boolean).join(", ");
  if (!text && !about) return "";
  const whole = element("div");
  if (text.length > LONG_PAYLOAD) {
    const summary = element("summary", {}, element("code", {}, `${text.slice(0, LONG_PAYLOAD)}…`));
    whole.append(element("details", {}, summary, element("code", {}, text)));
  } else if (text) {
    whole.append(element("code", {}, text));
  }
  if (about) whole.append(" ", element("small", {}, about));
  return whole;
}
