/**
 * From the hub's messages to what a person reads: pure, no DOM.
 */

const KINDS = {
  "async-responses": "answer",
  notifications: "value",
  registrations: "registered",
  "reg-updates": "updated",
  "de-registrations": "left",
  "registrations-expired": "expired",
  progress: "progress",
};

/**
 * The rows that a message stands for; native messages carry one item, older forms may carry many.
 *
 * @returns {Array<{kind, at, place, device, name, status?, error?, payload?, type?, values?, callId?}>}
 */
export function rowsOf(message) {
  const rows = [];
  for (const [list, kind] of Object.entries(KINDS)) {
    for (const item of message[list] ?? []) {
      const it = typeof item === "string" ? { ep: item } : item;
      rows.push({
        kind,
        at: message.at,
        place: `${message.epoch}:${message.offset}`,
        device: it.device ?? it.ep ?? "",
        name: it.path ?? it.id ?? it.ref ?? (it["original-ep"] === it.ep ? "" : (it["original-ep"] ?? "")),
        status: it.status,
        error: it.error,
        payload: it.payload,
        type: it.ct,
        values: it.values,
        callId: it["call-id"],
      });
    }
  }
  return rows;
}

// Control characters, and those that reorder text on the screen, would show something else than what came.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

/**
 * A base64 payload as something to read: the values that the hub decoded from it, a line for each; else its text where it
 * is UTF-8 without control characters, else hexadecimal.
 *
 * @returns {{text: string, note: string}} `note` says what the text is when it is not the payload itself.
 */
export function readable(payload, values) {
  const decoded = valueLines(values);
  if (decoded && !UNSEEN.test(decoded)) return { text: decoded, note: "" };
  if (!payload) return { text: "", note: "" };
  let bytes;
  try {
    bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
  } catch {
    return { text: payload, note: "not base64" };
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!UNSEEN.test(text)) return { text, note: "" };
  } catch {
    // not UTF-8: shown as bytes below
  }
  const shown = bytes.subarray(0, 4096);
  const hex = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { text: bytes.length > shown.length ? `${hex} …` : hex, note: `${bytes.length} bytes, not text` };
}

/** SenML records, a line for each; nothing for anything else. */
function valueLines(values) {
  if (!Array.isArray(values)) return "";
  return values.map((record) => `${record?.n ?? ""} = ${record?.v ?? record?.vs ?? record?.vb ?? record?.vlo ?? record?.vd ?? ""}`).join("\n");
}

/** A gap in one sentence. */
export function gapWords({ reason, from, to }) {
  const which = Number.isInteger(from) && Number.isInteger(to) ? (from === to ? `Event ${from}` : `Events ${from} to ${to}`) : null;
  if (reason === "epoch") return "The channel was made again. Events of its earlier life that this page had not seen can no longer be told.";
  if (reason === "overflow") return `${which ?? "Some events"} were dropped because this page did not keep up.`;
  return `${which ?? "Some events"} are no longer kept, so they are missing here.`;
}

/** A problem's detail as a sentence of its own. */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** How long something took. */
export function durationWords(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** What a refusal means to the person who asked. */
export function refusalWords(error) {
  const fields = (error.problem?.errors ?? []).map(({ pointer, detail }) => `${pointer}: ${detail}`).join("; ");
  const reason = fields ? `${error.message} (${fields})` : error.message;
  if (error.status === 0) return "The hub does not answer. Nothing is known to have been sent.";
  if (error.status === 401) return "The hub does not accept this key any more. Sign in again.";
  if (error.status === 429 && error.retryAfter) return `${reason} Try again in ${Math.ceil(error.retryAfter)} s.`;
  return `Refused (${error.status}): ${reason}`;
}

/** Whether a status is good, a no of the device, or trouble: the word that the style sheet colours. */
export function tone(status) {
  if (status >= 200 && status < 300) return "good";
  return status >= 500 ? "bad" : "doubtful";
}
