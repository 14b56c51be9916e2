// A device made of the library's client: it registers and then does what it is told, one JSON line each way.
//
// Arguments: the folder of the installed library, the hub's host and port, the endpoint name. Says {"did": "registered"}
// and so on, {"executed": ...} and {"wrote": ...} for what the hub did to it.
"use strict";

const path = require("path");
const readline = require("readline");
const { createRequire } = require("module");

const installed = createRequire(path.join(process.argv[2], "package.json"));
// The library prints its log to standard output, where our lines go.
const say = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
const client = installed("lwm2m-node-lib").client;
installed("logops").setLevel("FATAL");
const [host, port, name] = process.argv.slice(3);

const tell = (said) => say(`${JSON.stringify(said)}\n`);
const settings = {
  lifetime: "300", version: "1.0", logLevel: "FATAL", observe: { period: 3000 }, ipProtocol: "udp4",
  serverProtocol: "udp4", formats: [{ name: "lightweightm2m/text", value: 1541 }], writeFormat: "lightweightm2m/text",
};
client.init({ client: settings });

const objects = client.registry;
let device;

function done(word) {
  return (error, result) => {
    if (error) return tell({ did: word, error: String(error.message || error) });
    if (word === "register") {
      device = result;
      client.setHandler(device.serverInfo, "execute", (type, id, resource, value, callback) => {
        tell({ executed: `/${type}/${id}/${resource}`, value });
        callback(null);
      });
      client.setHandler(device.serverInfo, "write", (type, id, resource, value, callback) => {
        tell({ wrote: `/${type}/${id}/${resource}`, value });
        callback(null);
      });
      client.setHandler(device.serverInfo, "read", (type, id, resource, value, callback) => callback(null, value));
    }
    return tell({ did: word });
  };
}

const words = {
  register: () => objects.create("/3303/0", () =>
    objects.setResource("/3303/0", "5700", "21.5", () =>
      objects.setResource("/3303/0", "5605", "x", () =>
        client.register(host, port, "", name, done("register"))))),
  update: () => client.update(device, done("update")),
  set: (value) => objects.setResource("/3303/0", "5700", value, done("set")),
  unregister: () => client.unregister(device, done("unregister")),
};

readline.createInterface({ input: process.stdin })
  .on("line", (line) => { const { word, value } = JSON.parse(line); words[word](value); })
  .on("close", () => process.exit(0));
process.on("uncaughtException", (error) => tell({ did: "fault", error: String(error) }));
