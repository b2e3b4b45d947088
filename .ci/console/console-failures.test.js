// What goes wrong between the page and its console, and a call that is retried.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { AUTHENTICATE, CREATE, Form, GET, ROTATE } from "./support/form.js";
import { dev } from "./support/programs.js";

const { test } = runner;
const facade = await dev(runner);
const ENROLLED = { organization_id: "example-works", member_id: "enrolled" };

const unknown = {
  code: "UNAVAILABLE", message: "no answer", reason: null, domain: null, metadata: {}, violations: [], help: [],
  retry_after_ms: null, outcome: "unknown", advice: "Retry it.",
};
const failed = { ok: false, failure: unknown, request_id: null, replayed: false, elapsed_ms: 1 };

/** Sends with the console's answer replaced; resolves with the form. */
async function sent(page, method, reply) {
  const form = await new Form(page).open(method);
  await form.fill(ENROLLED);
  await page.route("**/call", (route) => route.fulfill(reply), { times: 1 });
  await page.getByRole("button", { name: "send", exact: true }).click();
  await form.settled();
  return form;
}

for (const { name, reply, outcome, says } of [
  { name: "413", reply: { status: 413, body: "length limit exceeded" }, outcome: "not sent", says: /too large for the console, which takes 256 KiB/ },
  { name: "403", reply: { status: 403, body: "the console answers as … only" }, outcome: "not sent", says: /refused the request of its page/ },
  { name: "502", reply: { status: 502, body: "gone" }, outcome: "unknown", says: /The console failed: gone/ },
  { name: "no JSON", reply: { body: "<html>" }, outcome: "unknown", says: /cannot show the console's answer/ },
  { name: "another form", reply: { json: { ok: false } }, outcome: "unknown", says: /cannot show the console's answer/ },
  { name: "a failure without its parts", reply: { json: { ok: false, failure: {} } }, outcome: "unknown", says: /cannot show the console's answer/ },
]) {
  test(`a console that answers ${name} is a failure, and the outcome is ${outcome}`, () =>
    visit(facade.console, async ({ page }) => {
      const form = await sent(page, CREATE, reply);
      assert.match(await form.result.innerText(), says);
      assert.ok((await form.says("outcome")).startsWith(outcome), await form.says("outcome"));
      await form.sendsAndFails("ALREADY_EXISTS");
    }, { expectedErrors: /Failed to load resource/ }));
}

test("a retry sends what was sent, and the next request takes a key of its own", () =>
  visit(facade.console, async ({ page, watched }) => {
    const form = await sent(page, ROTATE, { json: failed });
    await form.fill({ member_id: "sms" });
    const retry = page.getByRole("button", { name: "retry with the same key" });
    await retry.focus();
    await page.keyboard.press("Enter");
    await page.locator('#result[data-state="ok"]').waitFor();
    assert.ok(await form.result.evaluate((result) => result.contains(document.activeElement)), "the focus is lost");
    const [first, second] = watched.calls;
    assert.deepEqual(second, first);
    await form.fill({ member_id: "enrolled", organization_id: "example-works" });
    await form.sendsAndSucceeds();
    assert.notEqual(watched.calls[2].idempotency_key, first.idempotency_key);
  }));

test("a call that only reads has changed nothing, whatever its outcome", () =>
  visit(facade.console, async ({ page }) => {
    const form = await sent(page, GET, { json: failed });
    assert.match(await form.says("outcome"), /unknown\s+The call only reads, so it changed nothing\.$/);
  }));

test("an object nested too deep is a problem at its field", () =>
  visit(facade.console, async ({ page, watched }) => {
    const form = await new Form(page).open(AUTHENTICATE);
    for (const depth of [120, 50_000]) {
      await form.fill({ ...ENROLLED, session_custom_claims: `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}` });
      await page.getByRole("button", { name: "send", exact: true }).click();
      assert.match(await form.violation("session_custom_claims"), /nested deeper than 100 levels/);
    }
    assert.equal(watched.calls.length, 0);
  }));

test("the deadline may be a day", () =>
  visit(facade.console, async ({ page, watched }) => {
    const form = await new Form(page).open(GET);
    await form.fill(ENROLLED);
    await page.locator("#deadline").fill("86400000");
    await form.sendsAndSucceeds();
    await page.locator("#deadline").fill("86400001");
    await page.getByRole("button", { name: "send", exact: true }).click();
    await page.locator('#deadline[aria-invalid="true"]').waitFor();
    assert.equal(watched.calls.length, 1);
  }));

test("a default deadline below a millisecond is one", () =>
  visit(facade.console, async ({ page }) => {
    await page.route("**/settings.json", async (route) => {
      const settings = await (await route.fetch()).json();
      await route.fulfill({ json: { ...settings, deadline_ms: 0 } });
    });
    await page.reload();
    await new Form(page).open(GET);
    assert.equal(await page.locator("#deadline").inputValue(), "1");
  }));

test("a PNG that cannot be shown is not to be scanned", () =>
  visit(facade.console, async ({ page }) => {
    const qr_code = `data:image/png;base64,${"A".repeat(64)}`;
    const response = { totp_id: "t", secret: "SECRET", qr_code, recovery_codes: [] };
    const form = await sent(page, CREATE, { json: { ok: true, response, request_id: null, replayed: false, elapsed_ms: 1 } });
    await page.locator("#qr-code").waitFor({ state: "detached" });
    assert.match(await form.result.innerText(), /The QR code is no PNG\. Type the secret\./);
  }));
