/** Recovery codes: a list to show, copy or print. Printing a page with codes prints them alone. */

import { copyButton } from './copy.js';
import { button, el, fill } from './dom.js';
import { hidden } from './tree.js';

export function recoveryCodes(codes, member) {
  const list = el('ol', { class: 'codes' }, codes.map((code) => el('li', {}, el('code', {}, code))));
  return el('div', { class: 'highlight' },
    el('div', { class: 'highlight-head' },
      el('h3', {}, codes.length === 1 ? '1 recovery code' : `${codes.length} recovery codes`),
      hidden('recovery codes', list),
      copyButton(() => codes.join('\n'), 'recovery codes'),
      button('print', () => print(codes, member), { class: 'quiet', 'aria-label': 'print recovery codes' })),
    list);
}

function print(codes, member) {
  const sheet = document.getElementById('print');
  if (!sheet) return;
  fill(sheet,
    el('h1', {}, 'Recovery codes'),
    el('p', {}, `${member}. Each code works once.`),
    el('ol', {}, codes.map((code) => el('li', {}, code))));
  addEventListener('afterprint', () => fill(sheet), { once: true });
  window.print();
}
