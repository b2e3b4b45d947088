/** What goes with a request beside its fields: the deadline and the idempotency key. */

import { button, el } from './dom.js';
import { FieldInput } from './field.js';

/** @import { Field } from './contract.js' */
/** @import { Reading } from './field.js' */

const LONGEST_MS = 86_400_000;

/** @param {string} name @param {Field['type']} type @param {string} comment @returns {Field} */
function described(name, type, comment) {
  return { name, path: name, type, comment, flag: '', number: 0, message: null, repeated: false, required: false, secret: false };
}

const DEADLINE = described('deadline', 'int32',
  `How long the call may take in all, in milliseconds: 1 to ${LONGEST_MS}, a day.`);
const KEY = described('idempotency-key', 'string',
  'A call with the same key is made once; a retry returns the first answer. Each send takes a new key, unless you keep this one.');

class DeadlineInput extends FieldInput {
  /** @returns {Reading} */
  read() {
    const { value } = super.read();
    const fits = value >= 1 && value <= LONGEST_MS;
    return fits ? { value } : { problem: `must be from 1 to ${LONGEST_MS} milliseconds` };
  }
}

export class Metadata {
  /** @param {{ deadlineMs: number, readsOnly: boolean, folded: boolean }} options */
  constructor({ deadlineMs, readsOnly, folded }) {
    this.readsOnly = readsOnly;
    this.default = deadlineMs;
    this.deadline = new DeadlineInput(DEADLINE);
    this.deadline.write(deadlineMs);
    this.key = new FieldInput(KEY);
    this.keep = button('keep', () => this.setKept(!this.kept), { class: 'quiet toggle', 'aria-pressed': 'false' });
    this.key.line.append(button('new', () => this.renew(), { class: 'quiet' }), this.keep);
    this.renew();
    this.inputs = readsOnly ? [this.deadline] : [this.deadline, this.key];
    this.element = this.#layout(folded);
  }

  #layout(folded) {
    const rows = [
      ...this.inputs.map(({ element }) => element),
      this.readsOnly && el('p', { class: 'help' }, 'This call only reads, so it needs no idempotency key.'),
    ];
    if (!folded) return el('div', { class: 'fields' }, rows);
    const title = this.readsOnly ? 'Deadline' : 'Deadline and idempotency key';
    return el('details', { class: 'fold' }, el('summary', {}, title), rows);
  }

  get kept() {
    return this.keep.getAttribute('aria-pressed') === 'true';
  }

  setKept(kept) {
    this.keep.setAttribute('aria-pressed', String(kept));
  }

  renew() {
    this.key.type(crypto.randomUUID());
  }

  /** @returns {{ deadlineMs: number, key: string | null }} */
  read() {
    return {
      deadlineMs: this.deadline.read().value ?? this.default,
      key: this.readsOnly ? null : this.key.read().value ?? null,
    };
  }

  /** After a send. */
  sent() {
    if (!this.readsOnly && !this.kept) this.renew();
  }
}
