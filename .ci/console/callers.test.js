// The console in front of a façade that authenticates its callers: it shows whom it was taken for, and what was refused.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { Authority, folder } from "./support/certificates.js";
import { CREATE, Form, GET } from "./support/form.js";
import { PROGRAM, consoleFor, dev } from "./support/programs.js";

const { test } = runner;

const POLICY = `
[[caller]]
name = "login"
identities = ["spiffe://example.org/ns/web/sa/login", "token:login"]
methods = ["TotpService/*", "RecoveryCodesService/Recover"]

[[caller]]
name = "support"
identities = ["dns:support.internal"]
methods = ["TotpService/Delete", "RecoveryCodesService/Get"]
organizations = ["example-works"]

[[caller]]
name = "slow"
identities = ["dns:slow.internal"]
methods = ["*"]
rate = { per_second = 1, burst = 1 }
`;

const path = folder(runner);
const ours = new Authority(path, "ours");
const theirs = new Authority(path, "theirs");
const server = ours.certify("server", "IP:127.0.0.1");
const [token, line] = execFileSync(PROGRAM, ["token", "login"], { encoding: "utf8" })
  .split("\n").map((text) => text.split(": ")[1]);

const facade = await dev(
  runner,
  "--tls-cert-file", server.file, "--tls-key-file", server.key, "--tls-client-ca-file", ours.file,
  "--tokens-file", ours.write("tokens", `${line}\n`), "--callers-file", ours.write("callers.toml", POLICY),
);
const address = `https://${facade.grpc}`;

const certified = (name, alternative) => {
  const { file, key } = ours.certify(name, alternative);
  return ["--cert-file", file, "--key-file", key];
};
const trusting = (authority) => ["--ca-file", authority.file];
const LOGIN = certified("login", "URI:spiffe://example.org/ns/web/sa/login");
const SUPPORT = certified("support", "DNS:support.internal");
const NOBODY = certified("nobody", "DNS:nobody.internal");
const SLOW = certified("slow", "DNS:slow.internal");

// `reason` and `says` are what the page must show of a refusal.
const CASES = [
  { name: "a client certificate may call", flags: LOGIN, method: CREATE },
  { name: "a token may call", env: { TOTP_FACADE_TOKEN: token }, method: CREATE },
  { name: "a certificate may read", flags: SUPPORT, method: GET },
  { name: "nothing is refused", method: CREATE, code: "UNAUTHENTICATED", reason: "CALLER_UNKNOWN" },
  { name: "a wrong token is refused", env: { TOTP_FACADE_TOKEN: token.slice(1) }, method: CREATE, code: "UNAUTHENTICATED", reason: "CALLER_UNKNOWN" },
  { name: "a certificate of nobody is refused", flags: NOBODY, method: CREATE, code: "UNAUTHENTICATED", reason: "CALLER_UNKNOWN" },
  { name: "a method that the policy forbids is refused", flags: SUPPORT, method: CREATE, code: "PERMISSION_DENIED", reason: "CALLER_NOT_ALLOWED" },
  { name: "an organization that the policy forbids is refused", flags: SUPPORT, method: GET, organization: "works", code: "PERMISSION_DENIED", reason: "CALLER_NOT_ALLOWED" },
  { name: "a rate that is exceeded is refused", flags: SLOW, method: GET, times: 20, code: "RESOURCE_EXHAUSTED", reason: "CALLER_RATE_LIMITED" },
];

for (const { name, flags = [], env, method, organization = "example-works", times = 1, code, reason } of CASES) {
  test(name, async (t) => {
    const { console } = await consoleFor(t, address, [...trusting(ours), ...flags], env);
    await visit(console, async ({ page, context }) => {
      const form = await new Form(page).open(method);
      await form.fill({ organization_id: organization, member_id: method === GET ? "enrolled" : "fresh" });
      let answer;
      for (let sent = 0; sent < times && !(answer && !answer.ok); sent++) answer = await form.send();
      if (!code) {
        assert.equal(await form.state(), "ok");
      } else {
        const { failure } = answer;
        assert.equal(failure?.code, code);
        assert.ok((await form.says("code")).includes(code));
        assert.equal(await form.says("reason").then((text) => text.includes(reason)), true);
        assert.match(await form.says("outcome"), /not sent/i);
        assert.ok((await form.says("advice")).includes(failure.advice));
      }
      // The token stays in the process.
      const held = await page.content() + JSON.stringify(await context.storageState());
      assert.ok(!held.includes(token) && !held.includes(token.slice(1)), "the page has the token");
    });
  });
}

for (const [name, url, flags, outcome] of [
  ["a façade whose authority is not trusted", address, trusting(theirs), /not sent/],
  ["a façade with TLS, called without", `http://${facade.grpc}`, [], /unknown/],
]) {
  test(`${name} is explained as a failure to connect`, async (t) => {
    const { console } = await consoleFor(t, url, flags);
    await visit(console, async ({ page }) => {
      const form = await new Form(page).open(GET);
      await form.fill({ organization_id: "example-works", member_id: "enrolled" });
      await form.send();
      assert.equal(await form.state(), "failed");
      assert.match(await form.says("outcome"), outcome);
      const shown = await form.result.innerText();
      assert.ok(/no façade answered|cannot connect/.test(shown) && shown.includes(facade.grpc), shown);
    });
  });
}

test("no token is in what the console serves", async (t) => {
  const { console } = await consoleFor(t, address, trusting(ours), { TOTP_FACADE_TOKEN: token });
  for (const path of ["/settings.json", "/contract.json", "/"]) {
    assert.ok(!(await (await fetch(console + path)).text()).includes(token), path);
  }
  assert.equal((await (await fetch(`${console}/settings.json`)).json()).has_token, true);
});
