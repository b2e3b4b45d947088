/** Colours code lightly, in any of the languages: comments, texts, numbers. */

import { el } from './dom.js';

// A comment takes the line: `//`, or `#` that is not C's or Rust's. A text ends on its line.
const TOKEN = /(^[ \t]*(?:\/\/|#(?!include|\[|!\[)).*$|(?<=\s)(?:\/\/|# ).*$)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|(\b\d[\d_.]*\b)/gm;
const CLASSES = ['comment', 'text', 'number'];

/** @param {string} code @returns {(Node | string)[]} */
export function highlight(code) {
  const parts = [];
  let at = 0;
  for (const match of code.matchAll(TOKEN)) {
    const kind = CLASSES[match.slice(1).findIndex((group) => group !== undefined)];
    parts.push(code.slice(at, match.index), el('span', { class: `is-${kind}` }, match[0]));
    at = match.index + match[0].length;
  }
  return [...parts, code.slice(at)];
}
