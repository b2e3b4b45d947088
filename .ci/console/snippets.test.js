// Snippets are copied from the page as someone would, and run as they are, for the languages that run here.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { folder } from "./support/certificates.js";
import { copiedBy, permissions } from "./support/clipboard.js";
import { AUTHENTICATE, CREATE, Form, GET, ROTATE } from "./support/form.js";
import { ROOT, dev } from "./support/programs.js";

const { test } = runner;
const facade = await dev(runner);
const files = folder(runner);

const LANGUAGES = ["grpcurl", "cli", "python", "typescript", "go", "java", "rust", "cpp"];
const RUN = ["grpcurl", "cli", "python", "typescript"];
const ENROLLED = { organization_id: "example-works", member_id: "enrolled" };

/** The snippet for what the form holds, taken through the clipboard. */
async function copied(page, language) {
  await page.locator("#language").selectOption(language);
  const shown = await page.locator("#snippet code").innerText();
  const text = await copiedBy(page, page.getByRole("button", { name: "copy", exact: true }));
  assert.equal(text.trim(), shown.trim(), "what is copied is what is shown");
  return text;
}

/** Runs a snippet by the harness of `just snippets`. */
async function run(language, text, env = {}) {
  const file = join(files, `snippet.${language}`);
  writeFileSync(file, text);
  const child = spawn("python3", [join(ROOT, ".ci/snippets.py"), "--run", language, file], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  });
  let printed = "";
  child.stdout.on("data", (data) => (printed += data));
  child.stderr.on("data", (data) => (printed += data));
  const [code] = await once(child, "close");
  return { code, printed };
}

for (const language of RUN) {
  test(`${language}: a snippet copied from the page works, and one that fails says why`, () =>
    visit(facade.console, async ({ page }) => {
      const form = await new Form(page).open(GET);
      assert.equal(await page.locator("#address").inputValue(), facade.grpc, "it calls this façade");
      await form.fill(ENROLLED);
      const works = await run(language, await copied(page, language));
      assert.equal(works.code, 0, works.printed);
      assert.match(works.printed, /request-id-test-/);

      await form.open(CREATE);
      await form.fill(ENROLLED);
      const fails = await run(language, await copied(page, language));
      assert.notEqual(fails.code, 0, fails.printed);
      assert.match(fails.printed, /already.?exists/i);
      assert.match(fails.printed, /ACTIVE_TOTP_EXISTS/);
      assert.match(fails.printed, /rejected/);
    }, { permissions }));
}

test("a snippet takes the secrets that the page lists from the environment", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(AUTHENTICATE);
    await form.fill({ ...ENROLLED, code: "314159", intermediate_session_token: "typed-secret-token" });
    for (const language of LANGUAGES) {
      const text = await copied(page, language);
      assert.ok(!/314159|typed-secret-token/.test(text), `${language} holds a secret:\n${text}`);
      const panel = await page.locator("body").innerText();
      for (const variable of ["CODE", "INTERMEDIATE_SESSION_TOKEN"]) {
        assert.ok(text.includes(variable), `${language} does not read ${variable}`);
        assert.ok(panel.includes(variable), `the page does not list ${variable}`);
      }
    }
    const text = await copied(page, "python");
    const { code, printed } = await run("python", text, {
      CODE: "000000",
      INTERMEDIATE_SESSION_TOKEN: "sandbox-login.enrolled",
    });
    assert.notEqual(code, 0);
    assert.match(printed, /UNABLE_TO_AUTHENTICATE_TOTP/);
  }, { permissions }));

test("a snippet changes with each key that is typed", () =>
  visit(facade.console, async ({ page }) => {
    const form = await new Form(page).open(ROTATE);
    await page.locator("#address").fill("totp.internal:8443");
    for (const language of LANGUAGES) {
      await page.locator("#language").selectOption(language);
      for (const member of ["m", "me", "mem", "with 'quotes' \"and\" $dollars `ticks` \\ é"]) {
        await form.fill({ organization_id: "example-works", member_id: member });
        const text = await page.locator("#snippet code").innerText();
        assert.ok(text.includes("totp.internal:8443"), `${language} does not call the address:\n${text}`);
        if (/^\w+$/.test(member)) assert.match(text, new RegExp(`["']${member}["']`), language);
      }
    }
  }));

for (const [url, address] of [
  ["https://totp.internal", "totp.internal:443"],
  ["https://totp.internal:443", "totp.internal:443"],
  ["http://x:80", "x:80"],
  ["http://[::1]:50051", "[::1]:50051"],
]) {
  test(`the snippet for ${url} calls ${address}`, () =>
    visit(facade.console, async ({ page }) => {
      await page.route("**/settings.json", async (route) => {
        const settings = await (await route.fetch()).json();
        await route.fulfill({ json: { ...settings, url } });
      });
      await page.reload();
      await new Form(page).open(GET);
      assert.equal(await page.locator("#address").inputValue(), address);
      await page.locator("#address").fill("");
      assert.ok((await page.locator("#snippet code").innerText()).includes(address));
    }));
}

test("grpcurl expands the token, and nothing in the key", () =>
  visit(facade.console, async ({ page }) => {
    await page.route("**/settings.json", async (route) => {
      const settings = await (await route.fetch()).json();
      await route.fulfill({ json: { ...settings, has_token: true } });
    });
    await page.reload();
    const form = await new Form(page).open(ROTATE);
    await form.fill(ENROLLED);
    await page.locator("#idempotency-key").fill("of ${HOME} and $(id) 'quoted'");
    const text = await page.locator("#snippet code").innerText();
    // A stand-in that expands its headers as grpcurl does.
    const stand_in = `grpcurl() { python3 -c 'import os,re,sys
print([re.sub(r"\\$\\{(\\w+)\\}", lambda it: os.environ[it[1]], a) for a in sys.argv[1:] if ": " in a])' "$@"; }\n`;
    const child = spawn("bash", ["-c", stand_in + text], { env: { ...process.env, TOTP_FACADE_TOKEN: "the-token" } });
    let printed = "";
    child.stdout.on("data", (data) => (printed += data));
    child.stderr.on("data", (data) => (printed += data));
    await once(child, "close");
    assert.ok(printed.includes("authorization: Bearer the-token"), printed);
    assert.ok(printed.includes("idempotency-key: of ${HOME} and $(id) 'quoted'"), printed);
  }));
