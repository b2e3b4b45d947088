// What a button of the page puts on the clipboard.

export const permissions = ["clipboard-read", "clipboard-write"];

/** Clicks the button, and resolves to what it copied. The page must have been opened with `permissions`. */
export async function copiedBy(page, button) {
  await page.evaluate(() => navigator.clipboard.writeText(""));
  await button.click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()) !== "");
  return page.evaluate(() => navigator.clipboard.readText());
}
