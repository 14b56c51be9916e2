/**
 * One channel being watched over losses and restarts: the waiting and connecting to reconnect.js's decisions.
 */

import { HubError } from "./hub-error.js";
import { Cursor, backoff, judge } from "./reconnect.js";

const CONNECT_LIMIT = 10_000; // ms from opening a socket to `subscribed`
const PING_EVERY = 20_000; // ms between our pings
const PONG_LIMIT = 10_000; // ms until a missing pong means that the line is dead
const STEADY = 10_000; // ms alive after which the next loss starts with a short wait again

/** Made by HubClient.watch, which says what the options are. */
export class Watch {
  #hub;
  #channel;
  #from;
  #options;
  #cursor = null;
  #closed = false;
  #hangUp = () => {};
  #hurry = () => {};

  constructor(hub, channel, { from = "now", onMessage = () => {}, onGap = () => {}, onState = () => {} }) {
    this.#hub = hub;
    this.#channel = channel;
    this.#from = from;
    this.#options = { onMessage, onGap, onState };
    this.#run();
  }

  /** `{epoch, offset}` of the last event received, null before the first connection. */
  get position() {
    return this.#cursor?.position ?? null;
  }

  /** Try again now instead of waiting. */
  retryNow() {
    this.#hurry();
  }

  /** Stop listening; no callback runs afterwards. */
  close() {
    this.#closed = true;
    this.#hurry();
    this.#hangUp();
  }

  #tell(state) {
    if (!this.#closed) this.#options.onState(state);
  }

  async #run() {
    for (let attempt = 0; !this.#closed; attempt++) {
      this.#tell({ state: "connecting", words: "Connecting…" });
      const end = await this.#connect();
      if (end.next === "stop" || end.next === "sign-in") {
        this.#tell({ state: "closed", ...end });
        this.#closed = true;
        return;
      }
      if (end.alive >= STEADY) attempt = 0;
      const wait = 1000 * backoff(attempt, end.next, end.retryAfter);
      this.#tell({ state: "waiting", words: end.words, until: performance.now() + wait });
      await this.#pause(wait);
    }
  }

  /** Wait, unless somebody is in a hurry or the browser says that the network is back. */
  async #pause(ms) {
    if (this.#closed) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
      addEventListener("online", this.#hurry, { once: true });
    });
    removeEventListener("online", this.#hurry);
    this.#hurry = () => {};
  }

  /** One connection from its first question to its end; never rejects. */
  async #connect() {
    try {
      // A refused upgrade reaches a page as 1006 without a reason. So the key is asked for first, by HTTP.
      await this.#hub.me();
      this.#cursor ??= new Cursor(await this.#start());
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      if (error.status === 401) return { next: "sign-in", words: "The hub does not accept this key." };
      const next = error.passing || error.status === 429 ? "again" : "stop";
      return { next, words: error.message, retryAfter: error.retryAfter };
    }
    if (this.#closed) return { next: "stop" };
    return this.#listen(this.#hub.openStream());
  }

  /** The members of the first `subscribe`. */
  async #start() {
    const from = this.#from;
    if (typeof from === "string") return { from };
    if (from.recent === undefined) return from;
    try {
      const { epoch, head, first } = await this.#hub.channel(this.#channel);
      return { epoch, offset: Math.max(0, first - 1, head - from.recent) };
    } catch (error) {
      if (error.status === 404) return { from: "first" }; // not made yet: everything is recent
      throw error;
    }
  }

  #listen(socket) {
    return new Promise((resolve) => {
      let liveSince = null;
      let pings = 0;
      let pongs = 0;
      let verdict = null;
      const timers = [];

      const end = (code) => {
        timers.forEach(clearTimeout);
        socket.onmessage = socket.onclose = socket.onopen = null;
        socket.close();
        this.#hangUp = () => {};
        const alive = liveSince === null ? 0 : performance.now() - liveSince;
        resolve({ ...(verdict ?? judge(code)), alive });
      };
      const endBecause = (next, words) => {
        verdict = { next, words };
        end(1000);
      };
      this.#hangUp = () => endBecause("stop", "");

      const beat = () => {
        socket.send(JSON.stringify({ type: "ping", n: ++pings }));
        timers[1] = setTimeout(() => {
          if (pongs < pings) endBecause("again", "The hub does not answer.");
        }, PONG_LIMIT);
        timers[0] = setTimeout(beat, PING_EVERY);
      };

      const live = () => {
        if (liveSince !== null) return;
        clearTimeout(timers[0]);
        liveSince = performance.now();
        timers[0] = setTimeout(beat, PING_EVERY);
        this.#tell({ state: "live", words: "Live" });
      };

      const frames = {
        welcome: () => {
          socket.send(JSON.stringify({ type: "subscribe", channel: this.#channel, ...this.#cursor.request() }));
        },
        subscribed: (frame) => {
          this.#cursor.confirmed(frame);
          live();
        },
        message: (frame) => {
          if (this.#cursor.take(frame)) this.#options.onMessage(frame);
        },
        gap: (frame) => {
          this.#cursor.skip(frame);
          this.#options.onGap(frame);
        },
        unsubscribed: (frame) => end(frame.code ?? 1000),
        pong: (frame) => {
          pongs = Math.max(pongs, frame.n);
        },
        error: ({ problem = {} }) => {
          if (liveSince !== null) return; // our pings cannot be wrong; later hubs may add warnings
          const words = problem.detail || problem.title || "The hub refused the subscription.";
          endBecause(problem.status === 429 || problem.status >= 500 ? "later" : "stop", words);
        },
      };

      timers[0] = setTimeout(() => endBecause("again", "The hub does not answer."), CONNECT_LIMIT);
      socket.onmessage = ({ data }) => {
        if (this.#closed) return;
        const frame = JSON.parse(data);
        frames[frame.type]?.(frame); // frames of later versions are passed over
      };
      socket.onclose = ({ code }) => end(code);
    });
  }
}
