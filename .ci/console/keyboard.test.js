// A whole enrolment without a pointer, by keys alone.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { CREATE, Form, requestOf } from "./support/form.js";
import { press, tabTo, type } from "./support/keyboard.js";
import { dev } from "./support/programs.js";

const { test } = runner;
const facade = await dev(runner);

/** Where the focus is, in words; it must never be lost. */
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);

test("a member is enrolled by keys alone", () =>
  visit(facade.console, async ({ page }) => {
    const button = (name) => page.getByRole("button", { name, exact: true });
    const form = new Form(page);

    await press(page, page.getByRole("main").getByRole("link", { name: /^Enrol a member/ }));
    await page.locator(`[id="${requestOf(CREATE)}.member_id"]`).waitFor();
    assert.equal(await focused(page), "Enrol a member", "the focus is on the heading of the view");

    await type(page, page.locator(`[id="${requestOf(CREATE)}.member_id"]`), "fresh");
    await page.keyboard.press("Enter");
    await form.settled();
    assert.equal(await form.state(), "ok");
    await press(page, button("show the secret"), "Space");
    await press(page, page.locator("#next-step"));
    assert.equal(await focused(page), "next-title", "the focus is on the heading of the next step");

    await press(page, button("use this code"));
    assert.match(await focused(page), /AuthenticateRequest\.code$/, "the focus is on the field that was filled");
    await press(page, button("send"));
    await form.settled();
    assert.equal(await form.state(), "ok");
    await press(page, page.locator("#next-step"));
    await page.locator("#flow-achieved").waitFor();

    await press(page, button("Send the same code once more"));
    await form.settled();
    await page.locator('[aria-invalid="true"]').waitFor();
    assert.match(await focused(page), /AuthenticateRequest\.code$/, "the focus is on the marked field");
  }));

test("the first tab skips to the content", () =>
  visit(facade.console, async ({ page }) => {
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.keyboard.press("Tab");
    assert.match(await focused(page), /skip/i);
    await page.keyboard.press("Enter");
    assert.equal(await focused(page), "main");
  }));

test("tabbing visits every control of a form and leaves it again", () =>
  visit(facade.console, async ({ page }) => {
    await new Form(page).open(CREATE);
    const controls = page.locator("main").locator("a[href], button, input, select, textarea, summary");
    for (const control of await controls.filter({ visible: true }).all()) {
      if (!(await control.isDisabled())) await tabTo(page, control);
    }
    await tabTo(page, page.locator("#skip"));
  }));
