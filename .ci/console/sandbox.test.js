// What the sandbox lends a form: its members, their tokens and codes, each to the member it is for.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { AUTHENTICATE, CREATE, Form, RECOVER } from "./support/form.js";
import { tabTo } from "./support/keyboard.js";
import { dev } from "./support/programs.js";
import { Sandbox } from "./support/sandbox.js";

const { test } = runner;
const facade = await dev(runner);

const button = (page, name) => page.getByRole("button", { name, exact: true });
const filled = (input) => input.evaluate((element) => new Promise((done) => {
  const look = () => (element.value ? done(element.value) : setTimeout(look, 20));
  look();
}));

test("a member is picked with the keyboard and with the mouse", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(CREATE);
    const picker = page.getByLabel("members of the sandbox");
    await form.fill({ member_id: "fresh" });
    await tabTo(page, picker);
    await page.keyboard.press("ArrowDown");
    assert.equal(await form.input("member_id").inputValue(), "enrolled");
    assert.equal(await picker.inputValue(), "enrolled");
    await picker.selectOption("sms");
    assert.equal(await form.input("member_id").inputValue(), "sms");
    await form.fill({ member_id: "of my own" });
    assert.equal(await picker.inputValue(), "", "a member that is not listed selects nothing");
  }));

test("what was lent for one member is not sent for another", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(RECOVER);
    await form.fill({ member_id: "enrolled" });
    await button(page, "use a sandbox login").click();
    await button(page, "use one of the member's codes").click();
    await filled(form.input("recovery_code"));
    await form.fill({ member_id: "sms" });
    assert.match(await form.input("intermediate_session_token").inputValue(), /^sandbox-login\.sms\./);
    assert.equal(await form.input("recovery_code").inputValue(), "");
    await form.fill({ intermediate_session_token: "typed", member_id: "fresh" });
    assert.equal(await form.input("intermediate_session_token").inputValue(), "typed", "what was typed stays");
  }));

test("a used code is not offered again, after a reload neither", async () => {
  await new Sandbox(facade.sandbox).awaitNextCode();
  await visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(AUTHENTICATE);
    await form.fill({ member_id: "enrolled" });
    await button(page, "use a sandbox login").click();
    await button(page, "use this code").click();
    const code = await filled(form.input("code"));
    await form.fill({ code: `${code.slice(0, 3)} ${code.slice(3)}` });
    assert.equal(await form.input("code").inputValue(), code, "a code is taken as the app shows it");
    await form.sendsAndSucceeds();
    await page.getByText(/used; the next in \d+ s/).waitFor();
    await page.reload();
    await page.getByText(/used; the next in \d+ s/).waitFor();
    assert.equal(await button(page, "use this code").isDisabled(), true);
  });
});

test("the flow that goes on is about the same member", () =>
  visit(facade.console, async ({ page }) => {
    await page.goto(`${facade.console}/#flow/rotate`);
    const form = new Form(page);
    for (const method of ["Get", "Rotate"]) {
      form.method = `stytch.b2b.recovery_codes.v1.RecoveryCodesService/${method}`;
      await form.fill({ member_id: "enrolled" });
      await form.sendsAndSucceeds();
      await page.locator("#next-step").click();
    }
    await page.goto(`${facade.console}/#flow/enrol`);
    form.method = CREATE;
    await form.fill({ member_id: "invited" });
    await page.goto(`${facade.console}/#flow/rotate`);
    await page.locator("main").getByRole("link", { name: "Log in" }).click();
    form.method = AUTHENTICATE;
    assert.equal(await form.input("member_id").inputValue(), "enrolled");
  }));
