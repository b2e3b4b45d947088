// A scripted Stytch: answers each call as the test says, and counts them.

import { readFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";

import { ROOT } from "./programs.js";

/** A response of Stytch's from the fixtures of the test suite. */
export function fixture(name) {
  return JSON.parse(readFileSync(`${ROOT}tests/it/fixtures/stytch/${name}.json`, "utf8"));
}

/** Listens until the scope ends. `answer(path, body)` returns a status and a body. */
export async function upstream(scope, answer) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    requests.push({ path: request.url, body });
    const [status, answered] = answer(request.url, body);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(answered));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  scope.after(() => server.close());
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}
