// What is copied from a result: secrets that need not be shown for it, and nothing with them.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { copiedBy, permissions } from "./support/clipboard.js";
import { CREATE, Form, GET } from "./support/form.js";
import { consoleFor, serve } from "./support/programs.js";
import { fixture, upstream } from "./support/upstream.js";

const { test } = runner;
const CREATED = fixture("totp-create.response");
const GOT = fixture("recovery-codes-get.response");
const stytch = await upstream(runner, (path) => [200, path.includes("recovery_codes") ? GOT : CREATED]);
const { grpc } = await serve(runner, stytch.url);
const { console: url } = await consoleFor(runner, grpc);

/** The page with the result of a call. */
async function answered(page, method) {
  const form = await new Form(page).open(method);
  await form.fill({ organization_id: "example-works", member_id: "fresh" });
  await form.sendsAndSucceeds();
  return form.result;
}

for (const { name, method, button, copied } of [
  { name: "the secret", method: CREATE, button: "copy the secret", copied: CREATED.secret },
  {
    name: "recovery codes, each on its line",
    method: CREATE,
    button: "copy recovery codes",
    copied: CREATED.recovery_codes.join("\n"),
  },
  { name: "codes that were read", method: GET, button: "copy recovery codes", copied: GOT.recovery_codes.join("\n") },
]) {
  test(`${name}: copied while hidden, and still hidden then`, () =>
    visit(url, async ({ page }) => {
      const result = await answered(page, method);
      assert.ok(!(await result.innerText()).includes(copied.split("\n")[0]), "it is shown");
      const copy = result.getByRole("button", { name: button, exact: true });

      assert.equal(await copiedBy(page, copy), copied);

      assert.equal(await copy.getAttribute("data-said"), "copied");
      assert.equal(await page.locator("#announcer").textContent(), "copied");
      assert.ok(!(await page.locator("body").innerText()).includes(copied.split("\n")[0]), "it is shown");
    }, { permissions }));
}

test("a browser that does not allow copying: the page says so", () =>
  visit(url, async ({ page }) => {
    await page.addInitScript(() => {
      navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.reload();
    const result = await answered(page, CREATE);
    const copy = result.getByRole("button", { name: "copy the secret", exact: true });

    await copy.click();

    assert.equal(await copy.getAttribute("data-said"), "not allowed");
    assert.match(await page.locator("#announcer").textContent(), /does not allow copying/);
  }));
