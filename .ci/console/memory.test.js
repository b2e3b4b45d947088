// A reload keeps the form, and nothing that the browser keeps holds a secret.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { AUTHENTICATE, CREATE, Form, MIGRATE, RECOVER, ROTATE } from "./support/form.js";
import { dev } from "./support/programs.js";
import { kept } from "./support/secrets.js";

const { test } = runner;
const facade = await dev(runner);

const OPEN = {
  organization_id: "example-works",
  member_id: "enrolled",
  session_duration_minutes: "481",
  set_mfa_enrollment: "enroll",
  set_default_mfa: "true",
  telemetry_id: "telemetry-of-the-test",
};
const SECRET = {
  code: "271828",
  intermediate_session_token: "typed-intermediate-token",
  session_token: "typed-session-token",
  session_jwt: "typed.session.jwt",
};

test("a reload keeps address, language, method and open fields, and forgets the secret ones", () =>
  visit(facade.console, async ({ page, context }) => {
    const form = await new Form(page).open(AUTHENTICATE);
    await form.fill({ ...OPEN, ...SECRET });
    await page.locator("#idempotency-key").fill("typed-key");
    await page.locator("#language").selectOption("go");
    await page.locator("#address").fill("totp.internal:443");

    await page.reload();
    await form.input("member_id").waitFor();
    assert.ok(page.url().endsWith(`#call/${AUTHENTICATE}`));
    for (const [field, value] of Object.entries(OPEN)) {
      assert.equal(await form.input(field).inputValue(), value, field);
    }
    for (const field of Object.keys(SECRET)) assert.equal(await form.input(field).inputValue(), "", field);
    assert.equal(await page.locator("#language").inputValue(), "go");
    assert.equal(await page.locator("#address").inputValue(), "totp.internal:443");
    assert.notEqual(await page.locator("#idempotency-key").inputValue(), "typed-key");

    // A new page of the same browser remembers the method too.
    const again = await context.newPage();
    await again.goto(facade.console);
    assert.equal(await new Form(again).open(AUTHENTICATE).then((form) => form.input("telemetry_id").inputValue()), OPEN.telemetry_id);
  }));

test("nothing that the browser keeps holds a secret, whether typed, sent or received", () =>
  visit(facade.console, async ({ page, context, watched }) => {
    const form = await new Form(page).open(MIGRATE);
    await form.fill({
      organization_id: "example-works",
      member_id: "fresh",
      secret: "MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI",
      recovery_codes: "their-old-1\ntheir-old-2",
    });
    await form.sendsAndSucceeds();
    await form.open(RECOVER);
    await form.fill({
      organization_id: "example-works",
      member_id: "enrolled",
      recovery_code: "code-0000-0001",
      intermediate_session_token: "sandbox-login.enrolled",
      session_custom_claims: '{"claim": "in-a-free-form-object"}',
      session_duration_minutes: "60",
    });
    await form.sendsAndSucceeds();
    await form.open(ROTATE);
    await form.fill({ organization_id: "example-works", member_id: "enrolled" });
    await page.getByRole("button", { name: "keep" }).click();
    await form.sendsAndSucceeds();
    await form.open(AUTHENTICATE);
    await form.fill({ ...OPEN, ...SECRET });
    await page.locator("#idempotency-key").fill("typed-key-of-the-test");
    await form.open(CREATE);
    await form.fill({ organization_id: "example-works", member_id: "fresh", session_jwt: "another.typed.jwt" });

    const secrets = await watched.secrets.all();
    assert.ok(secrets.length > 15, `secrets seen: ${secrets}`);
    for (const when of ["before", "after"]) {
      const all = JSON.stringify(await kept(page, context));
      assert.ok(all.includes("telemetry-of-the-test"), `${when} a reload, the form is kept: ${all}`);
      for (const secret of [...secrets, ...Object.values(SECRET), "another.typed.jwt", "typed-key-of-the-test"]) {
        assert.ok(!all.includes(secret), `${when} a reload, ${secret} is kept in ${all}`);
      }
      await page.reload();
      await form.input("member_id").waitFor();
    }
  }));

test("a storage of another version, or with anything in it, does not break the page", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(CREATE);
    await form.fill({ organization_id: "example-works", member_id: "fresh" });
    const names = await page.evaluate(() => Object.keys(localStorage));
    assert.equal(names.length, 1, `one key: ${names}`);
    for (const value of ["", "null", "[]", "{", '"text"', '{"version":999}', '{"version":1,"fields":[],"address":{},"language":"cobol","method":7}']) {
      await page.evaluate(([name, value]) => localStorage.setItem(name, value), [names[0], value]);
      await page.reload();
      await form.open(CREATE);
      await form.fill({ organization_id: "example-works", member_id: "enrolled" });
      await form.sendsAndFails("ALREADY_EXISTS");
    }
  }));

test("the page works where the browser allows no storage", () =>
  visit(facade.console, async ({ page }) => {
    await page.addInitScript(() => {
      Object.defineProperty(globalThis, "localStorage", {
        get() {
          throw new DOMException("denied", "SecurityError");
        },
      });
    });
    await page.reload();
    const form = await new Form(page).open(CREATE);
    await form.fill({ organization_id: "example-works", member_id: "enrolled" });
    await form.sendsAndFails("ALREADY_EXISTS");
  }));

test("a browser's password store is asked for nothing", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(AUTHENTICATE);
    for (const field of Object.keys(SECRET)) {
      assert.match(await form.input(field).getAttribute("autocomplete"), /^(off|one-time-code)$/, field);
      assert.equal(await form.input(field).getAttribute("type"), "password", field);
    }
  }));
