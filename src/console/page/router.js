/** Shows the view that the address names. */

import { CallView } from './call-view.js';
import { findMethod } from './contract.js';
import { el, fill } from './dom.js';
import { FLOWS } from './flow-table.js';
import { FlowView } from './flow-view.js';
import { HomeView } from './home-view.js';
import { ReferenceView } from './reference-view.js';

/** @typedef {{ title: string, element: HTMLElement, enter(): void, leave(): void, scroll?: number }} View */

export class Router {
  constructor(app, main, nav) {
    this.app = app;
    this.main = main;
    this.nav = nav;
    this.reference = new ReferenceView(app);
    /** Views stay as they are left, with their secrets: in memory. @type {Map<string, View>} */
    this.views = new Map();
    /** @type {View | null} */
    this.view = null;
    this.followed = false;
    history.scrollRestoration = 'manual';
    addEventListener('hashchange', () => this.go());
    addEventListener('click', ({ target }) => {
      this.followed = target instanceof Element && target.closest('a[href^="#"]') !== null;
    });
  }

  /** Shows what the address names. */
  go() {
    const name = address();
    const view = this.#viewOf(name);
    const isFirst = this.view === null;
    if (view !== this.view) this.#replace(view);
    this.nav.mark(view === this.reference ? '#reference' : `#${name}`);
    document.title = `${view.title} · totp-facade`;
    this.#place(view, name, isFirst);
    this.followed = false;
  }

  #replace(view) {
    if (this.view) {
      this.view.leave();
      this.view.scroll = scrollY;
    }
    this.view = view;
    fill(this.main, view.element);
    view.enter();
  }

  /**
   * Scrolls and moves the focus: to the place that a link names, or back to where one was.
   * @param {View} view @param {string} name @param {boolean} isFirst
   */
  #place(view, name, isFirst) {
    const named = view === this.reference ? document.getElementById(name) : null;
    if (named) {
      named.scrollIntoView();
      if (!isFirst) named.focus({ preventScroll: true });
      return;
    }
    scrollTo(0, this.followed ? 0 : view.scroll ?? 0);
    const heading = this.main.querySelector('h1');
    if (!isFirst) heading?.focus({ preventScroll: true });
  }

  /** @param {string} name @returns {View} */
  #viewOf(name) {
    if (name === 'reference' || this.reference.has(name)) return this.reference;
    const view = this.views.get(name) ?? this.#create(name);
    this.views.set(name, view);
    return view;
  }

  /** @param {string} name @returns {View} */
  #create(name) {
    const [kind, rest] = [name.slice(0, name.indexOf('/')), name.slice(name.indexOf('/') + 1)];
    const method = kind === 'call' && findMethod(this.app.contract, rest);
    if (method) return new CallView(this.app, method);
    const flow = kind === 'flow' && FLOWS.find(({ id }) => id === rest);
    if (flow) return new FlowView(this.app, flow);
    return name === '' ? new HomeView(this.app) : missing(name);
  }
}

/** What stands behind the `#`. */
function address() {
  const hash = location.hash.slice(1);
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash;
  }
}

/** @param {string} name @returns {View} */
function missing(name) {
  const element = el('div', { class: 'home' },
    el('h1', { tabindex: '-1' }, 'Nothing here'),
    el('p', {}, 'There is no ', el('code', {}, name), '.'),
    el('p', {}, el('a', { href: '#' }, 'To the start')));
  return { title: 'Nothing here', element, enter() {}, leave() {} };
}
