// Every method is sent and answered through the page, and a failure says what is known and what to do.

import assert from "node:assert/strict";
import { EventEmitter, on } from "node:events";
import * as runner from "node:test";

import { layoutShift, visit } from "./support/browser.js";
import { AUTHENTICATE, CREATE, DELETE, Form, GET, MIGRATE, RECOVER, ROTATE } from "./support/form.js";
import { isInSight } from "./support/keyboard.js";
import { consoleFor, dev } from "./support/programs.js";
import { decode } from "./support/qr.js";

const { test } = runner;
const facade = await dev(runner);

const ORGANIZATION = "example-works";
const FRESH = { organization_id: ORGANIZATION, member_id: "fresh" };
const ENROLLED = { organization_id: ORGANIZATION, member_id: "enrolled" };

async function code(member_id) {
  const response = await fetch(`${facade.console}/authenticator`, {
    method: "POST",
    headers: { "content-type": "application/json", origin: facade.console },
    body: JSON.stringify({ member_id }),
  });
  return (await response.json()).code;
}

// In this order, each method finds what it needs. `sent` is the request where it is not what was typed.
const CALLS = [
  { method: CREATE, typed: () => ({ ...FRESH, expiration_minutes: "5" }), sent: { expiration_minutes: 5 } },
  {
    method: AUTHENTICATE,
    typed: async () => ({
      ...FRESH,
      code: await code("fresh"),
      intermediate_session_token: "sandbox-login.fresh",
      session_duration_minutes: "480",
      session_custom_claims: '{"tier": "gold", "seats": [1, null, {"deep": "\\u00e9"}]}',
      set_mfa_enrollment: "enroll",
      set_default_mfa: "true",
      telemetry_id: "telemetry-1",
    }),
    sent: {
      session_duration_minutes: 480,
      session_custom_claims: { tier: "gold", seats: [1, null, { deep: "é" }] },
      set_default_mfa: true,
    },
  },
  { method: DELETE, typed: () => FRESH },
  {
    method: MIGRATE,
    typed: () => ({ ...FRESH, secret: "MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI", recovery_codes: "their-old-1\ntheir-old-2" }),
    sent: { recovery_codes: ["their-old-1", "their-old-2"] },
  },
  {
    method: RECOVER,
    typed: () => ({
      ...ENROLLED,
      recovery_code: "code-0000-0001",
      intermediate_session_token: "sandbox-login.enrolled",
    }),
  },
  { method: GET, typed: () => ENROLLED },
  { method: ROTATE, typed: () => ENROLLED },
];

test("every method of the contract is in the table of calls", async () => {
  const { services } = await (await fetch(`${facade.console}/contract.json`)).json();
  const names = services.flatMap(({ methods }) => methods.map(({ name }) => name));
  assert.deepEqual(CALLS.map(({ method }) => method).sort(), names.sort());
});

for (const { method, typed, sent } of CALLS) {
  test(`${method} is sent as typed and its answer is shown`, () =>
    visit(facade.console, async ({ page, watched }) => {
      const form = await new Form(page).open(method);
      const request = await typed();
      await form.fill(request);
      const response = await form.sendsAndSucceeds();

      const [call] = watched.calls;
      assert.deepEqual(call.request, { ...request, ...sent });
      assert.equal(call.method, method);
      assert.equal(call.idempotency_key === null, method === GET, "all but reads carry a key");
      assert.equal(await form.says("request-id").then((text) => text.includes(response.request_id)), true);
      assert.match(await form.says("elapsed"), /\d+ ms|\d\.\d+ s/);
      const shown = await form.result.innerText();
      assert.ok(shown.includes(response.member_id), "the answer shows the member's id");
      for (const secret of await watched.secrets.all()) {
        assert.ok(!shown.includes(secret), `a secret is shown before anyone asks for it: ${secret}`);
      }
    }));
}

test("the QR code on the screen holds the secret that the page shows on demand", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(CREATE);
    // The migrated TOTP of the calls above.
    await form.open(DELETE);
    await form.fill(FRESH);
    await form.sendsAndSucceeds();
    await form.open(CREATE);
    await form.fill(FRESH);
    const { secret } = await form.sendsAndSucceeds();

    const uri = decode(await page.locator("#qr-code").screenshot());
    assert.equal(uri.protocol, "otpauth:");
    assert.equal(uri.searchParams.get("secret"), secret);
  }));

// What the page must say: `violations` by field.
const FAILURES = [
  {
    name: "a value out of range is marked at its field",
    method: CREATE,
    typed: { ...FRESH, expiration_minutes: "2" },
    code: "INVALID_ARGUMENT",
    outcome: /not sent/i,
    violations: { expiration_minutes: /must be from 5 to 1440 minutes/ },
  },
  {
    name: "each missing field is marked",
    method: AUTHENTICATE,
    typed: { organization_id: "", member_id: "" },
    code: "INVALID_ARGUMENT",
    outcome: /not sent/i,
    violations: { organization_id: /required/, member_id: /required/, code: /six digits/, intermediate_session_token: /required/ },
  },
  {
    name: "a wrong code is marked although Stytch judged it",
    method: AUTHENTICATE,
    typed: { ...ENROLLED, code: "000000", intermediate_session_token: "sandbox-login.enrolled.wrong" },
    code: "INVALID_ARGUMENT",
    outcome: /rejected/i,
    violations: { code: /the code is not accepted/ },
  },
  {
    name: "a second TOTP is refused with its reason",
    method: CREATE,
    typed: ENROLLED,
    code: "ALREADY_EXISTS",
    reason: "ACTIVE_TOTP_EXISTS",
    outcome: /rejected/i,
  },
  {
    name: "a rate limit says when to retry",
    method: CREATE,
    typed: { ...FRESH, member_id: "rate-limited" },
    code: "RESOURCE_EXHAUSTED",
    reason: "TOO_MANY_REQUESTS",
    outcome: /rejected/i,
  },
  {
    name: "a locked member",
    method: CREATE,
    typed: { ...FRESH, member_id: "locked" },
    code: "RESOURCE_EXHAUSTED",
    reason: "USER_LOCK_LIMIT_REACHED",
    outcome: /rejected/i,
  },
  {
    name: "an error of Stytch's has an unknown outcome",
    method: CREATE,
    typed: { ...FRESH, member_id: "internal-error" },
    code: "UNKNOWN",
    outcome: /unknown/i,
  },
  {
    name: "a deadline that passes has an unknown outcome",
    method: CREATE,
    typed: { ...FRESH, member_id: "slow" },
    deadline: "1000",
    code: "DEADLINE_EXCEEDED",
    outcome: /unknown/i,
  },
];

for (const { name, method, typed, deadline, code, reason, outcome, violations = {} } of FAILURES) {
  test(name, () =>
    visit(facade.console, async ({ page }) => {
      const form = await new Form(page).open(method);
      await form.fill(typed);
      if (deadline) await page.locator("#deadline").fill(deadline);
      const failure = await form.sendsAndFails(code);

      assert.match(await form.says("outcome"), outcome);
      // Where the console's own time runs out first, there is no status with a reason.
      assert.equal(await form.says("reason"), reason ?? failure.reason);
      assert.ok((await form.says("advice")).includes(failure.advice));
      for (const [field, text] of Object.entries(violations)) {
        assert.match((await form.violation(field)) ?? "not marked", text, field);
      }
      const [first] = Object.keys(violations);
      if (first) {
        const focused = await page.evaluate(() => document.activeElement.id);
        assert.equal(focused, await form.input(first).getAttribute("id"), "the first marked field has the focus");
      }
      const marked = await page.locator('[aria-invalid="true"]').count();
      assert.equal(marked, Object.keys(violations).length, "no other field is marked");
    }));
}

for (const [width, height] of [[360, 640], [1440, 700]]) {
  test(`a failure brings the first marked field in sight, at ${width} px`, () =>
    visit(facade.console, async ({ page }) => {
      const form = await new Form(page).open(AUTHENTICATE);
      const field = "session_duration_minutes";
      await form.fill({ ...ENROLLED, code: "123456", session_token: "token", [field]: "2" });
      await form.sendsAndFails("INVALID_ARGUMENT");
      const description = page.locator(`[id="${await form.input(field).getAttribute("aria-describedby")}"]`);
      assert.ok(await isInSight(form.input(field)), "something lies over the field");
      assert.ok(await isInSight(description), "something lies over what is wrong with it");
    }, { viewport: { width, height } }));
}

test("a mark goes once the value is right", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(CREATE);
    await form.fill({ ...FRESH, expiration_minutes: "2" });
    await form.sendsAndFails("INVALID_ARGUMENT");
    await form.fill({ expiration_minutes: "5" });
    await form.sendsAndSucceeds();
    assert.equal(await form.violation("expiration_minutes"), null);
  }));

test("an object that is not JSON is marked with line and column, and not sent", () =>
  visit(facade.console, async ({ page, watched }) => {
    const form = await new Form(page).open(AUTHENTICATE);
    await form.fill({ ...ENROLLED, code: "123456", session_custom_claims: '{\n  "tier": gold\n}' });
    await page.getByRole("button", { name: "send", exact: true }).click();
    await page.locator('[aria-invalid="true"]').waitFor();
    assert.match(await form.violation("session_custom_claims"), /line 2.*column 11/i);
    assert.deepEqual(watched.calls, []);
  }));

test("a key that is kept replays the answer, and otherwise each send has its own", () =>
  visit(facade.console, async ({ page, watched }) => {
    const form = await new Form(page).open(ROTATE);
    await form.fill(ENROLLED);
    const [first, second] = [await form.sendsAndSucceeds(), await form.sendsAndSucceeds()];
    assert.notDeepEqual(first.recovery_codes, second.recovery_codes);
    assert.equal(await form.says("replayed"), null);

    await page.getByRole("button", { name: "keep" }).click();
    const [third, fourth] = [await form.sendsAndSucceeds(), await form.sendsAndSucceeds()];
    assert.deepEqual(third, fourth);
    assert.match(await form.says("replayed"), /replayed/i);

    await page.getByRole("button", { name: "new", exact: true }).click();
    await form.sendsAndSucceeds();
    const keys = watched.calls.map(({ idempotency_key }) => idempotency_key);
    assert.equal(new Set(keys).size, 4, `keys: ${keys}`);
    assert.equal(keys[2], keys[3]);
    for (const key of keys) assert.match(key, /^[\x21-\x7e]{1,255}$/);
  }));

/** Makes the answers wait until the test lets them go, and resolves to what lets the next one go. */
async function held(page) {
  const calls = new EventEmitter();
  const waiting = on(calls, "held");
  await page.route("**/call", (route) => calls.emit("held", route));
  return async () => {
    await page.locator('#result[data-state="sending"]').waitFor();
    // The page shows that it sends before its request is here.
    const [route] = (await waiting.next()).value;
    await route.continue();
  };
}

test("two clicks send one call, and the wait shows", () =>
  visit(facade.console, async ({ page, watched }) => {
    const release = await held(page);
    const form = await new Form(page).open(GET);
    await form.fill(ENROLLED);
    await page.getByRole("button", { name: "send", exact: true }).dblclick();
    await release();
    await form.settled();
    assert.equal(watched.calls.length, 1);
  }));

for (const width of [360, 800, 1440]) {
  test(`nothing moves while a call is answered, at ${width} px`, () =>
    visit(facade.console, async ({ page }) => {
      const release = await held(page);
      const form = await new Form(page).open(CREATE);
      for (const [minutes, state] of [["5", "ok"], ["2", "failed"], ["6", "ok"]]) {
        await form.fill({ ...FRESH, expiration_minutes: minutes });
        await page.getByRole("button", { name: "send", exact: true }).click();
        await page.locator('#result[data-state="sending"]').waitFor();
        await layoutShift(page);
        await release();
        await page.locator(`#result[data-state="${state}"]`).waitFor();
        if (state === "ok") await page.locator("#qr-code").waitFor();
        const { total, shifts } = await layoutShift(page);
        assert.ok(total < 0.01, `${state} moved ${total}: ${JSON.stringify(shifts)}`);
      }
    }, { viewport: { width, height: 800 } }));
}

test("recovery codes are printed alone", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(ROTATE);
    await form.fill(ENROLLED);
    const { recovery_codes } = await form.sendsAndSucceeds();
    // A real dialog would hold the test up.
    await page.evaluate(() => (window.print = () => (globalThis.printed = true)));
    await page.getByRole("button", { name: "print recovery codes" }).click();
    await page.waitForFunction(() => globalThis.printed);
    await page.emulateMedia({ media: "print" });
    const sheet = await page.locator("body").innerText();
    for (const code of recovery_codes) assert.ok(sheet.includes(code), `${code} is not on the sheet:\n${sheet}`);
    assert.ok(!/Result|Snippet|send/.test(sheet), `the sheet has more than the codes:\n${sheet}`);
  }));

test("a façade that is away is explained", async (t) => {
  const { console } = await consoleFor(t, "http://127.0.0.1:1");
  await visit(console, async ({ page }) => {
    const form = await new Form(page).open(GET);
    await form.fill(ENROLLED);
    const { failure } = await form.send();
    assert.equal(await form.state(), "failed");
    assert.equal(failure.outcome, "not_sent");
    assert.match(await form.says("outcome"), /not sent/i);
    assert.match(await form.result.innerText(), /127\.0\.0\.1:1/);
  });
});

test("a console that has ended is explained", async (t) => {
  const { console, stop } = await dev(t);
  await visit(
    console,
    async ({ page }) => {
      const form = await new Form(page).open(GET);
      await form.fill(ENROLLED);
      await stop();
      await page.getByRole("button", { name: "send", exact: true }).click();
      await form.settled();
      assert.equal(await form.state(), "failed");
      assert.match(await form.result.innerText(), /console/i);
    },
    { expectedErrors: /ERR_CONNECTION_REFUSED/ },
  );
});
