/** One method: what it does, its form, and beside it the result and the snippet. */

import { Bench } from './bench.js';
import { blocks, inline, summary } from './comment.js';
import { serviceOf } from './contract.js';
import { el, fill } from './dom.js';
import { RequestForm } from './request-form.js';

export class CallView {
  constructor(app, method) {
    this.app = app;
    this.method = method;
    this.title = `${serviceOf(method)}/${method.short}`;
    const bench = new Bench(app);
    const { fields } = app.memory.read();
    this.request = new RequestForm(app, bench, method, { values: app.defaults(method), remembers: true });
    // As text, as it was typed: it need not be a value.
    for (const { field, control } of this.request.form.inputs) {
      if (field.path in fields) control.value = fields[field.path];
    }
    fill(bench.stage, this.#head(), this.request.element);
    this.element = bench.element;
  }

  #head() {
    const { short, rest } = summary(this.method.comment);
    const service = this.method.name.split('/')[0];
    return el('div', { class: 'view-head' },
      el('p', { class: 'kicker' }, el('a', { href: `#${service}` }, serviceOf(this.method))),
      el('h1', { tabindex: '-1' }, this.method.short),
      el('p', {}, inline(short)),
      rest !== '' && el('details', { class: 'fold' },
        el('summary', {}, 'Retries, errors, and the reference'),
        blocks(rest),
        el('p', {}, el('a', { href: `#${service}.${this.method.short}` }, `${this.method.short} in the reference`))));
  }

  enter() {
    this.app.memory.write({ method: this.method.name });
    this.request.enter();
  }

  leave() {
    this.request.leave();
  }
}
