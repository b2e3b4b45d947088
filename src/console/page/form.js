/** The form of one request, made from the contract. */

import { el } from './dom.js';
import { FieldInput } from './field.js';

/** @import { Message } from './contract.js' */
/** @import { Failure } from './send.js' */

export class Form {
  /**
   * @param {Message} message
   * @param {{ main?: string[] }} [options] with `main`, all other fields are folded away
   */
  constructor(message, { main } = {}) {
    this.inputs = message.fields.map((field) => new FieldInput(field));
    const shown = this.inputs.filter(({ field }) => !main || main.includes(field.name));
    const folded = this.inputs.filter((input) => !shown.includes(input));
    this.element = el('div', { class: 'fields' },
      shown.map(({ element }) => element),
      folded.length > 0 &&
        el('details', { class: 'fold' },
          el('summary', {}, `${folded.length} more: ${folded.map(({ field }) => field.name).join(', ')}`),
          folded.map(({ element }) => element)));
  }

  /** @param {string} name @returns {FieldInput | undefined} */
  input(name) {
    return this.inputs.find(({ field }) => field.name === name);
  }

  /** The text of a field, or nothing. @param {string} name */
  text(name) {
    return this.input(name)?.text.trim() ?? '';
  }

  /** @param {Record<string, any>} values @param {Record<string, string>} [notes] */
  write(values, notes = {}) {
    for (const [name, value] of Object.entries(values)) this.input(name)?.write(value, notes[name]);
  }

  /** The request as far as it can be read: what is no value is left out. */
  request() {
    const readings = this.inputs.map((input) => [input.field.name, input.read().value]);
    return Object.fromEntries(readings.filter(([, value]) => value !== undefined));
  }
}

/** Marks what cannot be sent, and says whether all can. @param {FieldInput[]} inputs */
export function check(inputs) {
  return mark(inputs, (input) => input.read().problem ?? null);
}

/**
 * Marks the inputs that a failure names.
 * @param {FieldInput[]} inputs @param {Failure['violations']} violations
 */
export function markViolations(inputs, violations) {
  mark(inputs, (input) => {
    const own = violations.filter(({ field }) => find(inputs, field) === input);
    return own.length ? own.map(({ description }) => description).join(' ') : null;
  });
}

/** The input that a violation is about; it may name a place within. @param {FieldInput[]} inputs @param {string} path */
export function find(inputs, path) {
  const [name] = path.split(/[.[]/);
  return inputs.find(({ field }) => field.name === name);
}

/** Goes to the first that has a problem. @param {FieldInput[]} inputs @param {(input: FieldInput) => string | null} problemOf */
function mark(inputs, problemOf) {
  const problems = inputs.map(problemOf);
  inputs.forEach((input, at) => input.mark(problems[at]));
  inputs.find((_, at) => problems[at] !== null)?.focus();
  return problems.every((problem) => problem === null);
}
