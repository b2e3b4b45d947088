/** One input for one field of a request: label, control, what it is for, and what is wrong with it. */

import { blocks, inline, summary } from './comment.js';
import { typeName } from './contract.js';
import { button, el, fill } from './dom.js';
import { parseObject } from './json.js';

/** @import { Field } from './contract.js' */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Control */
/** What a control holds: nothing, a value to send, or a text that is none. */
/** @typedef {{ value?: any, problem?: string }} Reading */

/**
 * @typedef {object} Kind
 * @property {(field: Field, attributes: object) => Control} create
 * @property {(text: string) => Reading} read the text is not blank
 * @property {(value: any) => string} write
 */

const PLAIN = { autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' };
const INT32_MAX = 2 ** 31 - 1;

/** @type {Record<string, Kind>} */
const KINDS = {
  text: {
    create: (field, attributes) =>
      el('input', { type: field.secret ? 'password' : 'text', ...PLAIN, ...attributes }),
    read: (text) => ({ value: text }),
    write: String,
  },
  integer: {
    create: (_, attributes) => el('input', { type: 'text', inputmode: 'numeric', ...PLAIN, ...attributes }),
    read: (text) => {
      const value = /^\s*[+-]?\d+\s*$/.test(text) ? Number(text) : NaN;
      const fits = value <= INT32_MAX && value >= -INT32_MAX - 1;
      return fits ? { value } : { problem: 'This must be a whole number of 32 bits.' };
    },
    write: String,
  },
  boolean: {
    create: (_, attributes) =>
      el('select', attributes,
        el('option', { value: '' }, 'unset'),
        el('option', { value: 'true' }, 'true'),
        el('option', { value: 'false' }, 'false')),
    read: (text) => ({ value: text === 'true' }),
    write: String,
  },
  list: {
    create: (field, attributes) =>
      el('textarea', { rows: 3, ...PLAIN, placeholder: 'one per line', class: field.secret && 'masked', ...attributes }),
    read: (text) => ({ value: text.split('\n').map((line) => line.trim()).filter(Boolean) }),
    write: (values) => values.join('\n'),
  },
  object: {
    create: (_, attributes) =>
      el('textarea', { rows: 3, ...PLAIN, placeholder: '{ "name": "value" }', class: 'code', ...attributes }),
    read: parseObject,
    write: (value) => JSON.stringify(value, null, 2),
  },
};

/** @type {Record<string, string>} */
const KIND_OF_TYPE = { int32: 'integer', bool: 'boolean', object: 'object' };

function kindOf({ type, repeated }) {
  return KINDS[repeated ? 'list' : KIND_OF_TYPE[type] ?? 'text'];
}

export class FieldInput {
  constructor(field) {
    this.field = field;
    this.kind = kindOf(field);
    this.help = el('div', { class: 'help', id: `${field.path}-help` });
    this.problem = el('div', { class: 'problem', id: `${field.path}-problem` });
    this.note = el('span', { class: 'from' });
    this.extras = el('div', { class: 'extras' });
    this.control = this.kind.create(field, {
      id: field.path,
      'aria-required': field.required ? 'true' : null,
      'aria-describedby': this.help.id,
    });
    this.control.addEventListener('input', () => {
      this.note.textContent = '';
      this.mark(null);
    });
    this.line = el('div', { class: 'control' }, this.control, field.secret && this.#revealButton());
    this.element = this.#layout();
  }

  #layout() {
    const { field } = this;
    const label = el('label', { for: field.path },
      el('b', {}, field.name), field.required && el('span', { class: 'required' }, ' required'));
    return el('div', { class: 'field' },
      el('div', { class: 'field-head' }, label, this.note, el('span', { class: 'type' }, typeName(field))),
      this.line,
      this.extras,
      ...this.#explanation());
  }

  /** What is wrong takes the place of what it is for, so that nothing moves. */
  #explanation() {
    // That it is required stands at its name.
    const { short, rest } = summary(this.field.comment.replace(/ Required\.(?=\s|$)/, ''));
    fill(this.help, inline(short));
    const under = el('div', { class: 'under' }, this.help, this.problem);
    if (!rest) return [under];
    const more = el('div', { class: 'more help', hidden: true }, blocks(rest));
    const toggle = button('more', () => {
      more.hidden = !more.hidden;
      toggle.textContent = more.hidden ? 'more' : 'less';
      toggle.setAttribute('aria-expanded', String(!more.hidden));
    }, { class: 'link', 'aria-expanded': 'false', 'aria-label': `more about ${this.field.name}` });
    this.help.append(' ', toggle);
    return [under, more];
  }

  #revealButton() {
    const reveal = button('show', () => {
      const shown = reveal.textContent === 'hide';
      reveal.textContent = shown ? 'show' : 'hide';
      reveal.setAttribute('aria-label', `${reveal.textContent} ${this.field.name}`);
      if (this.control instanceof HTMLInputElement) this.control.type = shown ? 'password' : 'text';
      else this.control.classList.toggle('masked', shown);
    }, { class: 'quiet reveal', 'aria-label': `show ${this.field.name}` });
    return reveal;
  }

  get text() {
    return this.control.value;
  }

  /** @returns {Reading} */
  read() {
    return this.text.trim() === '' ? {} : this.kind.read(this.text);
  }

  /** @param {any} value undefined empties it; the note says where the value is from */
  write(value, note = '') {
    this.control.value = value === undefined ? '' : this.kind.write(value);
    this.note.textContent = note;
    this.mark(null);
  }

  /** Puts in a value as if it were typed. @param {string} text */
  type(text) {
    this.control.value = text;
    this.control.dispatchEvent(new Event('input', { bubbles: true }));
  }

  /** Says what is wrong with the value, or null that nothing is. @param {string | null} problem */
  mark(problem) {
    const wrong = problem !== null;
    this.element.classList.toggle('invalid', wrong);
    this.problem.textContent = problem ?? '';
    this.control.setAttribute('aria-describedby', wrong ? this.problem.id : this.help.id);
    if (wrong) this.control.setAttribute('aria-invalid', 'true');
    else this.control.removeAttribute('aria-invalid');
  }

  focus() {
    const hidden = this.element.closest('details:not([open])');
    if (hidden instanceof HTMLDetailsElement) hidden.open = true;
    this.control.focus();
  }
}
