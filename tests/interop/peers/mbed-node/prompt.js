// The SDK's own Node at a prompt: statements come in and results go out, one JSON line each.
//
// Every request is the body of an async function in one scope that begins with `api`, a ConnectApi for the host and
// the key of the command line; what it returns goes back as JSON. `loose` keeps what nobody handled.
"use strict";

const path = require("path");
const readline = require("readline");
const { createRequire } = require("module");

const installed = createRequire(path.join(process.argv[2], "package.json"));
const { ConnectApi } = installed("mbed-cloud-sdk");
const [host, apiKey] = process.argv.slice(3);
const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;

// A callback that keeps what it is called with.
function seen() {
  const kept = [];
  const waiting = [];
  const call = (value) => (waiting.length ? waiting.shift()(value) : kept.push(value));
  call.next = (limit = 15000) => {
    if (kept.length) return Promise.resolve(kept.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("nothing was seen")), limit);
      waiting.push((value) => { clearTimeout(timer); resolve(value); });
    });
  };
  call.count = () => kept.length;
  return call;
}

const loose = [];
const scope = { ConnectApi, host, apiKey, seen, loose, api: new ConnectApi({ host, apiKey }) };
process.on("unhandledRejection", (error) => loose.push(String(error)));
process.on("uncaughtException", (error) => loose.push(String(error)));

async function answer(request) {
  let said;
  try {
    const value = await new AsyncFunction("s", `with (s) { ${request.run} }`)(scope);
    said = { value: value === undefined ? null : value };
  } catch (error) {
    console.error(error);
    said = { error: error.name, status: error.code || null, reason: null, text: String(error.message) };
  }
  process.stdout.write(`${JSON.stringify({ id: request.id, ...said })}\n`);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => answer(JSON.parse(line)))
  .on("close", () => process.exit(0));
