/** A request to one method: its form, its metadata, and the button that sends it. */

import { button, el } from './dom.js';
import { Form, check, find, markViolations } from './form.js';
import { Metadata } from './metadata.js';
import { assistants } from './sandbox.js';
import { send, unreadable } from './send.js';

/** @import { Answer, Call } from './send.js' */

/**
 * @typedef {object} Options
 * @property {Record<string, any>} values what the form begins with
 * @property {Record<string, string>} [notes] where each value is from
 * @property {boolean} [remembers] whether what is typed stays for the next visit
 * @property {string[]} [main] the fields to show; the others are folded away
 * @property {(answer: Answer, request: Record<string, any>) => void} [onAnswer]
 */

export class RequestForm {
  constructor(app, bench, method, options) {
    this.app = app;
    this.bench = bench;
    this.method = method;
    this.options = options;
    const message = app.contract.messages[method.request];
    this.form = new Form(message, { main: options.main });
    this.metadata = new Metadata({
      deadlineMs: app.settings.deadline_ms,
      readsOnly: method.reads_only,
      folded: options.main !== undefined,
    });
    this.inputs = [...this.form.inputs, ...this.metadata.inputs];
    this.assistants = assistants(app, this.form);
    this.sendButton = el('button', { type: 'submit', class: 'primary' }, 'send');
    /** What the answer leads to, in sight of the button. */
    this.after = el('div', { class: 'after', 'aria-live': 'polite' });
    this.element = this.#layout();
    this.form.write(options.values, options.notes);
    this.update();
  }

  #layout() {
    return el('form', {
      class: 'request',
      novalidate: true,
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        this.send();
      },
      oninput: (/** @type {Event} */ event) => this.#typed(event),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.send();
      },
    },
    this.form.element,
    this.metadata.element,
    el('div', { class: 'dock' },
      el('div', { class: 'actions' },
        this.sendButton,
        this.options.remembers && button('clear', () => this.clear(), { class: 'quiet' }),
        el('span', { class: 'help' }, 'Enter sends')),
      this.after));
  }

  /** Empties the form, in the browser's memory too. */
  clear() {
    this.app.memory.forgetFields(this.form.inputs.map(({ field }) => field));
    for (const input of this.form.inputs) input.write(this.app.defaults(this.method)[input.field.name]);
    this.update();
  }

  #typed(event) {
    const input = this.form.inputs.find(({ control }) => control === event.target);
    this.#dropRemedy();
    if (input && this.options.remembers) this.app.memory.rememberField(input.field, input.text);
    this.update();
  }

  /** Tells the snippet and the assistants what the form holds now. */
  update() {
    const { deadlineMs, key } = this.metadata.read();
    this.bench.snippets.show({ method: this.method, request: this.form.request(), deadlineMs, key });
    for (const assistant of this.assistants) assistant.update();
  }

  enter() {
    this.update();
    for (const assistant of this.assistants) assistant.enter();
  }

  leave() {
    for (const assistant of this.assistants) assistant.leave();
  }

  /** Another form takes its place: an answer that is still to come is not shown. */
  discard() {
    this.leave();
    this.isDiscarded = true;
    if (this.sending) this.bench.result.reset();
  }

  /** What the form holds, as a call. @returns {Call} */
  #call() {
    const { deadlineMs, key } = this.metadata.read();
    return { method: this.method.name, request: this.form.request(), deadline_ms: deadlineMs, idempotency_key: key };
  }

  /** Sends what the form holds, unless it cannot be sent, or a call is under way. */
  async send() {
    if (!this.sending && check(this.inputs)) await this.#send(this.#call());
  }

  async #send(call) {
    this.#setSending(true);
    this.#dropRemedy();
    const stop = new AbortController();
    this.bench.result.sending(call.deadline_ms, () => stop.abort());
    const answer = await send(call, stop.signal);
    if (this.isDiscarded) return;
    this.#setSending(false);
    this.metadata.sent();
    try {
      this.#show(answer, call);
    } catch (error) {
      this.#showResult(unreadable(call, error), call);
    }
    this.update();
  }

  #show(answer, call) {
    this.#showResult(answer, call);
    markViolations(this.inputs, answer.failure?.violations ?? []);
    for (const assistant of this.assistants) assistant.answered(answer, call.request);
    this.options.onAnswer?.(answer, call.request);
  }

  #showResult(answer, call) {
    this.bench.result.show(answer, this.method, {
      retry: this.#retry(answer, call),
      goTo: (field) => find(this.inputs, field)?.focus(),
    });
  }

  /** Advice on a failure is of no use once something changes. */
  #dropRemedy() {
    this.after.querySelector('.remedy')?.remove();
  }

  #setSending(sending) {
    this.sending = sending;
    // Not `disabled`: that would lose the focus.
    this.sendButton.setAttribute('aria-disabled', String(sending));
  }

  /**
   * What retries a call as the same operation, as it was sent; null if that would not help.
   * @param {Answer} answer @param {Call} call
   */
  #retry({ failure }, call) {
    const waits = failure?.outcome === 'unknown' || (failure?.retry_after_ms ?? null) !== null;
    if (call.idempotency_key === null || !waits) return null;
    return () => {
      if (!this.sending) this.#send(call);
    };
  }
}
