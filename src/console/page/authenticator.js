/**
 * The authenticator app of a member of the sandbox: the code of the moment, and how long it is
 * shown. A code works once, so after use this counts down to the next.
 */

import { Assistant, isOfAnother, lend } from './assistant.js';
import { button, el } from './dom.js';

/** @import { FieldInput } from './field.js' */

const AFTER_TYPING_MS = 300;
const PERIOD = 30;

export class Authenticator extends Assistant {
  /** @param {FieldInput} input @param {() => string} member */
  constructor(input, member) {
    super();
    this.input = input;
    this.member = member;
    this.shown = { member: '', code: /** @type {string | null} */ (null), used: false, until: 0 };
    this.digits = el('output', { class: 'digits', 'aria-live': 'off' });
    this.time = el('span', { class: 'time' });
    this.bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
    this.useButton = button('use this code', () => this.#use(), { class: 'quiet' });
    input.extras.append(
      el('div', { class: 'authenticator', role: 'group', 'aria-label': "the member's authenticator app" },
        this.digits, this.useButton, this.time, this.bar));
    this.#paint();
  }

  enter() {
    this.#refresh();
    this.ticking = setInterval(() => this.#tick(), 1000);
  }

  leave() {
    clearInterval(this.ticking);
    clearTimeout(this.typing);
  }

  update() {
    const { text } = this.input;
    if (isOfAnother(text, this.member())) return this.input.type('');
    // As the app shows it, and as people type it.
    if (/^\d{3}\s\d{3}$/.test(text)) return this.input.type(text.replace(/\s/, ''));
    if (this.member() === this.shown.member) return;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.#refresh(), AFTER_TYPING_MS);
  }

  answered() {
    this.#refresh();
  }

  async #refresh() {
    const member = this.member();
    this.shown.member = member;
    const app = await ask(member);
    if (member !== this.member()) return;
    this.shown = {
      member,
      code: app?.code ?? null,
      used: app?.is_used ?? false,
      until: Date.now() + (app?.seconds_left ?? 0) * 1000,
    };
    this.#paint();
  }

  #tick() {
    if (this.shown.code !== null && this.#left() <= 0) this.#refresh();
    else this.#paint();
  }

  #left() {
    return Math.max(0, Math.ceil((this.shown.until - Date.now()) / 1000));
  }

  #paint() {
    const { code, used } = this.shown;
    const left = this.#left();
    this.digits.textContent = code === null ? '–––\u2009–––' : `${code.slice(0, 3)}\u2009${code.slice(3)}`;
    this.digits.classList.toggle('spent', used);
    this.time.textContent =
      code === null ? 'no TOTP yet' : used ? `used; the next in ${left} s` : `${left} s`;
    this.bar.style.width = `${code === null ? 0 : (100 * left) / PERIOD}%`;
    this.useButton.disabled = code === null || used;
  }

  #use() {
    if (this.shown.code === null) return;
    this.input.type(lend(this.shown.code, this.shown.member));
    this.input.control.focus();
  }
}

/** @param {string} member @returns {Promise<{ code: string | null, seconds_left?: number, is_used?: boolean } | null>} */
async function ask(member) {
  try {
    const reply = await fetch('/authenticator', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ member_id: member }),
    });
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}
