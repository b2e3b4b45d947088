// Every view in light and dark, at each width: axe-core finds nothing, and nothing is wider than the screen.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { dev } from "./support/programs.js";
import { VIEWS } from "./support/views.js";

const { test } = runner;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const facade = await dev(runner);

/** What axe-core finds wrong: rules with the elements that break them. */
async function found(page, options) {
  const { violations } = await page.evaluate((all) => globalThis.axe.run({ preload: false, ...all }), options);
  return violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, failureSummary }) => [html, failureSummary]) }));
}

async function isNoWider(page, width) {
  await page.setViewportSize({ width, height: 800 });
  const [content, screen] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
  });
  assert.ok(content <= screen, `${content} px of content in ${screen} px`);
}

for (const { name, show } of VIEWS) {
  test(`${name}: axe finds nothing, in light and dark, and nothing is wider than the screen`, () =>
    visit(facade.console, async ({ page }) => {
      await show(page);
      await page.evaluate(AXE);
      for (const width of [800, 360, 1440]) {
        await isNoWider(page, width);
        if (width !== 800) assert.deepEqual(await found(page), [], `light, ${width} px`);
      }
      // Only the colours differ.
      await page.emulateMedia({ colorScheme: "dark" });
      assert.deepEqual(await found(page, { runOnly: "color-contrast" }), [], "dark");
    }, { colorScheme: "light", reducedMotion: "reduce" }));
}
