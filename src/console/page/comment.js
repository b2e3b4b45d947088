/** Comments of the contract as elements: paragraphs, lists, and code in backticks. */

import { el } from './dom.js';

/** Text with code in backticks. @param {string} text @returns {(Node | string)[]} */
export function inline(text) {
  const flowing = text.replace(/\s+/g, ' ').trim();
  return flowing.split('`').map((part, index) => (index % 2 ? el('code', {}, part) : part));
}

/** The whole comment. @param {string} comment @returns {HTMLElement[]} */
export function blocks(comment) {
  return comment.split(/\n\s*\n/).filter((block) => block.trim()).flatMap(block);
}

/** @param {string} text @returns {HTMLElement[]} */
function block(text) {
  /** @type {string[]} */
  const items = [];
  let paragraph = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('- ')) items.push(line.slice(2));
    else if (items.length) items[items.length - 1] += ` ${line}`;
    else paragraph += ` ${line}`;
  }
  return [
    ...(paragraph.trim() ? [el('p', {}, inline(paragraph))] : []),
    ...(items.length ? [el('ul', {}, items.map((item) => el('li', {}, inline(item))))] : []),
  ];
}

/**
 * The first sentences, as many as fit, and the rest.
 * @param {string} comment @returns {{ short: string, rest: string }}
 */
export function summary(comment, limit = 150) {
  const [first, ...others] = comment.split(/\n\s*\n/);
  const sentences = first.replace(/\s+/g, ' ').trim().split(/(?<=[.?!]) (?=[A-Z`])/);
  let short = sentences.shift() ?? '';
  while (sentences.length && short.length + sentences[0].length < limit) {
    short += ` ${sentences.shift()}`;
  }
  return { short, rest: [sentences.join(' '), ...others].filter(Boolean).join('\n\n') };
}

/** The first sentence alone. @param {string} comment */
export function firstSentence(comment) {
  return summary(comment, 0).short;
}
