/** What became of a call: not sent yet, on its way, a response, or a failure. */

import { recoveryCodes } from './codes.js';
import { copyButton } from './copy.js';
import { button, el, fill } from './dom.js';
import { duration } from './duration.js';
import { failureDetails } from './failure.js';
import { qrCode } from './qr.js';
import { hidden, tree } from './tree.js';

/** @import { Message } from './contract.js' */

const TICK_MS = 100;

export class Result {
  /** @param {Record<string, Message>} messages */
  constructor(messages) {
    this.messages = messages;
    this.body = el('div', { class: 'panel-body', tabindex: '0', role: 'region', 'aria-label': 'result of the call' });
    this.state = el('p', { class: 'state' });
    // Read out: the line of the state. The rest is there to be looked through.
    this.element = el('section', { id: 'result', class: 'panel result', 'aria-live': 'polite', 'aria-labelledby': 'result-title' },
      el('div', { class: 'panel-head' }, el('h2', { id: 'result-title' }, 'Result'), this.state),
      this.body);
    this.body.setAttribute('aria-live', 'off');
    this.reset();
  }

  reset() {
    clearInterval(this.ticking);
    this.#set('idle', ['not sent yet'], [
      el('p', { class: 'help' }, 'The answer appears here: the response, or what failed, and whether to retry it.'),
    ]);
  }

  #set(state, line, body) {
    this.element.dataset.state = state;
    // A button goes with what it is about; the focus stays here.
    const hadFocus = this.body.contains(document.activeElement);
    fill(this.state, line);
    fill(this.body, body);
    if (hadFocus) this.body.focus({ preventScroll: true });
    this.body.scrollTop = 0;
  }

  sending(deadlineMs, stop) {
    const began = performance.now();
    const counter = el('span', { class: 'counter' }, duration(0));
    const bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
    clearInterval(this.ticking);
    this.ticking = setInterval(() => {
      const elapsed = performance.now() - began;
      counter.textContent = duration(elapsed);
      bar.style.width = `${Math.min(100, (100 * elapsed) / deadlineMs)}%`;
    }, TICK_MS);
    this.#set('sending', ['sending'], [
      el('p', {}, counter, `of ${duration(deadlineMs)}`),
      el('p', { class: 'track' }, bar),
      button('stop waiting', stop, { class: 'quiet' }),
    ]);
    this.#bringIntoView();
  }

  show(answer, method, actions) {
    clearInterval(this.ticking);
    const elapsed = el('span', { id: 'result-elapsed' }, duration(answer.elapsed_ms));
    if (answer.ok) {
      this.#set('ok', [elapsed, badge('OK')], [
        ...this.#highlights(answer.response),
        this.#measures(answer),
        this.#response(answer.response, method),
      ]);
    } else if (answer.failure) {
      const line = [elapsed, badge(answer.failure.code ?? 'no status')];
      this.#set('failed', line, [...failureDetails(answer.failure, method, actions), this.#measures(answer)]);
    }
  }

  #measures({ request_id, replayed }) {
    if (!request_id && !replayed) return null;
    return el('dl', { class: 'facts' },
      request_id && el('div', {},
        el('dt', { title: "Stytch's id of the call" }, 'request id'),
        el('dd', {}, el('span', { id: 'result-request-id' }, request_id), copyButton(() => request_id, 'the request id'))),
      replayed && el('div', {},
        el('dt', {}, 'idempotency'),
        el('dd', { id: 'result-replayed' }, 'replayed: the answer to the first call with this key')));
  }

  /** What a human looks for in a response. @param {Record<string, any>} response */
  #highlights(response) {
    const told = el('p', { class: 'help' }, 'Scan the code, or type the secret.');
    const noCode = () => fill(told, 'The QR code is no PNG. Type the secret.');
    const qr = qrCode(response.qr_code, noCode);
    if (!qr) noCode();
    const secret = typeof response.secret === 'string' && response.secret !== '' && response.secret;
    const codes = response.recovery_codes;
    return [
      qr || secret
        ? el('div', { class: 'highlight enrolment' }, qr, el('div', {},
          el('h3', {}, 'For the authenticator app'),
          told,
          secret ? this.#secret(secret) : null))
        : null,
      Array.isArray(codes) && codes.length ? recoveryCodes(codes, response.member?.email_address ?? response.member_id) : null,
    ];
  }

  #secret(secret) {
    const value = el('code', {}, secret);
    return el('p', {}, 'secret ', hidden('the secret', value), value, copyButton(() => secret, 'the secret'));
  }

  #response(response, method) {
    return el('div', { class: 'highlight' },
      el('div', { class: 'highlight-head' },
        el('h3', {}, el('a', { href: `#${method.response}` }, `${method.short}Response`)),
        copyButton(() => JSON.stringify(response, null, 2), 'the response as JSON')),
      tree(this.messages, method.response, response));
  }

  /** Where the panels stand below each other, sending shows the result. */
  #bringIntoView() {
    const { top, bottom } = this.element.getBoundingClientRect();
    if (top > innerHeight / 2 || bottom < 0) this.element.scrollIntoView({ block: 'start' });
  }
}

function badge(code) {
  return el('span', { id: 'result-code', class: 'badge' }, code);
}
