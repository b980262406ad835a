// Node's fetch as a client: `by_fetch.mjs ADDRESS NAME`.

import { createHash } from "node:crypto";
import { channel } from "node:diagnostics_channel";
import { readFileSync } from "node:fs";

const [address, name] = process.argv.slice(2);
const base = `http://${address}`;

// fetch tells nobody which connection it used; undici, which it stands on, does.
let port = 0;
channel("undici:client:sendHeaders").subscribe(({ socket }) => (port = socket.localPort));

// Services tell clients where they had connected to. For each way that is another place.
const placeless = (text) => text.replaceAll(address, "HOST:PORT");

async function requests() {
  const rows = JSON.parse(readFileSync(new URL("requests.json", import.meta.url)));
  const ports = [];
  for (const row of rows.filter((row) => !(row.not_by ?? []).includes("fetch"))) {
    const text = row.body?.repeat(row.times ?? 1);
    const body = row.chunked ? new Blob([text]).stream() : text;
    const headers = row.headers ?? [];
    const sent = { method: row.method, headers, body, duplex: "half", redirect: "manual" };
    const answer = await fetch(base + row.target, sent);
    const came = Buffer.from(await answer.arrayBuffer()).toString("latin1");
    const read = Buffer.from(placeless(came), "latin1");
    if (!ports.includes(port)) ports.push(port);
    const saw = {
      request: `${row.method} ${row.target} ${JSON.stringify(headers)}`,
      status: answer.status,
      reason: answer.statusText,
      headers: [...answer.headers].map(([name, value]) => [name, placeless(value)]),
      bytes: read.length,
      sha256: createHash("sha256").update(read).digest("hex"),
      text: read.toString("latin1", 0, 2000),
      trailers: [],
      connection: ports.indexOf(port),
    };
    console.log(JSON.stringify(saw));
  }
}

// An event stream with a request in between.
async function stream() {
  const answer = await fetch(`${base}/events/${name}`);
  const reader = answer.body.getReader();
  const text = ({ value }) => Buffer.from(value).toString();
  const seen = [text(await reader.read())];
  seen.push(await (await fetch(`${base}/go/${name}`, { method: "POST" })).text());
  for (let part = await reader.read(); !part.done; part = await reader.read()) seen.push(text(part));
  console.log(JSON.stringify({ request: "events", seen }));
}

await requests();
await stream();
