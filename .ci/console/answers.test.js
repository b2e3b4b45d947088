// What Stytch answers is shown as text, whatever it is.

import assert from "node:assert/strict";
import * as runner from "node:test";

import { visit } from "./support/browser.js";
import { CREATE, Form, GET } from "./support/form.js";
import { consoleFor, serve } from "./support/programs.js";
import { fixture, upstream } from "./support/upstream.js";

const { test } = runner;

const MARKUP = `<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>"'><svg onload=globalThis.hacked=1>`;
const PICTURES = [
  `data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" onload="globalThis.hacked=1"/>`,
  `data:text/html,<script>globalThis.hacked=1</script>`,
  `data:image/png;base64,AAAA" onerror="globalThis.hacked=1`,
  `javascript:globalThis.hacked=1`,
  `https://elsewhere.example/qr.png`,
  `/settings.json`,
];

/** The answer with the markup in every text, in names of free-form objects too. */
function hostile(value) {
  if (typeof value === "string") return /^\d{4}-\d\d-\d\dT/.test(value) ? value : value + MARKUP;
  if (Array.isArray(value)) return value.length ? value.map(hostile) : [];
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, hostile(inner)]);
  return Object.fromEntries(entries);
}

function hostileCreate(qr_code) {
  const answer = hostile(fixture("totp-create.response"));
  const freeForm = JSON.parse(`{ "__proto__": {"hacked": 1}, "constructor": {"prototype": {"hacked": 1}}, "toString": 1 }`);
  freeForm[MARKUP] = [MARKUP, { [MARKUP]: null }];
  answer.member.untrusted_metadata = freeForm;
  return { ...answer, qr_code };
}

let answer = () => [200, hostileCreate(PICTURES[0])];
const stytch = await upstream(runner, (...call) => answer(...call));
const { grpc } = await serve(runner, stytch.url);
const { console: url } = await consoleFor(runner, grpc);

/** Opens all that is closed, reveals all that is hidden. */
function revealAll(page) {
  return page.locator("#result").evaluate((result) => {
    for (const details of result.querySelectorAll("details")) details.open = true;
    for (const button of result.querySelectorAll("button")) if (button.textContent === "show") button.click();
  });
}

async function nothingRan(page) {
  const ran = await page.evaluate(() => [globalThis.hacked, {}.hacked, document.querySelectorAll("#result script, #result svg[onload], #result img[src='x']").length]);
  assert.deepEqual(ran, [undefined, undefined, 0], "an answer was interpreted");
}

const request = { organization_id: "example-works", member_id: "fresh" };

for (const picture of PICTURES) {
  test(`markup in every text of an answer is shown as text, and no picture is made of ${picture.slice(0, 30)}`, () =>
    visit(url, async ({ page }) => {
      answer = () => [200, hostileCreate(picture)];
      const form = await new Form(page).open(CREATE);
      await form.fill(request);
      await form.sendsAndSucceeds();
      await revealAll(page);
      const shown = await form.result.evaluate((element) => element.textContent);
      const times = shown.split(MARKUP).length - 1;
      assert.ok(times > 20, `the markup is shown ${times} times in\n${shown}`);
      assert.equal(await page.locator("#qr-code").count(), 0, "a picture is made of it");
      await nothingRan(page);
    }));
}

test("markup in every text of an error is shown as text, and leads nowhere", () =>
  visit(url, async ({ page }) => {
    answer = () => [
      400,
      {
        status_code: 400,
        request_id: `request-id-test-${MARKUP}`,
        error_type: `bad${MARKUP}`,
        error_message: `Message ${MARKUP}`,
        error_url: "javascript:globalThis.hacked=1",
        error_details: { [MARKUP]: MARKUP },
      },
    ];
    const form = await new Form(page).open(GET);
    await form.fill(request);
    await form.sendsAndFails("INVALID_ARGUMENT");
    await revealAll(page);
    assert.ok((await form.result.evaluate((element) => element.textContent)).includes(`Message ${MARKUP}`));
    const links = await form.result.locator("a").evaluateAll((all) => all.map((a) => a.href));
    for (const link of links) assert.match(link, /^https?:/, "a link of an answer that is no web page");
    await nothingRan(page);
  }));

test("a link to Stytch's documentation opens without the console's window", () =>
  visit(url, async ({ page }) => {
    answer = () => [400, { ...fixture("error-400-active_totp_exists") }];
    const form = await new Form(page).open(CREATE);
    await form.fill(request);
    await form.sendsAndFails("ALREADY_EXISTS");
    const link = form.result.locator('a[href^="https://stytch.com/"]');
    assert.match((await link.getAttribute("rel")) ?? "", /noopener|noreferrer/);
  }));
