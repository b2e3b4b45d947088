/**
 * Runs a flow: one step after the other, with values carried on. Beside the steps there are
 * detours: calls that fix something, and mistakes made on purpose.
 */

import { Bench } from './bench.js';
import { recoveryCodes } from './codes.js';
import { findMethod } from './contract.js';
import { button, el, fill } from './dom.js';
import { FLOWS } from './flow-table.js';
import { RequestForm } from './request-form.js';
import { login } from './sandbox.js';

/** @import { Method } from './contract.js' */
/** @import { Detour, Step } from './flow-table.js' */
/** @import { Answer } from './send.js' */

export class FlowView {
  constructor(app, flow) {
    this.app = app;
    this.flow = flow;
    this.title = flow.title;
    this.bench = new Bench(app);
    this.steps = el('ol', { class: 'steps' });
    this.end = el('div', { class: 'end' });
    this.element = this.bench.element;
    fill(this.bench.stage,
      el('div', { class: 'view-head' },
        el('p', { class: 'kicker' }, 'Flow'),
        el('h1', { tabindex: '-1' }, flow.title),
        el('p', {}, flow.summary)),
      this.steps,
      this.end);
    this.at = 0;
    /** @type {Record<string, any>} */
    this.who = {};
    /** What the steps have kept, and from which step. @type {Map<string, { value: any, step: number }>} */
    this.carried = new Map();
    /** The last step that succeeded. @type {{ answer: Answer, method: Method, shown: any } | undefined} */
    this.last = undefined;
    this.restart();
  }

  restart(who = this.#whoAtFirst()) {
    this.at = 0;
    this.who = who;
    this.carried.clear();
    this.last = undefined;
    this.bench.result.reset();
    this.#openStep();
  }

  #whoAtFirst() {
    if (this.app.settings.sandbox) return this.app.who(this.flow.member);
    const { fields } = this.app.memory.read();
    const { request } = this.#method(this.flow.steps[0].method);
    return { organization_id: fields[`${request}.organization_id`], member_id: fields[`${request}.member_id`] };
  }

  enter() {
    const who = this.app.next;
    this.app.next = null;
    if (who) return this.restart(who);
    this.request?.enter();
  }

  leave() {
    this.request?.leave();
  }

  /** Shows the step that is next, with its form. */
  #openStep() {
    const step = this.flow.steps[this.at];
    if (!step) return this.#finish();
    const opened = this.#open(step, (answer, request) => this.#answered(step, opened, answer, request));
    this.#paintSteps(el('div', { class: 'open' }, el('p', {}, step.explain), opened.element));
    fill(this.end);
  }

  /**
   * Makes the form of a step or detour the one of this view.
   * @param {Step | Detour} call @param {(answer: Answer, request: Record<string, any>) => void} onAnswer
   * @returns {RequestForm}
   */
  #open(call, onAnswer) {
    this.request?.discard();
    const { values, notes } = this.#values(call);
    const method = this.#method(call.method);
    const main = [...this.#required(method), ...(call.main ?? [])];
    const request = new RequestForm(this.app, this.bench, method, { values, notes, onAnswer, main });
    if (this.element.isConnected) request.enter();
    this.request = request;
    return request;
  }

  /** The fields to fill. Who it is about needs no attention after the first step. @param {Method} method */
  #required(method) {
    const { fields } = this.app.contract.messages[method.request];
    const known = this.at > 0 ? Object.keys(this.who) : [];
    return fields.filter(({ name, required }) => required && !known.includes(name)).map(({ name }) => name);
  }

  /** What a form begins with, and where each value is from. @param {Step & Detour} call */
  #values(call) {
    const { sandbox } = this.app.settings;
    const taken = (call.take ?? []).filter((name) => this.carried.has(name));
    const member = call.set?.member_id ?? this.who.member_id;
    return {
      values: {
        ...this.who,
        ...call.set,
        ...(sandbox && call.sample),
        ...(sandbox && call.login && { intermediate_session_token: login(member) }),
        ...Object.fromEntries(taken.map((name) => [name, this.carried.get(name)?.value])),
      },
      notes: {
        ...(sandbox && call.login && { intermediate_session_token: 'a sandbox login' }),
        ...Object.fromEntries(taken.map((name) => [name, `from step ${this.carried.get(name)?.step}`])),
      },
    };
  }

  #method(name) {
    const method = findMethod(this.app.contract, name);
    if (!method) throw new Error(`the contract has no ${name}`);
    return method;
  }

  /** @param {Step} step @param {RequestForm} opened @param {Answer} answer @param {Record<string, any>} request */
  #answered(step, { after }, answer, request) {
    this.who = { organization_id: request.organization_id, member_id: request.member_id };
    if (!answer.ok) return fill(after, this.#remedy(step, answer));
    this.last = { answer, method: this.#method(step.method), shown: this.bench.snippets.shown };
    for (const [name, keep] of Object.entries(step.keep ?? {})) {
      this.carried.set(name, { value: keep(answer.response, request), step: this.at + 1 });
    }
    const last = this.at === this.flow.steps.length - 1;
    const label = last ? 'Finish' : `Next: ${this.flow.steps[this.at + 1].title}`;
    fill(after,
      el('p', { class: 'achieved' }, step.done ?? 'Done.'),
      button(label, () => this.#next(), { class: 'primary', id: 'next-step' }));
  }

  #next() {
    this.at += 1;
    this.#openStep();
    focusNext();
  }

  #startAgain() {
    this.restart();
    focusNext();
  }

  /** From a detour, which leaves nothing behind. */
  #back() {
    this.#openStep();
    const { result, snippets } = this.bench;
    if (this.last) result.show(this.last.answer, this.last.method, { retry: null, goTo() {} });
    else result.reset();
    if (!this.request && this.last) snippets.show(this.last.shown);
    focusNext();
  }

  /** What to do about a failure. @param {Step} step @param {Answer} answer */
  #remedy(step, { failure }) {
    if (!failure || failure.outcome === 'not_sent') return null;
    const otherwise = failure.outcome === 'unknown' ? 'unknown' : 'default';
    const remedy = step.fails?.[failure.reason ?? otherwise] ?? step.fails?.[otherwise];
    if (!remedy) return null;
    const { call, flow } = remedy;
    const other = FLOWS.find(({ id }) => id === flow);
    return el('div', { class: 'remedy' },
      el('p', {}, remedy.text),
      call && button(call.title, () => this.#takeDetour(call), {}),
      other && el('a', { href: `#flow/${other.id}` }, other.title));
  }

  #takeDetour(detour) {
    const back = () => button('Back to the flow', () => this.#back());
    const below = back();
    const opened = this.#open(detour, ({ ok }) => {
      if (!ok) return;
      // It keeps its room, so that nothing moves.
      below.style.visibility = 'hidden';
      fill(opened.after, el('p', { class: 'achieved' }, 'Done. The flow can go on.'), back());
    });
    opened.element.querySelector('.actions')?.append(below);
    fill(this.end,
      el('section', { class: 'panel', 'aria-labelledby': 'detour-title' },
        detour.mistake && el('p', { class: 'kicker' }, 'On purpose'),
        el('h2', { id: 'detour-title', tabindex: '-1' }, detour.title),
        el('p', {}, detour.explain),
        opened.element));
    this.#paintSteps(null);
    document.getElementById('detour-title')?.focus();
    if (detour.mistake) opened.send();
  }

  /** All steps by title, the current one with what is done there. @param {HTMLElement | null} open */
  #paintSteps(open) {
    fill(this.steps, this.flow.steps.map((step, index) => {
      const state = index < this.at ? 'done' : index === this.at ? 'current' : 'todo';
      const heading = el('h2', {
        id: state === 'current' ? 'next-title' : null,
        tabindex: state === 'current' ? '-1' : null,
      }, step.title, state === 'done' && el('span', { class: 'visually-hidden' }, ' (done)'));
      return el('li', { class: state, 'aria-current': state === 'current' ? 'step' : null },
        heading,
        state === 'done' && el('p', { class: 'help' }, step.done ?? ''),
        state === 'current' && open);
    }));
  }

  /** All steps are done: what was achieved, and what else one can do. */
  #finish() {
    this.request?.discard();
    this.request = undefined;
    this.#paintSteps(null);
    const codes = this.carried.get('recovery_codes');
    fill(this.end,
      el('section', { class: 'panel', 'aria-labelledby': 'next-title' },
        el('h2', { id: 'next-title', tabindex: '-1' }, 'Done'),
        el('p', { class: 'achieved', id: 'flow-achieved' }, this.flow.achieved),
        codes && recoveryCodes(codes.value, this.who.member_id),
        el('p', {}, 'The snippet makes the last call in your language. ',
          button('Choose the language', () => document.getElementById('language')?.focus(), { class: 'link' }))),
      this.#mistakes(),
      this.#onwards());
  }

  #mistakes() {
    const offered = this.flow.mistakes.filter(({ sandboxOnly, set }) =>
      !sandboxOnly || (set?.member_id ? this.app.hasMember(set.member_id) : this.app.settings.sandbox !== null));
    if (offered.length === 0) return null;
    return el('section', { class: 'panel', 'aria-labelledby': 'mistakes-title' },
      el('h2', { id: 'mistakes-title' }, 'Break something on purpose'),
      el('p', {}, 'See how a failure reads before you meet one:'),
      el('div', { class: 'buttons' }, offered.map((mistake) => button(mistake.title, () => this.#takeDetour(mistake)))));
  }

  #onwards() {
    return el('p', { class: 'buttons' },
      'Go on: ',
      FLOWS.filter(({ id }) => this.flow.next.includes(id)).map(({ id, title }) =>
        el('a', { class: 'button', href: `#flow/${id}`, onclick: () => (this.app.next = this.who) }, title)),
      button('start again', () => this.#startAgain(), { class: 'quiet' }));
  }
}

function focusNext() {
  document.getElementById('next-title')?.focus();
}
