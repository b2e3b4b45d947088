// The contract as documentation: everything in it has a link, and each link leads to its place.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { dev } from "./support/programs.js";

const { test } = runner;
const facade = await dev(runner);

const FIELD = "stytch.b2b.totp.v1.CreateRequest.expiration_minutes";
const at = (page, name) => page.locator(`[id="${name}"]`);

test("every service, method, message and field has its anchor, its comment and its link", () =>
  visit(`${facade.console}/#reference`, async ({ page }) => {
    const { services, messages } = await (await fetch(`${facade.console}/contract.json`)).json();
    const methods = services.flatMap(({ name, methods }) => methods.map((method) => ({ ...method, name: `${name}.${method.short}` })));
    const fields = Object.values(messages).flatMap(({ fields }) => fields.map((field) => ({ ...field, name: field.path })));
    const all = [...services, ...methods, ...Object.values(messages), ...fields];
    assert.ok(all.length > 100, `${all.length} things in the contract`);

    await page.getByRole("heading", { level: 1, name: "Reference" }).waitFor();
    const printed = await page.evaluate((names) => names.map((name) => {
      const element = document.getElementById(name);
      return { text: element?.textContent ?? "", hasLink: element?.querySelector(`a[href="#${name}"]`) != null };
    }), all.map(({ name }) => name));
    all.forEach(({ name, comment }, index) => {
      const { text, hasLink } = printed[index];
      assert.ok(hasLink, `${name} has no link to itself`);
      const words = comment.replaceAll(/[`\s-]+/g, "");
      assert.ok(text.replaceAll(/[`\s-]+/g, "").includes(words), `${name} lacks its comment: ${text}`);
    });

    const broken = await page.locator("main a[href^='#']").evaluateAll((links) =>
      links.map((link) => link.hash.slice(1)).filter((name) => !name.startsWith("call/") && document.getElementById(name) === null));
    assert.deepEqual(broken, [], "links that lead nowhere");
  }));

test("a link to a field opens the reference at that field, in a new page and in an open one", () =>
  visit(`${facade.console}/#${FIELD}`, async ({ page }) => {
    await at(page, FIELD).waitFor();
    assert.equal(await at(page, FIELD).evaluate((element) => element.tagName !== "INPUT"), true);
    const inView = () => at(page, FIELD).evaluate((element) => {
      const { top, bottom } = element.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    });
    assert.ok(await inView(), "the field is not in view after loading");

    await page.goto(`${facade.console}/#call/stytch.b2b.totp.v1.TotpService/Create`);
    await page.locator(`input[id="${FIELD}"]`).waitFor();
    await page.goto(`${facade.console}/#${FIELD}`);
    await page.getByRole("heading", { level: 1, name: "Reference" }).waitFor();
    assert.ok(await inView(), "the field is not in view after following a link");
  }));

test("an address that names nothing is shown as text", () =>
  visit(facade.console, async ({ page }) => {
    for (const name of [`<img src=x onerror="globalThis.hacked=1">`, "call/<svg onload=globalThis.hacked=1>", "flow/nothing", "%", "__proto__", "call/constructor"]) {
      await page.goto(`${facade.console}/#${name}`);
      await page.getByRole("main").getByText("There is no").waitFor();
      assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
    }
  }));
