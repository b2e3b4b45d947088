/** The call as code, in the reader's language, changing while one types. */

import { copyButton } from './copy.js';
import { el, fill } from './dom.js';
import { highlight } from './highlight.js';
import { LANGUAGES, environment, snippet } from './snippets/index.js';

/** @import { Method } from './contract.js' */
/** @typedef {{ method: Method, request: Record<string, any>, deadlineMs: number, key: string | null }} Shown */

export class SnippetPanel {
  constructor(app) {
    this.app = app;
    this.own = hostAndPort(app.settings.url);
    /** @type {Shown | null} */
    this.shown = null;
    this.language = el('select', { id: 'language', onchange: () => this.#chosen() },
      LANGUAGES.map(({ id, label }) => el('option', { value: id }, label)));
    this.address = el('input', {
      id: 'address', type: 'text', class: 'code', autocomplete: 'off', spellcheck: 'false',
      placeholder: this.own,
      oninput: () => this.#chosen(),
    });
    this.variables = el('p', { class: 'variables help' });
    this.code = el('code');
    this.element = this.#layout();
  }

  #layout() {
    return el('section', { class: 'panel snippet', 'aria-labelledby': 'snippet-title' },
      el('div', { class: 'panel-head' },
        el('h2', { id: 'snippet-title' }, 'Snippet'),
        el('label', {}, el('span', { class: 'visually-hidden' }, 'language '), this.language),
        el('label', { class: 'grow' }, el('span', {}, 'address '), this.address),
        copyButton(() => this.code.textContent ?? '')),
      this.variables,
      el('pre', { id: 'snippet', tabindex: '0', role: 'region', 'aria-label': 'code' }, this.code));
  }

  #chosen() {
    this.app.memory.write({ language: this.language.value, address: this.address.value });
    this.#paint();
  }

  show(shown) {
    this.shown = shown;
    // Another view may have changed them.
    const { language, address } = this.app.memory.read();
    this.language.value = LANGUAGES.some(({ id }) => id === language) ? language : LANGUAGES[0].id;
    if (document.activeElement !== this.address) {
      this.address.value = address || this.own;
    }
    this.#paint();
  }

  #paint() {
    if (!this.shown) return;
    const { settings, contract } = this.app;
    const options = {
      ...this.shown,
      messages: contract.messages,
      address: this.address.value.trim() || this.own,
      tls: settings.url.startsWith('https:'),
      token: settings.has_token,
      program: settings.program,
    };
    fill(this.code, highlight(snippet(this.language.value, options)));
    this.#paintVariables(environment(options));
  }

  #paintVariables(names) {
    fill(this.variables, names.length
      ? ['Set ', ...names.flatMap((name, at) => [at ? ', ' : '', el('code', {}, name)]), ' in the environment first.']
      : 'Needs nothing in the environment.',
    ['grpcurl', 'cli'].includes(this.language.value) ? '' : ' Needs the folder proto/ of the repository.');
  }
}

/** A URL leaves out the port that its scheme implies. gRPC calls `unix:PATH` as it is. @param {string} url */
function hostAndPort(url) {
  if (url.startsWith('unix:')) return url;
  const { protocol, host, port } = new URL(url);
  return port ? host : `${host}:${protocol === 'https:' ? 443 : 80}`;
}
