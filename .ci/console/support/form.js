// A page's form as someone uses it: inputs by their field's path, one button, one result.

import assert from "node:assert/strict";

export const CREATE = "stytch.b2b.totp.v1.TotpService/Create";
export const AUTHENTICATE = "stytch.b2b.totp.v1.TotpService/Authenticate";
export const MIGRATE = "stytch.b2b.totp.v1.TotpService/Migrate";
export const DELETE = "stytch.b2b.totp.v1.TotpService/Delete";
export const GET = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get";
export const ROTATE = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Rotate";
export const RECOVER = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Recover";

/** The full name of the method's request. */
export const requestOf = (method) => method.replace(/\.\w+\/(\w+)$/, ".$1Request");

/** Opens what an input is folded away in. */
function unfold(input) {
  return input.evaluate((element) => {
    for (let at = element.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  });
}

export class Form {
  constructor(page) {
    this.page = page;
    this.result = page.locator("#result");
  }

  /** Goes to the method as a reader does, by its link. */
  async open(method) {
    this.method = method;
    await this.page.goto(new URL(`/#call/${method}`, this.page.url()).href);
    await this.input("member_id").waitFor();
    return this;
  }

  input(field) {
    return this.page.locator(`[id="${requestOf(this.method)}.${field}"]`);
  }

  async fill(request) {
    for (const [field, value] of Object.entries(request)) {
      const input = this.input(field);
      await unfold(input);
      const isSelect = (await input.evaluate(({ tagName }) => tagName)) === "SELECT";
      if (isSelect) await input.selectOption(value);
      else await input.fill(value);
    }
    return this;
  }

  /** Sends, and waits for what the page makes of the answer. */
  async send() {
    const isIt = (request) => request.url().endsWith("/call") && request.postDataJSON().method === this.method;
    const answered = this.page.waitForResponse((response) => isIt(response.request()));
    await this.page.getByRole("button", { name: "send", exact: true }).click();
    const answer = await (await answered).json();
    await this.settled();
    return answer;
  }

  async settled() {
    await this.page.locator('#result[data-state="ok"], #result[data-state="failed"]').waitFor();
  }

  async state() {
    return this.result.getAttribute("data-state");
  }

  /** The text of an element of the result, or null if it has none. */
  async says(part) {
    const element = this.page.locator(`#result-${part}`);
    return (await element.count()) === 0 ? null : (await element.innerText()).trim();
  }

  async sendsAndSucceeds() {
    const answer = await this.send();
    assert.equal(await this.state(), "ok", `the call failed: ${JSON.stringify(answer)}`);
    return answer.response;
  }

  async sendsAndFails(code) {
    const answer = await this.send();
    assert.equal(await this.state(), "failed", "the call must fail");
    assert.match((await this.says("code")) ?? "", new RegExp(code));
    return answer.failure;
  }

  /** What the page says is wrong with a field, or null. */
  async violation(field) {
    const input = this.input(field);
    if ((await input.getAttribute("aria-invalid")) !== "true") return null;
    const ids = ((await input.getAttribute("aria-describedby")) ?? "").split(/\s+/).filter(Boolean);
    const texts = await Promise.all(ids.map((id) => this.page.locator(`[id="${id}"]`).innerText()));
    return texts.join("\n");
  }
}
