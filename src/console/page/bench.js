/** The workbench of a view: what one does on one side, the result and the snippet on the other. */

import { el } from './dom.js';
import { Result } from './result.js';
import { SnippetPanel } from './snippet-panel.js';

export class Bench {
  constructor(app) {
    this.result = new Result(app.contract.messages);
    this.snippets = new SnippetPanel(app);
    this.stage = el('div', { class: 'stage' });
    this.element = el('div', { class: 'bench' },
      this.stage,
      el('div', { class: 'answers' }, this.result.element, this.snippets.element));
  }
}
