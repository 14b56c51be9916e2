/**
 * What to do when a stream ends, and where to go on: pure, no sockets and no clock.
 *
 * The table follows the hub's close codes: 4000-4499 come back, 4500-4999 do not. Watch (hub-client.js)
 * does the waiting and the connecting.
 */

/** Seconds of the first wait, of the first wait when the hub asked for patience, and of the longest. */
const FIRST = 0.5;
const FIRST_LATER = 5;
const LONGEST = 30;

const CODES = new Map([
  [1000, ["stop", "The hub closed the stream."]],
  [1001, ["again", "The hub went away."]],
  [1002, ["stop", "The hub did not understand this page (protocol error)."]],
  [1003, ["stop", "The hub does not take this kind of message."]],
  [1006, ["again", "The connection was lost."]],
  [1007, ["stop", "The hub could not read a message of this page."]],
  [1008, ["sign-in", "The key is no longer accepted."]],
  [1009, ["stop", "A message of this page was too large."]],
  [1011, ["again", "The hub had an internal error."]],
  [1012, ["again", "The hub is restarting."]],
  [1013, ["later", "The hub is busy or has too many connections."]],
  [4001, ["again", "The session ran out."]],
  [4008, ["again", "This page did not keep up; it goes on where it stopped."]],
  [4013, ["later", "This page sent too many messages."]],
  [4500, ["stop", "The hub does not know a command of this page."]],
  [4501, ["stop", "Another listener took this subscription over."]],
  [4503, ["stop", "The channel was deleted."]],
]);

/**
 * What a close code asks for.
 *
 * @returns {{next: "again"|"later"|"sign-in"|"stop", words: string}} `later` is `again` with more patience.
 */
export function judge(code) {
  const known = CODES.get(code);
  if (known) return { next: known[0], words: known[1] };
  if (code >= 4500 && code <= 4999) return { next: "stop", words: `The hub closed the stream for good (${code}).` };
  return { next: "again", words: `The connection ended (${code}).` };
}

/**
 * Seconds to wait before try number `attempt` (0 is the first after a loss).
 *
 * Doubles up to 30 s, and the upper half is random, so that thousands of pages do not come back in the
 * same moment after a restart. Never less than `atLeast` (a Retry-After).
 */
export function backoff(attempt, next = "again", atLeast = 0, random = Math.random) {
  const first = next === "later" ? FIRST_LATER : FIRST;
  const full = Math.min(LONGEST, first * 2 ** Math.min(attempt, 16));
  return Math.max(atLeast, full / 2 + (full / 2) * random());
}

/**
 * A reader's place in a channel.
 *
 * It moves only by what was really received, so after a break nothing is lost, and what the hub sends
 * again (it promises "at least once") is recognised by its offset and told once.
 */
export class Cursor {
  #start;
  #position = null;

  /** @param {object} start Members of a `subscribe` frame: `{from: "now"}` or `{epoch, offset}`. */
  constructor(start) {
    this.#start = start;
  }

  /** `{epoch, offset}` of the last event seen, or null before the first answer of the hub. */
  get position() {
    return this.#position;
  }

  /** The members that ask the hub to go on from here. */
  request() {
    return this.#position ? { ...this.#position } : { ...this.#start };
  }

  /** The hub confirmed; only the first confirmation says where we are, later ones repeat our own question. */
  confirmed({ epoch, offset }) {
    this.#position ??= { epoch, offset };
  }

  /** Whether this message is new; moves on if it is. */
  take({ epoch, offset }) {
    if (this.#position?.epoch === epoch && offset <= this.#position.offset) return false;
    this.#position = { epoch, offset };
    return true;
  }

  /** A gap was told: the next event is greater than `next`. */
  skip({ epoch, next }) {
    this.#position = { epoch, offset: next };
  }
}
