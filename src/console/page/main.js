/** Starts the page. */

import { App } from './app.js';
import { el, fill } from './dom.js';
import { Nav } from './nav.js';
import { Router } from './router.js';

function paintConnection({ url, has_token, has_certificate, sandbox, version }) {
  const also = [
    sandbox && 'sandbox',
    has_token && 'with a token',
    has_certificate && 'with a client certificate',
  ].filter(Boolean);
  fill(element('connection'), el('code', {}, url), also.map((text) => el('span', { class: 'tag' }, String(text))));
  fill(element('version'), version);
}

function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

async function load(path) {
  const reply = await fetch(path);
  if (!reply.ok) throw new Error(`${path}: ${await reply.text()}`);
  return reply.json();
}

async function start() {
  const main = element('main');
  element('skip').addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  try {
    const app = new App(...await Promise.all([load('/contract.json'), load('/settings.json')]));
    const nav = new Nav(app.contract);
    paintConnection(app.settings);
    element('nav').replaceWith(nav.element);
    new Router(app, main, nav).go();
  } catch (error) {
    fill(main, el('div', { class: 'home' },
      el('h1', {}, 'The console does not answer'),
      el('p', {}, `Is the program still running? ${error}`)));
  }
}

start();
