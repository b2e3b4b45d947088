// What the page takes before one sees it, as the browser counts it.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { ROOT, dev } from "./support/programs.js";

const { test } = runner;
const facade = await dev(runner);
const MAX_BYTES = 150_000;

test("the first view loads every file once, and less than 150 KB in all", () =>
  visit(facade.console, async ({ page, context }) => {
    const seen = page.getByRole("heading", { level: 1 });
    // Nothing of what has loaded it is counted.
    await seen.waitFor();
    const network = await context.newCDPSession(page);
    const [paths, sizes] = [new Map(), new Map()];
    network.on("Network.responseReceived", ({ requestId, response }) => {
      const { protocol, pathname } = new URL(response.url);
      if (protocol === "http:") paths.set(requestId, pathname);
    });
    network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => sizes.set(requestId, encodedDataLength));
    await network.send("Network.enable");

    await page.reload({ waitUntil: "networkidle" });
    await seen.waitFor();

    const folder = `${ROOT}src/console/page`;
    const files = readdirSync(folder, { recursive: true }).filter((name) => /\.(js|css)$/.test(name));
    const loaded = [...paths.values()].sort();
    assert.deepEqual(loaded, ["/", "/contract.json", "/settings.json", ...files.map((name) => `/${name}`)].sort());
    const size = [...paths.keys()].reduce((sum, id) => sum + sizes.get(id), 0);
    assert.ok(size > 20_000 && size < MAX_BYTES, `${size} bytes`);
    console.log(`${loaded.length} files, ${size} bytes`);
  }));
