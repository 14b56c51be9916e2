/**
 * A small client of the hub's public API for browsers: calls by HTTP, events by WebSocket.
 *
 * No dependencies, no build. The key travels in the Authorization header and, because browsers cannot
 * set headers on a WebSocket, as a subprotocol; never in a URL.
 *
 *   const hub = new HubClient("ak_...");
 *   const watch = hub.watch("default", { from: "now", onMessage: (m) => console.log(m) });
 *   const { id } = await hub.call({ device: "sim-echo", method: "GET", uri: "/3/0/0" }); // the answer is pushed
 */

import { HubError } from "./hub-error.js";
import { backoff } from "./reconnect.js";
import { Watch } from "./watch.js";

export { HubError };

const REQUEST_LIMIT = 15_000; // ms until a request counts as lost
const CALL_PATIENCE = 30_000; // ms during which a call is repeated while the hub is away

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Whether `text` can be a key at all: what HTTP calls a token, so that it fits a header and a subprotocol. */
export function looksLikeKey(text) {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,512}$/.test(text);
}

/** Text or bytes as base64. */
export function toBase64(content) {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Random letters and digits. `crypto.randomUUID` would need HTTPS, which a hub in a laboratory may not have. */
function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class HubClient {
  #key;
  #base;

  /** @param {string} key @param {{base?: string|URL}} [options] `base`: where the hub is; default: where the page is. */
  constructor(key, { base = new URL(".", document.baseURI) } = {}) {
    if (!looksLikeKey(key)) throw new TypeError("not a key");
    this.#key = key;
    this.#base = new URL(base);
  }

  /** Who the key is: `{account, application, scopes, limits}`. Rejects with HubError 401 for a key that is not known. */
  me() {
    return this.#request("GET", "v1/me");
  }

  /** A page of devices: `{devices: [...], next?}`; hand `next` in as `after`. */
  devices({ limit = 100, after } = {}) {
    const query = new URLSearchParams({ limit: String(limit) });
    if (after) query.set("after", after);
    return this.#request("GET", `v1/devices?${query}`);
  }

  /** One device with its resources. */
  device(id) {
    return this.#request("GET", `v1/devices/${encodeURIComponent(id)}`);
  }

  /** One channel: `{name, epoch, head, first, ...}`. */
  channel(name) {
    return this.#request("GET", `v1/channels/${encodeURIComponent(name)}`);
  }

  /** How a call stands. */
  callState(id) {
    return this.#request("GET", `v1/calls/${encodeURIComponent(id)}`);
  }

  /**
   * Send a call; resolves when the hub has taken responsibility: `{id, ref, channel, epoch, offset}`.
   *
   * The answer of the device comes as a message on `channel`. While the hub is away the request is repeated for
   * up to 30 s under one Idempotency-Key, so the device is never asked twice; `onTrouble(error)` tells of it.
   * Rejects with HubError when the hub refuses.
   */
  async call({ device, method, uri, payload, args, contentType, ref, channel, onTrouble = () => {} }) {
    const body = { method, uri };
    if (payload !== undefined) {
      body["payload-b64"] = toBase64(payload);
      if (contentType) body["content-type"] = contentType;
    }
    if (args !== undefined) body.args = args;
    if (ref) body.ref = ref;
    if (channel) body.channel = channel;
    const headers = { "Idempotency-Key": randomName(), "Content-Type": "application/json" };
    const until = performance.now() + CALL_PATIENCE;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#request("POST", `v1/devices/${encodeURIComponent(device)}/calls`, JSON.stringify(body), headers);
      } catch (error) {
        const wait = 1000 * backoff(attempt, "again", error.retryAfter);
        if (!(error instanceof HubError) || !error.passing || performance.now() + wait > until) throw error;
        onTrouble(error);
        await sleep(wait);
      }
    }
  }

  /**
   * Listen to a channel until `close()`, over losses and restarts, from the last event that was received.
   *
   * @param {string} channel
   * @param {object} options
   *   `from`: "now", "first", "last", `{epoch, offset}`, or `{recent: n}` for the newest n that are kept;
   *   `onMessage(message)`: each event once, in order; `onGap(gap)`: events that can no longer be had;
   *   `onState({state, words, until?, next?})`: state is "connecting", "live", "waiting" (until `until`, on the clock of
   *   `performance.now()`) or "closed" (for good: `next` is "sign-in" or "stop").
   * @returns {Watch}
   */
  watch(channel, options = {}) {
    return new Watch(this, channel, options);
  }

  /** A new stream socket; Watch uses it. */
  openStream() {
    const url = new URL("v1/stream", this.#base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new WebSocket(url, ["hub.v1.json", `key.${this.#key}`]);
  }

  async #request(method, path, body, headers = {}) {
    let response;
    let value = {};
    try {
      response = await fetch(new URL(path, this.#base), {
        method,
        body,
        headers: { Accept: "application/json", Authorization: `Bearer ${this.#key}`, ...headers },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(REQUEST_LIMIT),
      });
      const text = await response.text();
      if (/json/.test(response.headers.get("Content-Type") ?? "")) value = JSON.parse(text);
    } catch (error) {
      if (error instanceof SyntaxError) throw new HubError(502, { detail: "The hub's answer could not be read." });
      throw new HubError(0, {});
    }
    if (!response.ok) throw new HubError(response.status, value, Number(response.headers.get("Retry-After")) || 0);
    return value;
  }
}
