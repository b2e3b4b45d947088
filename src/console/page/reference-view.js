/** The contract as documentation: every service, method, message and field, each with its link. */

import { blocks } from './comment.js';
import { shortName, typeName } from './contract.js';
import { el } from './dom.js';

/** @import { Contract } from './contract.js' */

export class ReferenceView {
  constructor({ contract }) {
    this.title = 'Reference';
    const ordered = inReadingOrder(contract);
    this.element = el('article', { class: 'reference' },
      el('div', { class: 'view-head' },
        el('h1', { tabindex: '-1' }, 'Reference'),
        el('p', {}, 'The contract: every call, message and field. The sign ', el('span', { class: 'sign' }, '#'), ' is a link to what it stands at.')),
      contract.services.map(service),
      ordered.map((message) => messageSection(message)));
  }

  /** @param {string} name @returns {boolean} whether there is something of this name */
  has(name) {
    return this.element.querySelector(`[id="${CSS.escape(name)}"]`) !== null;
  }

  enter() {}
  leave() {}
}

/** Requests and responses by method, then what they hold, each once. @param {Contract} contract */
function inReadingOrder({ services, messages }) {
  const order = services.flatMap(({ methods }) => methods.flatMap(({ request, response }) => [request, response]));
  for (const name of order) {
    for (const { message } of messages[name].fields) {
      if (message && messages[message] && !order.includes(message)) order.push(message);
    }
  }
  return order.map((name) => messages[name]);
}

function sign(id, name) {
  return el('a', { class: 'sign', href: `#${id}`, 'aria-label': `link to ${name}` }, '#');
}

function service({ name, comment, methods }) {
  return el('section', { id: name, tabindex: '-1' },
    el('h2', {}, shortName(name), ' ', sign(name, name)),
    el('p', { class: 'full' }, el('code', {}, name)),
    blocks(comment),
    methods.map((one) => method(name, one)));
}

function method(service, { name, short, comment, request, response, command }) {
  const id = `${service}.${short}`;
  return el('section', { id, tabindex: '-1' },
    el('h3', {}, short, ' ', sign(id, short)),
    el('p', { class: 'signature' },
      el('a', { href: `#${request}` }, shortName(request)), ' → ', el('a', { href: `#${response}` }, shortName(response)),
      el('a', { class: 'button', href: `#call/${name}` }, 'try it')),
    blocks(comment),
    el('p', { class: 'help' }, 'On the command line: ', el('code', {}, command.join(' '))));
}

function messageSection({ name, comment, fields }) {
  return el('section', { id: name, class: 'message', tabindex: '-1' },
    el('h2', {}, shortName(name), ' ', sign(name, name)),
    el('p', { class: 'full' }, el('code', {}, name)),
    blocks(comment),
    el('dl', {}, fields.map(field)));
}

function field(one) {
  const type = typeName(one);
  return el('div', { id: one.path, tabindex: '-1' },
    el('dt', {},
      el('code', {}, one.name), ' ', sign(one.path, one.name),
      el('span', { class: 'type' }, one.message ? el('a', { href: `#${one.message}` }, type) : type),
      one.required && el('span', { class: 'required' }, 'required'),
      one.secret && el('span', { class: 'tag' }, 'secret'),
      el('span', { class: 'number', title: 'number of the field' }, String(one.number))),
    el('dd', {}, blocks(one.comment)));
}
