/** Copies a text, and says so where the button is. */

import { announce, button } from './dom.js';

const SHOWN_MS = 1500;

/**
 * @param {() => string} text
 * @param {string} [what] what is copied, for the button's name; without it, the name is `copy`
 */
export function copyButton(text, what, properties = {}) {
  const element = button('copy', copy, {
    class: 'quiet copy',
    ...properties,
    'aria-label': what ? `copy ${what}` : null,
  });
  let timer = 0;

  async function copy() {
    const copied = await navigator.clipboard.writeText(text()).then(() => true, () => false);
    element.dataset.said = copied ? 'copied' : 'not allowed';
    announce(copied ? 'copied' : 'The browser does not allow copying.');
    clearTimeout(timer);
    timer = setTimeout(() => delete element.dataset.said, SHOWN_MS);
  }

  return element;
}
