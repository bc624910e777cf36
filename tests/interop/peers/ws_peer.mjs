// Node's ws, as server and client; it talks as talk.py says.

import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import readline from "node:readline";

import { WebSocket, WebSocketServer } from "ws";

const [certificate, authority] = process.argv.slice(2).map((path) => fs.readFileSync(path));
const LIMITS = { maxPayload: 0 };

const say = (thing) => console.log(JSON.stringify(thing));

// Send everything back until the end.
function echo(ws, path) {
  ws.on("message", (data, isBinary) => {
    const text = isBinary ? "" : data.toString();
    if (text.startsWith("close ")) {
      const [, code, reason] = text.match(/^close (\d+) (.*)$/);
      ws.close(Number(code), reason);
    } else if (text === "fragments") {
      ws.send("one ", { fin: false });
      ws.send("two ", { fin: false });
      ws.send("thrée");
    } else {
      ws.send(data, { binary: isBinary });
    }
  });
  ws.on("close", (code, reason) => say([path, code, reason.toString()]));
}

// A server for each connection: its options are in the query.
function upgrade(request, socket, head) {
  const { pathname, search } = new URL(request.url, "ws://localhost");
  const query = decodeURIComponent(search.slice(1));
  const options = { noServer: true, ...LIMITS, ...JSON.parse(query || "{}") };
  new WebSocketServer(options).handleUpgrade(request, socket, head, (ws) => echo(ws, pathname));
}

const servers = [http.createServer(), https.createServer({ cert: certificate, key: certificate })];
for (const server of servers) {
  server.on("upgrade", upgrade);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}
say(servers.map((server) => server.address().port));

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [uri, options] = JSON.parse(line);
  const path = new URL(uri).pathname;
  const ws = new WebSocket(uri, { ca: authority, ...LIMITS, ...options });
  ws.on("open", () => say([path]));
  echo(ws, path);
}
process.exit();
