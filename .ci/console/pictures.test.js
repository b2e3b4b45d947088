// Pictures of every view, into target/console, to look at; and with UPDATE_DOCS=1 the picture of the README.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import * as runner from "node:test";

import { PNG } from "pngjs";

import { PICTURES, visit } from "./support/browser.js";
import { CREATE, Form } from "./support/form.js";
import { withPalette } from "./support/palette.js";
import { ROOT, dev } from "./support/programs.js";
import { textOf, withText } from "./support/text-in-png.js";
import { fixture } from "./support/upstream.js";
import { VIEWS } from "./support/views.js";

const { test } = runner;
const facade = await dev(runner);
const README = `${ROOT}docs/console.png`;
const SIZES = [[360, 740], [800, 1000], [1440, 900]];

for (const { name, show } of VIEWS) {
  test(`pictures of ${name}, at each width, light and dark`, () =>
    visit(facade.console, async ({ page }) => {
      await show(page);
      for (const [width, height] of SIZES) {
        await page.setViewportSize({ width, height });
        for (const colorScheme of ["light", "dark"]) {
          await page.emulateMedia({ colorScheme });
          // The reference would be a hundred screens.
          const fullPage = name !== "reference";
          if (fullPage) await page.evaluate(() => scrollTo(0, 0));
          await page.screenshot({ path: `${PICTURES}${name}-${width}-${colorScheme}.png`, fullPage });
        }
      }
    }));
}

/** Makes what the page shows the same each time, also after a release: ids, secret, address, time and version. */
async function fix(page) {
  await page.addInitScript(() => {
    crypto.randomUUID = () => "5b415d10-e774-48b1-8a45-a2e95585eb20";
  });
  await page.route("**/settings.json", async (route) => {
    const settings = await (await route.fetch()).json();
    await route.fulfill({ json: { ...settings, url: "http://127.0.0.1:50051", version: "" } });
  });
  await page.route("**/call", (route) => {
    const { status_code, request_id, ...response } = fixture("totp-create.response");
    return route.fulfill({
      json: { ok: true, response: { request_id, ...response }, request_id, replayed: false, elapsed_ms: 23.4 },
    });
  });
  await page.reload();
}

/**
 * What the page says, in the picture or further down. It is kept in the picture: what the pixels are depends on the
 * fonts of the machine, and this does not.
 */
async function said(page) {
  const text = await page.locator("body").innerText();
  return text.replace(/\s+/g, " ").trim();
}

test("the picture of the README shows an enrolment as the page shows it now, and is small", () =>
  visit(facade.console, async ({ page }) => {
    await fix(page);
    await page.goto(`${facade.console}/#flow/enrol`);
    const form = new Form(page);
    form.method = CREATE;
    await form.input("member_id").waitFor({ state: "attached" });
    await page.locator("#language").selectOption("python");
    await form.sendsAndSucceeds();
    await page.locator("#next-step").waitFor();
    await page.evaluate(() => scrollTo(0, 0));
    await page.mouse.move(0, 0);
    const text = await said(page);
    const picture = withText(withPalette(PNG.sync.read(await page.screenshot())), text);
    writeFileSync(process.env.UPDATE_DOCS ? README : `${PICTURES}readme.png`, picture);
    assert.equal(textOf(readFileSync(README)), text, `${README} is stale: UPDATE_DOCS=1 just console draws it`);
    for (const [file, bytes] of [["the new picture", picture], [README, readFileSync(README)]]) {
      assert.ok(bytes.length <= 150 * 1024, `${file} has ${bytes.length} bytes`);
      assert.equal(PNG.sync.read(bytes).width, 1280, file);
    }
  }, { colorScheme: "light", viewport: { width: 1280, height: 800 } }));
