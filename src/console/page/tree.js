/** A message as a tree that opens and closes, in the contract's order, its secrets hidden. */

import { firstSentence } from './comment.js';
import { copyButton } from './copy.js';
import { button, el } from './dom.js';

/** @import { Field, Message } from './contract.js' */
/** @typedef {Record<string, Message>} Messages */

export function tree(messages, name, value) {
  return el('ul', { class: 'tree' }, entries(messages, messages[name], value));
}

/**
 * A field of the contract, or a name in a free-form object, which has no field.
 * @param {Messages} messages @param {Message | null} message @param {Record<string, any>} value
 * @returns {HTMLElement[]}
 */
function entries(messages, message, value) {
  const names = Object.keys(value);
  const known = message?.fields.filter(({ name }) => names.includes(name)) ?? [];
  const others = names.filter((name) => !known.some((field) => field.name === name));
  return [
    ...known.map((field) => entry(messages, field.name, field, value[field.name])),
    ...others.map((name) => entry(messages, name, null, value[name])),
  ];
}

/** @param {Messages} messages @param {string} name @param {Field | null} field @param {any} value @returns {HTMLElement} */
function entry(messages, name, field, value) {
  const key = el('span', { class: 'key', title: field && firstSentence(field.comment) }, name);
  if (value === null || typeof value !== 'object') return leaf(name, key, field?.secret ?? false, value);
  const message = (field?.message && messages[field.message]) || null;
  const children = Array.isArray(value)
    ? value.map((one, at) => element(messages, field, message, at + 1, one))
    : entries(messages, message, value);
  return branch(key, children, Array.isArray(value) ? 'list' : 'object');
}

/**
 * One of a list.
 * @param {Messages} messages @param {Field | null} field @param {Message | null} message
 * @param {number} at @param {any} value @returns {HTMLElement}
 */
function element(messages, field, message, at, value) {
  const key = el('span', { class: 'key index' }, String(at));
  if (value === null || typeof value !== 'object') {
    return leaf(`${field?.name ?? 'entry'} ${at}`, key, field?.secret ?? false, value);
  }
  return branch(key, entries(messages, message, value), 'object');
}

/** @param {HTMLElement} key @param {HTMLElement[]} children @param {string} kind */
function branch(key, children, kind) {
  if (children.length === 0) {
    return el('li', {}, el('div', { class: 'leaf' }, key, el('span', { class: 'empty' }, `empty ${kind}`)));
  }
  const size = el('span', { class: 'size' }, String(children.length));
  return el('li', {}, el('details', {}, el('summary', {}, key, size), el('ul', {}, children)));
}

function leaf(name, key, secret, value) {
  const shown = el('span', { class: `value is-${typeof value}` }, value === '' ? 'empty' : String(value));
  if (value === '') shown.classList.add('empty');
  return el('li', {},
    el('div', { class: 'leaf' },
      key,
      secret && value !== '' ? hidden(name, shown) : null,
      shown,
      value !== '' && copyButton(() => String(value), name)));
}

/** Hides a value, and returns the button that shows it. @param {string} name @param {HTMLElement} value */
export function hidden(name, value) {
  value.hidden = true;
  const toggle = button('show', () => {
    value.hidden = !value.hidden;
    toggle.textContent = value.hidden ? 'show' : 'hide';
    toggle.setAttribute('aria-label', `${toggle.textContent} ${name}`);
  }, { class: 'quiet', 'aria-label': `show ${name}` });
  return toggle;
}
