// Uses a page without a pointer.

import assert from "node:assert/strict";

/** Whether an element is in view, and nothing lies over its middle. */
export function isInSight(locator) {
  return locator.evaluate((element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    const there = document.elementFromPoint(left + width / 2, top + height / 2);
    return element.contains(there) || (there?.contains(element) ?? false);
  });
}

/** Tabs until the element has the focus, and checks that one sees where the focus is. */
export async function tabTo(page, locator) {
  await locator.waitFor();
  for (let pressed = 0; pressed < 400; pressed++) {
    if (await locator.evaluate((element) => element === document.activeElement)) {
      const seen = await locator.evaluate((element) => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
        return (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
      });
      assert.ok(seen, `no focus is visible on ${locator}`);
      assert.ok(await isInSight(locator), `something lies over ${locator}, which has the focus`);
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail(`tabbing does not reach ${locator}`);
}

/** Types into an input in place of what it holds. */
export async function type(page, locator, text) {
  await tabTo(page, locator);
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type(text);
}

export async function press(page, locator, key = "Enter") {
  await tabTo(page, locator);
  await page.keyboard.press(key);
}
