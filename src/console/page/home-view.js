/** The first screen: what to do, for someone who has never been here. */

import { firstSentence, inline } from './comment.js';
import { findMethod, serviceOf, shortName } from './contract.js';
import { el } from './dom.js';
import { FLOWS } from './flow-table.js';

export class HomeView {
  constructor(app) {
    this.app = app;
    this.title = 'Start';
    this.again = el('p');
    const [first, ...others] = FLOWS;
    this.element = el('div', { class: 'home' },
      this.#head(),
      el('section', { class: 'start', 'aria-labelledby': 'flows-title' },
        el('h2', { id: 'flows-title' }, 'Follow a flow'),
        card(first, true),
        el('div', { class: 'cards' }, others.map((flow) => card(flow, false)))),
      el('section', { 'aria-labelledby': 'calls-title' },
        el('h2', { id: 'calls-title' }, 'Make a call'),
        this.again,
        app.contract.services.map(methods)));
  }

  #head() {
    const { sandbox, url } = this.app.settings;
    return el('div', { class: 'view-head' },
      el('h1', { tabindex: '-1' }, 'Try the façade'),
      el('p', {}, sandbox
        ? 'A sandbox stands in for Stytch here: its members are invented, and no call leaves this computer. Enrol a member, log in, break something; then copy the call in your language.'
        : `Calls from here are real: they go to ${url}, with the rights that this console has there. Follow a flow or make a single call; then copy it in your language.`));
  }

  enter() {
    const method = findMethod(this.app.contract, this.app.memory.read().method);
    this.again.replaceChildren(...(method
      ? ['Last time: ', el('a', { href: `#call/${method.name}` }, `${serviceOf(method)}/${method.short}`)]
      : []));
    this.again.hidden = !method;
  }

  leave() {}
}

function card({ id, title, summary, steps }, first) {
  return el('a', { class: first ? 'card first' : 'card', href: `#flow/${id}` },
    el('b', {}, title),
    el('span', {}, summary),
    el('span', { class: 'help' }, steps.length === 1 ? '1 call' : `${steps.length} calls`),
    first && el('span', { class: 'go', 'aria-hidden': 'true' }, 'Start here'));
}

function methods({ name, methods }) {
  return el('div', { class: 'methods' },
    el('h3', {}, shortName(name)),
    el('ul', {}, methods.map((method) =>
      el('li', {},
        el('a', { href: `#call/${method.name}` }, method.short),
        el('span', {}, inline(withoutRoute(firstSentence(method.comment))))))));
}

/** The route at Stytch matters to readers of the reference. @param {string} text */
function withoutRoute(text) {
  return text.replace(/\s*\(`(?:GET|POST|PUT|DELETE) [^)]*\)/, '');
}
