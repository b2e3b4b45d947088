/** The list of all that there is: flows, methods, the reference. */

import { shortName } from './contract.js';
import { button, el } from './dom.js';
import { FLOWS } from './flow-table.js';

export class Nav {
  constructor({ services }) {
    this.list = el('div', { id: 'nav-list' },
      group('Flows', FLOWS.map(({ id, title }) => ({ href: `#flow/${id}`, text: title }))),
      services.map(({ name, methods }) =>
        group(shortName(name), methods.map((method) => ({ href: `#call/${method.name}`, text: method.short })))),
      group('Contract', [{ href: '#reference', text: 'Reference' }]));
    this.toggle = button('Menu', () => this.open(this.toggle.getAttribute('aria-expanded') !== 'true'), {
      class: 'menu', 'aria-expanded': 'false', 'aria-controls': 'nav-list',
    });
    this.element = el('nav', { 'aria-label': 'console' }, this.toggle, this.list);
  }

  /** Where there is no room, the list is closed until it is asked for. @param {boolean} open */
  open(open) {
    this.toggle.setAttribute('aria-expanded', String(open));
  }

  mark(href) {
    this.open(false);
    for (const link of this.list.querySelectorAll('a')) {
      if (link.getAttribute('href') === href) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
  }
}

/** @param {string} title @param {{ href: string, text: string }[]} links */
function group(title, links) {
  const id = `nav-${title}`;
  return el('div', { class: 'nav-group' },
    el('p', { id }, title),
    el('ul', { 'aria-labelledby': id }, links.map(({ href, text }) => el('li', {}, el('a', { href }, text)))));
}
