// Pages of other origins, in the same browser as a console, reach nothing through it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import * as runner from "node:test";

import { browser, visit } from "./support/browser.js";
import { Form, GET } from "./support/form.js";
import { consoleFor, dev, serve } from "./support/programs.js";
import { fixture, upstream } from "./support/upstream.js";

const { test } = runner;

const stytch = await upstream(runner, () => [200, fixture("recovery-codes-get.response")]);
const { grpc } = await serve(runner, stytch.url);
const { console: target } = await consoleFor(runner, grpc);
const CALL = { method: GET, request: { organization_id: "o", member_id: "m" }, deadline_ms: 5000, idempotency_key: null };

/** Another site on this machine, which is the hardest one: the browser counts it as the same site. */
const attacker = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>attacker</title>"));
attacker.listen(0, "127.0.0.1");
await once(attacker, "listening");
runner.after(() => attacker.close());
const OTHER_PORT = `http://127.0.0.1:${attacker.address().port}/`;
const OTHER_NAME = `http://localhost:${attacker.address().port}/`;

/** Runs a script on the attacker's page. What the console refuses is logged there as errors, as it should be. */
async function on(origin, script, argument) {
  const context = await (await browser()).newContext();
  try {
    const page = await context.newPage();
    await page.goto(origin);
    return await page.evaluate(script, argument);
  } finally {
    await context.close();
  }
}

/** Runs the attack, and checks that Stytch was not asked. */
async function reachesNothing(attack) {
  const before = stytch.requests.length;
  const result = await attack();
  // The console answers in order: what the attack sent has been handled once this call has.
  const { status } = await raw("GET", "/settings.json");
  assert.equal(status, 200);
  assert.equal(stytch.requests.length, before, "the attack called Stytch");
  return result;
}

/** A request with exactly this path and these headers. */
async function raw(method, path, headers = {}, body = "", host = new URL(target).host) {
  const { hostname, port } = new URL(target);
  const all = { ...(host && { host }), ...headers };
  const sent = ask({ hostname, port, method, path, setHost: false, headers: all });
  sent.end(body);
  const [response] = await once(sent, "response");
  response.resume();
  await once(response, "end");
  return { status: response.statusCode, headers: response.headers };
}

test("the console's own page makes the call that the attacks try to make", () =>
  visit(target, async ({ page }) => {
    const before = stytch.requests.length;
    const form = await new Form(page).open(GET);
    await form.fill(CALL.request);
    await form.sendsAndSucceeds();
    assert.equal(stytch.requests.length, before + 1);
  }));

const TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json", ""];

for (const origin of [OTHER_PORT, OTHER_NAME]) {
  test(`fetches from ${new URL(origin).hostname}, of every kind, make no call and read nothing`, async () => {
    const read = await reachesNothing(() =>
      on(origin, ({ url, types, body }) => {
        const kinds = types.flatMap((type) => ["cors", "no-cors"].map((mode) => ({ type, mode })));
        return Promise.all(kinds.map(({ type, mode }) => {
          const headers = type ? { "content-type": type } : {};
          const sent = type ? body : new Blob([body]);
          const answer = fetch(url, { method: "POST", mode, headers, body: sent, credentials: "include" });
          return answer.then((response) => response.text(), () => "");
        }));
      }, { url: `${target}/call`, types: TYPES, body: JSON.stringify(CALL) }),
    );
    assert.deepEqual(read, TYPES.flatMap(() => ["", ""]));
  });
}

for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
  test(`a form of another origin (${enctype}) makes no call`, () =>
    reachesNothing(async () => {
      const context = await (await browser()).newContext();
      try {
        const page = await context.newPage();
        await page.goto(OTHER_PORT);
        const answered = page.waitForResponse(`${target}/call`);
        await page.evaluate(({ url, enctype, body }) => {
          const form = document.createElement("form");
          Object.assign(form, { method: "POST", action: url, enctype });
          // As text/plain, this is the JSON of a call: name, "=" and value.
          const [name, value] = [body.slice(0, -1) + ',"x":"', '"}'];
          const input = Object.assign(document.createElement("input"), { name, value });
          form.append(input);
          document.body.append(form);
          form.submit();
        }, { url: `${target}/call`, enctype, body: JSON.stringify(CALL) });
        const status = (await answered).status();
        assert.ok([400, 403, 415].includes(status), `it was answered with ${status}`);
      } finally {
        await context.close();
      }
    }));
}

test("a beacon and a keepalive request of another origin make no call", () =>
  reachesNothing(() =>
    on(OTHER_PORT, async ({ url, body }) => {
      navigator.sendBeacon(url, new Blob([body], { type: "text/plain" }));
      await fetch(url, { method: "POST", mode: "no-cors", keepalive: true, body }).catch(() => {});
    }, { url: `${target}/call`, body: JSON.stringify(CALL) })));

test("a page without an origin makes no call", () =>
  reachesNothing(() =>
    on(OTHER_PORT, ({ url, body }) =>
      new Promise((done) => {
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-scripts";
        addEventListener("message", done);
        const sent = `fetch(${JSON.stringify(url)}, { method: "POST", mode: "no-cors", body: ${JSON.stringify(body)} })`;
        frame.srcdoc = `<script>${sent}.catch(() => {}).then(() => parent.postMessage(1, "*"))</script>`;
        document.body.append(frame);
      }), { url: `${target}/call`, body: JSON.stringify(CALL) })));

test("another origin reads nothing of the console", async () => {
  for (const path of ["/", "/contract.json", "/settings.json", "/main.js", "/authenticator"]) {
    const read = await on(OTHER_PORT, async (url) => {
      const as = async (mode) => fetch(url, { mode }).then((response) => response.text(), () => "");
      return [await as("cors"), await as("no-cors")];
    }, target + path);
    assert.deepEqual(read, ["", ""], path);
  }
});

test("another origin loads nothing of the console as a script, style, picture or frame", async () => {
  const loaded = await on(OTHER_PORT, async (url) => {
    const load = (tag, attributes) =>
      new Promise((done) => {
        const element = document.createElement(tag);
        element.onload = () => done(`${tag} ${attributes.src ?? attributes.href} loaded`);
        element.onerror = () => done("");
        Object.assign(element, attributes);
        document.head.append(element);
      });
    return Promise.all([
      load("script", { src: `${url}/contract.json` }),
      load("script", { src: `${url}/settings.json` }),
      load("script", { src: `${url}/main.js` }),
      load("link", { rel: "stylesheet", href: `${url}/style.css` }),
      load("img", { src: `${url}/settings.json` }),
    ]);
  }, target);
  assert.deepEqual(loaded.filter(Boolean), []);
});

test("another origin cannot frame the console", async () => {
  const context = await (await browser()).newContext();
  try {
    const page = await context.newPage();
    const refused = page.waitForEvent("console", (message) => /frame-ancestors|X-Frame-Options/i.test(message.text()));
    await page.goto(OTHER_PORT);
    await page.evaluate((url) => {
      document.body.append(Object.assign(document.createElement("iframe"), { src: url }));
    }, target);
    await refused;
    const frame = page.frames().find((frame) => frame !== page.mainFrame());
    assert.equal(await frame.getByRole("heading", { name: "Try the façade" }).count(), 0);
  } finally {
    await context.close();
  }
});

test("a window that opened the console learns nothing of it", async () => {
  const context = await (await browser()).newContext();
  try {
    const page = await context.newPage();
    await page.goto(OTHER_PORT);
    const opened = context.waitForEvent("page");
    await page.evaluate((url) => { globalThis.opened = window.open(url); }, target);
    const consolePage = await opened;
    await consolePage.getByRole("heading", { level: 1 }).waitFor();
    assert.equal(await consolePage.evaluate(() => window.opener), null);
    assert.equal(await page.evaluate(() => globalThis.opened.closed), true, "the window is still held");
  } finally {
    await context.close();
  }
});

test("a name that an attacker points at loopback gets nothing (DNS rebinding)", async () => {
  const rebound = `http://rebound.example:${new URL(target).port}`;
  const context = await (await browser()).newContext();
  try {
    const page = await context.newPage();
    assert.equal((await page.goto(rebound)).status(), 403);
    assert.equal(await page.getByRole("heading").count(), 0);

    // Before the name was pointed here, it served this.
    await page.route(`${rebound}/attack`, (route) =>
      route.fulfill({ contentType: "text/html", body: "<title>attacker</title>" }));
    await page.goto(`${rebound}/attack`);
    const statuses = await reachesNothing(() =>
      page.evaluate(async (body) => {
        const headers = { "content-type": "application/json" };
        const post = { method: "POST", headers, body };
        const answers = [fetch("/call", post), fetch("/authenticator", post), fetch("/settings.json"), fetch("/contract.json"), fetch("/")];
        return Promise.all(answers.map(async (answer) => (await answer).status));
      }, JSON.stringify(CALL)));
    assert.deepEqual(statuses, [403, 403, 403, 403, 403]);
  } finally {
    await context.close();
  }
});

test("a request without the console's own Host, Origin and content type makes no call", async () => {
  const { host, origin } = new URL(target);
  const json = { "content-type": "application/json" };
  const body = JSON.stringify(CALL);
  for (const [what, headers, hostHeader] of [
    ["another Host", json, "rebound.example"],
    ["another port", json, "127.0.0.1:1"],
    ["a Host that begins alike", json, `${host}.rebound.example`],
    ["a Host with a user", json, `user@${host}`],
    ["an empty Host", { ...json, host: "" }, null],
    ["another Origin", { ...json, origin: "http://rebound.example" }, host],
    ["an Origin of another port", { ...json, origin: "http://127.0.0.1:1" }, host],
    ["an Origin by https", { ...json, origin: origin.replace("http:", "https:") }, host],
    ["an opaque Origin", { ...json, origin: "null" }, host],
    ["a cross-site request without an Origin", { ...json, "sec-fetch-site": "cross-site" }, host],
    ["a same-site request without an Origin", { ...json, "sec-fetch-site": "same-site" }, host],
    ["plain text", { "content-type": "text/plain", origin }, host],
    ["a type that only contains JSON", { "content-type": "text/plain; application/json", origin }, host],
    ["no type", { origin }, host],
  ]) {
    const { status } = await reachesNothing(() => raw("POST", "/call", headers, body, hostHeader));
    assert.ok([400, 403, 415, 421].includes(status), `${what} was answered with ${status}`);
  }
  for (const method of ["GET", "PUT", "OPTIONS", "HEAD"]) {
    const { status, headers } = await reachesNothing(() => raw(method, "/call", { origin: "http://rebound.example" }));
    assert.ok([403, 405].includes(status), `${method} was answered with ${status}`);
    assert.equal(headers["access-control-allow-origin"], undefined);
  }
});

test("no file lies outside the page", async () => {
  for (const path of ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "/..%2fCargo.toml", "/snippets/../../Cargo.toml", "//etc/passwd", "/%00", "/index.html%00.js"]) {
    const { status } = await raw("GET", path);
    assert.ok([400, 404].includes(status), `${path} was answered with ${status}`);
  }
});

test("everything is served with the headers that keep it to itself", async () => {
  for (const path of ["/", "/main.js", "/style.css", "/contract.json", "/settings.json", "/nothing"]) {
    const { headers } = await raw("GET", path);
    const policy = headers["content-security-policy"];
    for (const part of ["default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "form-action 'none'", "base-uri 'none'"]) {
      assert.ok(policy?.includes(part), `${path}: ${part} is not in ${policy}`);
    }
    assert.ok(!/unsafe|\*|https?:/.test(policy), policy);
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    assert.equal(headers["cross-origin-resource-policy"], "same-origin", path);
    assert.equal(headers["cross-origin-opener-policy"], "same-origin", path);
    assert.equal(headers["referrer-policy"], "no-referrer", path);
    assert.match(headers["cache-control"] ?? "", /no-store|no-cache/, path);
  }
});

test("the codes of the sandbox are not there outside dev", async () => {
  const body = JSON.stringify({ member_id: "enrolled" });
  const headers = { "content-type": "application/json", origin: target };
  assert.equal((await raw("POST", "/authenticator", headers, body)).status, 404);
});

test("under dev, another origin gets no code", async (t) => {
  const { console: sandbox } = await dev(t);
  const read = await on(OTHER_PORT, async (url) => {
    const post = (mode, type) =>
      fetch(url, { method: "POST", mode, headers: { "content-type": type }, body: '{"member_id":"enrolled"}' })
        .then((response) => response.text(), () => "");
    return [await post("cors", "application/json"), await post("cors", "text/plain"), await post("no-cors", "text/plain")];
  }, `${sandbox}/authenticator`);
  assert.deepEqual(read, ["", "", ""]);
});
