/**
 * The page: signs in, keeps one watch and one call form going, and says in words what is happening.
 *
 * Everything goes through HubClient, so the page can do what any client can and nothing else.
 */

import { EventTable, element } from "./event-table.js";
import { HubClient, HubError, looksLikeKey } from "./hub-client.js";
import { OwnCalls } from "./own-calls.js";
import { gapWords, refusalWords, rowsOf, sentence } from "./words.js";

const KEY = "hub-key"; // sessionStorage: gone with the tab, never in a URL
const CHANNEL = "hub-channel";
const FROM = { now: "now", first: "first", recent: { recent: 100 } };
const RELOAD_EVERY = 3_000; // ms at least between reloads of the device list that events ask for

const part = (id) => document.getElementById(id);
const table = new EventTable(part("rows"), part("empty"));
const own = new OwnCalls(part("own"), part("own-title"));

let hub = null;
let watch = null;
let watched = "default";
let seen = 0;
let countdown = 0;
let nextPage;
let reloadTimer = 0;

// --- signing in and out ---

async function enter(key) {
  const problem = part("sign-in-error");
  const button = part("sign-in").querySelector("button");
  problem.textContent = "";
  if (!looksLikeKey(key)) {
    problem.textContent = "That is not a key. A key begins with ak_ and has no spaces.";
    return;
  }
  button.disabled = true;
  const client = new HubClient(key);
  let me;
  try {
    me = await client.me();
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    part("key").value = key;
    if (error.status === 401) {
      sessionStorage.removeItem(KEY);
      problem.textContent = "The hub does not know this key. Check that it is whole and was not revoked.";
    } else {
      problem.textContent = error.message;
    }
    return;
  } finally {
    button.disabled = false;
  }
  sessionStorage.setItem(KEY, key);
  open(client, me);
}

function open(client, { account, application, scopes = [] }) {
  hub = client;
  const may = (scope) => scopes.includes(scope) || scopes.includes("admin");
  part("who").textContent = account === application ? application : `${account} / ${application}`;
  for (const id of ["desk", "who", "link", "sign-out"]) part(id).hidden = false;
  part("door").hidden = true;
  part("key").value = "";
  part("send").disabled = !may("call");
  part("call-status").textContent = may("call") ? "" : "This key may not send calls.";
  const stored = sessionStorage.getItem(CHANNEL);
  if (stored) part("channel").value = stored;
  loadDevices();
  listen();
  part("device").focus();
}

function leave(words = "") {
  watch?.close();
  watch = null;
  hub = null;
  clearInterval(countdown);
  clearTimeout(reloadTimer);
  sessionStorage.removeItem(KEY);
  for (const id of ["desk", "who", "link", "sign-out", "retry-now"]) part(id).hidden = true;
  part("door").hidden = false;
  part("sign-in-error").textContent = words;
  part("key").focus();
}

// --- listening ---

function listen() {
  watch?.close();
  watched = part("channel").value.trim();
  sessionStorage.setItem(CHANNEL, watched);
  forgetEvents();
  const mine = (watch = hub.watch(watched, {
    from: FROM[part("from").value],
    onState: (state) => showState(state),
    onGap: (gap) => {
      table.addNote(gapWords(gap));
      lookAfterCalls();
    },
    onMessage: (message) => {
      const received = performance.now();
      seen += 1;
      for (const row of rowsOf(message)) {
        table.add(row, row.callId ? own.answered(row, received) : undefined);
        if (["registered", "updated", "left", "expired"].includes(row.kind)) reloadSoon();
      }
      part("tally").textContent = `${seen} ${seen === 1 ? "event" : "events"} on ${watched}, at position ${mine.position.offset}.`;
    },
  }));
  lookAfterCalls(); // answers to earlier calls may come on the channel that was left
}

function showState({ state, words, until, next }) {
  const link = part("link");
  clearInterval(countdown);
  link.dataset.state = state;
  part("retry-now").hidden = state !== "waiting";
  if (state === "waiting") {
    // The seconds tick for the eye only: a screen reader is told once, not every second.
    const seconds = element("span", { "aria-hidden": "true" });
    const tick = () => {
      const left = Math.max(1, Math.ceil((until - performance.now()) / 1000));
      seconds.textContent = ` in ${left} s`;
    };
    tick();
    countdown = setInterval(tick, 250);
    link.replaceChildren(`${sentence(words)} Reconnecting`, seconds);
  } else if (next === "sign-in") {
    leave(`${sentence(words)} Sign in again.`);
  } else {
    link.textContent = state === "closed" ? `Stopped. ${sentence(words)}` : words;
  }
}

function forgetEvents() {
  seen = 0;
  table.clear();
  part("tally").textContent = "";
}

/** Where events may have been missed, the calls that still wait are asked about by their ids. */
async function lookAfterCalls() {
  for (const id of own.waiting) {
    try {
      own.foundEnded(id, await hub.callState(id));
    } catch (error) {
      if (error.status !== 404) return; // the hub is away; the next gap or the answer itself will tell
    }
  }
}

// --- calling ---

function callFromForm() {
  const text = part("payload").value;
  const asked = {
    device: part("device").value.trim(),
    method: part("method").value,
    uri: part("uri").value.trim(),
    ref: part("ref").value || undefined,
    channel: watched,
  };
  if (asked.method === "INVOKE") {
    const args = text.trim() ? JSON.parse(text) : {};
    if (args === null || typeof args !== "object" || Array.isArray(args)) throw new SyntaxError("not an object");
    return { ...asked, args };
  }
  if (text) return { ...asked, payload: text, contentType: part("content-type").value.trim() };
  return asked;
}

async function send() {
  const status = part("call-status");
  let asked;
  try {
    asked = callFromForm();
  } catch {
    status.textContent = "The arguments of an INVOKE are a JSON object, for example {\"arg\": 1}.";
    part("payload").focus();
    return;
  }
  status.textContent = "";
  part("send").disabled = true;
  const call = own.begin(asked);
  try {
    const onTrouble = (error) => own.remark(call, error.status ? "the hub is busy, trying again…" : "no answer from the hub, trying again…");
    const { id } = await hub.call({ ...asked, onTrouble });
    const trip = own.accepted(call, id);
    if (trip !== undefined) table.setTrip(id, trip);
  } catch (error) {
    own.refused(call, refusalWords(error));
  } finally {
    part("send").disabled = false;
  }
}

function showMethod() {
  const invoke = part("method").value === "INVOKE";
  part("uri-label").textContent = invoke ? "Service" : "Resource";
  part("payload-label").textContent = invoke ? "Arguments (JSON object)" : "Payload (text)";
}

// --- devices ---

async function loadDevices(after) {
  const note = part("devices-note");
  const client = hub;
  try {
    const { devices, next } = await client.devices({ after });
    if (client !== hub) return; // signed out meanwhile
    nextPage = next;
    const buttons = devices.map(deviceLine);
    const options = devices.map(({ id }) => element("option", { value: id }));
    if (after) {
      part("devices").append(...buttons);
      part("device-ids").append(...options);
    } else {
      part("devices").replaceChildren(...buttons);
      part("device-ids").replaceChildren(...options);
    }
    part("more-devices").hidden = !next;
    note.textContent = part("devices").children.length ? "" : "No devices yet.";
    markPicked();
  } catch (error) {
    if (client === hub) note.textContent = `The devices could not be read. ${error.message}`;
  }
}

function deviceLine({ id, name, type, presence = "unknown" }) {
  const button = element("button", { type: "button", "data-device": id },
    element("span", { class: "dot", "data-presence": presence, "aria-hidden": "true" }),
    element("span", { class: "device-id" }, id),
    element("small", {}, [name !== id ? name : "", type, presence].filter(Boolean).join(" · ")));
  button.addEventListener("click", () => pick(id));
  return element("li", {}, button);
}

function pick(id) {
  part("device").value = id;
  offerResources();
  part("uri").focus();
}

/** Suggest the paths of the device that is named in the form. */
async function offerResources() {
  const id = part("device").value.trim();
  markPicked();
  let resources = [];
  try {
    if (id) ({ resources = [] } = await hub.device(id));
  } catch {
    // No suggestions, then: sending the call is what tells whether the device exists.
  }
  if (part("device").value.trim() !== id) return;
  part("uris").replaceChildren(...resources.map(({ uri, rt }) => element("option", { value: uri, label: rt || undefined })));
  part("uri").placeholder = resources[0]?.uri ?? "/3/0/0";
}

function markPicked() {
  const id = part("device").value.trim();
  for (const button of part("devices").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.device === id));
  }
}

/** Registrations change the list; a storm of them reloads it now and then, not each time. */
function reloadSoon() {
  reloadTimer ||= setTimeout(() => {
    reloadTimer = 0;
    if (hub) loadDevices();
  }, RELOAD_EVERY);
}

// --- wiring ---

function onSubmit(id, action) {
  part(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

onSubmit("sign-in", () => enter(part("key").value.trim()));
onSubmit("call", send);
onSubmit("watch", listen);
part("sign-out").addEventListener("click", () => leave());
part("retry-now").addEventListener("click", () => watch?.retryNow());
part("clear").addEventListener("click", forgetEvents);
part("method").addEventListener("change", showMethod);
part("device").addEventListener("change", offerResources);
part("reload-devices").addEventListener("click", () => loadDevices());
part("more-devices").addEventListener("click", () => loadDevices(nextPage));

showMethod(); // a reload may have restored another method
const kept = sessionStorage.getItem(KEY);
if (kept) enter(kept);
