// Each flow is walked to its end, with the sandbox's help as a newcomer does it, and by hand without it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { visit } from "./support/browser.js";
import { AUTHENTICATE, CREATE, DELETE, Form, GET, MIGRATE, RECOVER, ROTATE } from "./support/form.js";
import { isInSight, tabTo } from "./support/keyboard.js";
import { codeOf } from "./support/phone.js";
import { consoleFor, dev } from "./support/programs.js";
import { decode } from "./support/qr.js";
import { Sandbox } from "./support/sandbox.js";

/** A flow on the screen. Its steps are forms like any other. */
class Flow {
  constructor(page) {
    this.page = page;
    this.form = new Form(page);
    this.achieved = page.locator("#flow-achieved");
  }

  async open(id) {
    await this.page.goto(new URL(`/#flow/${id}`, this.page.url()).href);
    return this;
  }

  /** The form of the step, which must be one of this method. */
  async at(method) {
    this.form.method = method;
    await this.form.input("member_id").waitFor({ state: "attached" });
    return this.form;
  }

  /** Makes the call of the step and goes on. `help` is the button that fills the field. */
  async step(method, help, field) {
    const form = await this.at(method);
    if (help) {
      await this.press(help);
      await this.page.waitForFunction((input) => input.value !== "", await form.input(field).elementHandle());
    }
    const response = await form.sendsAndSucceeds();
    await this.page.locator("#next-step").click();
    return response;
  }

  press(name) {
    return this.page.getByRole("button", { name }).click();
  }

  async isFinished() {
    await this.achieved.waitFor();
    return this.achieved.innerText();
  }
}

const USE_CODE = "use this code";

/** What the service itself knows of a member, asked beside the page. */
async function unusedCodes(facade, member_id) {
  const request = { organization_id: "example-works", member_id };
  const response = await fetch(`${facade.console}/call`, {
    method: "POST",
    headers: { "content-type": "application/json", origin: facade.console },
    body: JSON.stringify({ method: GET, request, deadline_ms: 15000, idempotency_key: null }),
  });
  return (await response.json()).response.recovery_codes;
}

test("enrol: a member has a TOTP and a session, then breaks something and goes on", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page, watched }) => {
    await page.getByRole("link", { name: /^Enrol a member/ }).first().click();
    const flow = new Flow(page);
    const { secret } = await (await flow.at(CREATE)).sendsAndSucceeds();
    const qr = decode(await page.locator("#qr-code").screenshot());
    assert.equal(qr.searchParams.get("secret"), secret);
    await page.locator("#next-step").click();
    const { member } = await flow.step(AUTHENTICATE, USE_CODE, "code");
    assert.equal(member.mfa_enrolled, true);
    assert.match(await flow.isFinished(), /./);

    await flow.press("Send the same code once more");
    await flow.form.settled();
    assert.match(await flow.form.says("reason"), /TOTP_CODE_ALREADY_AUTHENTICATED/);
    assert.match(await flow.form.violation("code"), /the code is not accepted/);
    await flow.press("Back to the flow");
    await flow.isFinished();
    assert.equal(await flow.form.state(), "ok", "the result is the last step's again");
    assert.match(await page.locator("#snippet").innerText(), /TotpService\/Authenticate/);
    assert.equal(await page.evaluate(() => document.activeElement.id), "next-title");
    await flow.press("Register for two minutes only");
    await flow.form.settled();
    await flow.press("Back to the flow");
    assert.equal(await flow.form.state(), "ok");
    assert.match(await page.locator("#snippet").innerText(), /TotpService\/Authenticate/, "the snippet too");

    await page.getByRole("button", { name: /second|again|once more/i }).last().waitFor();
    const codes = watched.calls.filter(({ method }) => method === AUTHENTICATE).map(({ request }) => request.code);
    assert.equal(codes[0], codes[1], "the mistake is the same code");
  });
});

test("enrol: a member with a TOTP is helped on", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page }) => {
    const flow = await new Flow(page).open("enrol");
    const form = await flow.at(CREATE);
    await form.fill({ member_id: "enrolled" });
    await form.sendsAndFails("ALREADY_EXISTS");
    await flow.press("Delete the TOTP that is there");
    await flow.at(DELETE);
    await flow.form.sendsAndSucceeds();
    await flow.press("Back to the flow");
    assert.equal(await flow.at(CREATE).then((form) => form.input("member_id").inputValue()), "enrolled");
    await flow.step(CREATE);
    await flow.step(AUTHENTICATE, USE_CODE, "code");
    await flow.isFinished();
  });
});

test("log in: a session for a code; a used code waits for the next one", async (t) => {
  const facade = await dev(t);
  const sandbox = new Sandbox(facade.sandbox);
  await sandbox.awaitNextCode();
  await visit(facade.console, async ({ page }) => {
    await page.clock.install();
    const flow = await new Flow(page).open("log-in");
    const { member_session } = await flow.step(AUTHENTICATE, USE_CODE, "code");
    assert.deepEqual(member_session.custom_claims, { tier: "gold" });
    await flow.isFinished();
    await flow.press("start again");
    await flow.at(AUTHENTICATE);
    const use = page.getByRole("button", { name: USE_CODE });
    await page.getByText(/the next in \d+ s/).waitFor();
    assert.equal(await use.isDisabled(), true, "a used code is not offered");

    await sandbox.awaitNextCode();
    await page.clock.fastForward(31_000);
    await page.locator("button:enabled", { hasText: USE_CODE }).waitFor();
    await flow.step(AUTHENTICATE, USE_CODE, "code");
    await flow.isFinished();
  });
});

test("lost phone: a recovery code, a deletion, and a new phone", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page, watched }) => {
    const flow = await new Flow(page).open("lost-phone");
    const { session_token, recovery_codes_remaining } = await flow.step(RECOVER, "use one of the member's codes", "recovery_code");
    assert.equal(recovery_codes_remaining, 2);
    await flow.step(DELETE);
    const { recovery_codes } = await flow.step(CREATE);
    const { member_session } = await flow.step(AUTHENTICATE, USE_CODE, "code");
    const factors = member_session.authentication_factors.map(({ type }) => type);
    assert.ok(factors.includes("recovery_codes") && factors.includes("totp"), `factors: ${factors}`);
    await flow.isFinished();
    assert.deepEqual(await unusedCodes(facade, "enrolled"), recovery_codes);
    const tokens = watched.calls.slice(-3).map(({ request }) => request.session_token);
    assert.deepEqual(tokens, [session_token, session_token, session_token], "the session is carried on");
  });
});

test("migrate: another provider's entry goes on working", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page }) => {
    const flow = await new Flow(page).open("migrate");
    const { recovery_codes } = await flow.step(MIGRATE);
    await flow.step(AUTHENTICATE, USE_CODE, "code");
    await flow.isFinished();
    assert.deepEqual(await unusedCodes(facade, "fresh"), recovery_codes);
  });
});

test("rotate: the old list is worthless, as the mistake shows", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page }) => {
    const flow = await new Flow(page).open("rotate");
    await flow.step(GET);
    const { recovery_codes } = await flow.step(ROTATE);
    await flow.isFinished();
    assert.deepEqual(await unusedCodes(facade, "enrolled"), recovery_codes);
    await page.getByRole("button", { name: "show recovery codes" }).last().click();
    for (const code of recovery_codes) assert.ok((await page.locator("main").innerText()).includes(code));

    await flow.press("Use a code of the old list");
    flow.form.method = RECOVER;
    await flow.form.settled();
    assert.match(await flow.form.violation("recovery_code"), /the code is not accepted/);
    await flow.press("Back to the flow");

    await flow.press("Rotate while Stytch fails");
    await page.locator('#result-code:text("UNKNOWN")').waitFor();
    assert.match(await flow.form.says("outcome"), /unknown/);
  });
});

test("without the sandbox's help, a member enrols with a phone", async (t) => {
  const { grpc } = await dev(t);
  const { console } = await consoleFor(t, `http://${grpc}`);
  await visit(console, async ({ page }) => {
    const flow = await new Flow(page).open("enrol");
    assert.equal(await page.getByRole("button", { name: USE_CODE }).count(), 0);
    const form = await flow.at(CREATE);
    await form.fill({ organization_id: "example-works", member_id: "fresh" });
    await form.sendsAndSucceeds();
    const secret = decode(await page.locator("#qr-code").screenshot()).searchParams.get("secret");
    await page.locator("#next-step").click();
    await flow.at(AUTHENTICATE);
    await form.fill({ code: codeOf(secret), intermediate_session_token: "sandbox-login.fresh" });
    await flow.step(AUTHENTICATE);
    await flow.isFinished();
  });
});

test("a flow stays where it is while one looks elsewhere, and the back button returns to it", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page }) => {
    const flow = await new Flow(page).open("enrol");
    await flow.step(CREATE);
    await flow.at(AUTHENTICATE);
    await page.getByRole("link", { name: "Reference", exact: true }).click();
    await page.locator('[id="stytch.b2b.totp.v1.CreateRequest"]').waitFor();
    await page.goBack();
    await flow.step(AUTHENTICATE, USE_CODE, "code");
    await flow.isFinished();
  });
});

/** Tabs to every control, each of which must be in sight then. */
async function tabThrough(page) {
  const controls = page.locator("main").locator("a[href], button, input, select, summary");
  for (const control of await controls.filter({ visible: true }).all()) {
    if (!(await control.isDisabled())) await tabTo(page, control);
  }
}

test("advice on a failure goes when the form changes, and at 360 px no bar hides what has the focus", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page }) => {
    const flow = await new Flow(page).open("enrol");
    const form = await flow.at(CREATE);
    await form.fill({ member_id: "enrolled" });
    await form.sendsAndFails("ALREADY_EXISTS");
    const help = page.getByRole("button", { name: "Delete the TOTP that is there" });
    await help.waitFor();
    await form.fill({ member_id: "sms" });
    assert.equal(await help.count(), 0);
    await form.fill({ member_id: "enrolled" });
    await form.sendsAndFails("ALREADY_EXISTS");
    await tabThrough(page);
    await help.click();
    await flow.at(DELETE);
    await tabThrough(page);
    await form.sendsAndSucceeds();
    await tabThrough(page);
    const back = page.locator(".after").getByRole("button", { name: "Back to the flow" });
    assert.ok(await isInSight(back));
    await back.click();
    await flow.at(CREATE);
    assert.equal(await page.evaluate(() => document.activeElement.id), "next-title");
  }, { viewport: { width: 360, height: 740 } });
});

test("an answer that comes after one has gone back is not shown", async (t) => {
  const facade = await dev(t);
  await visit(facade.console, async ({ page }) => {
    const flow = await new Flow(page).open("rotate");
    await flow.step(GET);
    await flow.step(ROTATE);
    let answer;
    const asked = new Promise((done) => page.route("**/call", (route) => { answer = () => route.continue(); done(); }, { times: 1 }));
    await flow.press("Rotate while Stytch fails");
    await asked;
    await flow.press("Back to the flow");
    const answered = page.waitForResponse("**/call");
    await answer();
    await answered;
    await page.waitForTimeout(200);
    assert.equal(await flow.form.state(), "ok");
    assert.ok(!(await page.locator("#snippet").innerText()).includes("internal-error"));
  });
});
