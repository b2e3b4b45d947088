// The views of the page that are looked at: by axe, and in pictures.

import { AUTHENTICATE, CREATE, Form } from "./form.js";

const FRESH = { organization_id: "example-works", member_id: "fresh" };

async function success(page) {
  const form = await new Form(page).open(CREATE);
  await form.fill(FRESH);
  await form.sendsAndSucceeds();
  await page.locator("#qr-code").waitFor();
}

async function failure(page) {
  const form = await new Form(page).open(CREATE);
  await form.fill({ ...FRESH, expiration_minutes: "2" });
  await form.sendsAndFails("INVALID_ARGUMENT");
}

async function link(page, hash, visible) {
  await page.goto(new URL(`/#${hash}`, page.url()).href);
  await page.locator(visible).first().waitFor();
}

/** An enrolment whose next step is due. */
async function next(page) {
  await link(page, "flow/enrol", "main form");
  const form = new Form(page);
  form.method = CREATE;
  await form.sendsAndSucceeds();
  await page.locator("#next-step").waitFor();
  return form;
}

/** An enrolment at its end. */
async function end(page) {
  const form = await next(page);
  await page.locator("#next-step").click();
  await page.getByRole("button", { name: "use this code" }).click();
  form.method = AUTHENTICATE;
  await form.sendsAndSucceeds();
  await page.locator("#next-step").click();
  await page.locator("#flow-achieved").waitFor();
}

export const VIEWS = [
  { name: "start", show: (page) => page.getByRole("heading", { level: 1 }).waitFor() },
  { name: "form", show: (page) => new Form(page).open("stytch.b2b.totp.v1.TotpService/Authenticate") },
  { name: "success", show: success },
  { name: "failure", show: failure },
  ...["enrol", "log-in", "lost-phone", "migrate", "rotate"].map((flow) => ({
    name: `flow-${flow}`,
    show: (page) => link(page, `flow/${flow}`, "main form, main button"),
  })),
  {
    name: "reference",
    show: (page) =>
      link(page, "stytch.b2b.totp.v1.CreateRequest", '[id="stytch.b2b.totp.v1.CreateRequest"]'),
  },
  { name: "flow-next", show: next },
  // The last one: from then on the member has a TOTP.
  { name: "flow-end", show: end },
];
