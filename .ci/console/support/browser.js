// Opens pages in Chromium, and watches what none of them may do.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after } from "node:test";

import { chromium } from "playwright-core";

import { ROOT } from "./programs.js";
import { Secrets } from "./secrets.js";

export const PICTURES = `${ROOT}target/console/`;
mkdirSync(PICTURES, { recursive: true });

let launched;
after(async () => (await launched)?.close());

/** The browser of this test file. `rebound.example` is a name that an attacker has pointed at loopback. */
export function browser() {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      // Its sandbox does not work for root, as whom CI runs.
      "--no-sandbox",
      "--host-resolver-rules=MAP rebound.example 127.0.0.1",
      // Not every browser has this protection: the console's own is tested.
      "--disable-features=LocalNetworkAccessChecks",
    ],
  });
  return launched;
}

/**
 * Opens `url` in a fresh profile and runs `body({ page, context, watched })`. Fails too if the page
 * asked another origin for something, violated its content security policy, or logged an error
 * that `expectedErrors` does not match. A failure says what the page showed.
 */
export async function visit(url, body, { expectedErrors, ...options } = {}) {
  const context = await (await browser()).newContext({ viewport: { width: 1440, height: 900 }, ...options });
  try {
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    const watched = await watch(page, new URL(url).origin, expectedErrors);
    try {
      await page.goto(url);
      await body({ page, context, watched });
      assert.deepEqual(watched.wrong, [], "the page does what it must not");
    } catch (error) {
      error.message += await shown(page, watched);
      // The runner prints the stack, which holds the old message.
      error.stack = `${error.name}: ${error.message}\n${error.stack.split("\n    at ").slice(1).map((line) => `    at ${line}`).join("\n")}`;
      throw error;
    }
  } finally {
    await context.close();
  }
}

/** Collects what the page does wrong, its calls, and every secret in them. */
async function watch(page, origin, expectedErrors = /^$/) {
  const contract = await (await fetch(`${origin}/contract.json`)).json();
  const watched = { wrong: [], calls: [], secrets: new Secrets(contract) };
  page.on("pageerror", (error) => watched.wrong.push(`threw: ${error.stack}`));
  page.on("dialog", (dialog) => {
    watched.wrong.push(`opened a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    const logged = `${message.type()}: ${message.text()}`;
    if (["error", "warning"].includes(message.type()) && !expectedErrors.test(logged)) watched.wrong.push(logged);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== origin) watched.wrong.push(`requested ${url}`);
    if (url.pathname === "/call" && request.method() === "POST") watched.calls.push(request.postDataJSON());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`violated ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`),
    );
    globalThis.layoutShifts = [];
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries()) {
        const nodes = sources.map(({ node }) => node?.outerHTML?.slice(0, 100) ?? node?.textContent);
        globalThis.layoutShifts.push({ value, nodes });
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
  watched.secrets.collectFrom(page);
  return watched;
}

async function shown(page, watched) {
  const calls = watched.calls.map((call) => `\n  ${JSON.stringify(call)}`).join("");
  const tree = await page.locator("main").ariaSnapshot({ timeout: 2000 }).catch((error) => error.message);
  return `\n\nThe page did wrong: ${JSON.stringify(watched.wrong)}\nIt called:${calls}\n${page.url()} showed:\n${tree}\n`;
}

/** The layout shifts since the last look, those right after a click or a key included. */
export async function layoutShift(page) {
  // A shift is reported after the frame in which it happened.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const shifts = await page.evaluate(() => globalThis.layoutShifts.splice(0));
  return { total: shifts.reduce((sum, { value }) => sum + value, 0), shifts };
}
