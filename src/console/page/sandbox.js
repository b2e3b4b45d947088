/**
 * What the sandbox lends a form under `dev`: its members, tokens of logins and sessions, and what
 * the member has in hand. Each assistant stands at its field.
 */

import { Assistant, isOfAnother, lend } from './assistant.js';
import { Authenticator } from './authenticator.js';
import { button, el } from './dom.js';
import { send } from './send.js';

/** @import { App } from './app.js' */
/** @import { FieldInput } from './field.js' */
/** @import { Form } from './form.js' */

const GET = 'stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get';

/** @param {App} app @param {Form} form @returns {Assistant[]} */
export function assistants(app, form) {
  const { sandbox } = app.settings;
  if (!sandbox) return [];
  const member = () => form.text('member_id');
  return form.inputs.flatMap((input) => {
    switch (input.field.name) {
      case 'member_id':
        return [new MemberPicker(input, sandbox.members)];
      case 'intermediate_session_token':
        return [new Offer(input, 'use a sandbox login', member, login, true)];
      case 'session_token':
        return [new Offer(input, 'use a sandbox session', member, session, true)];
      case 'recovery_code':
        return [new Offer(input, "use one of the member's codes", member, () => recoveryCode(app, form))];
      case 'code':
        return [new Authenticator(input, member)];
      default:
        return [];
    }
  });
}

/** The token of a login that waits for its second factor; never one that was used. @param {string} member */
export function login(member) {
  return lend(`sandbox-login.${member}.${unused()}`, member);
}

function session(member) {
  return lend(`sandbox-session.${member}.${unused()}`, member);
}

function unused() {
  return crypto.randomUUID().slice(0, 8);
}

/** @param {App} app @param {Form} form @returns {Promise<string | null>} */
async function recoveryCode(app, form) {
  const request = { organization_id: form.text('organization_id'), member_id: form.text('member_id') };
  const call = { method: GET, request, deadline_ms: app.settings.deadline_ms, idempotency_key: null };
  const answer = await send(call, new AbortController().signal);
  const code = answer.response?.recovery_codes?.[0];
  return code ? lend(code, request.member_id) : null;
}

class MemberPicker extends Assistant {
  /** @param {FieldInput} input @param {{ id: string, description: string }[]} members */
  constructor(input, members) {
    super();
    this.input = input;
    // `change` would be too late: the form hears of `input` first, and shows what it holds.
    this.select = el('select', { class: 'quiet', 'aria-label': 'members of the sandbox', oninput: () => this.#pick() },
      el('option', { value: '' }, 'members of the sandbox …'),
      members.map(({ id, description }) => el('option', { value: id }, `${id}: ${description}`)));
    input.extras.append(this.select);
  }

  #pick() {
    if (this.select.value !== '') this.input.type(this.select.value);
  }

  update() {
    this.select.value = this.input.text;
    // A member that is not listed selects nothing.
    if (this.select.selectedIndex < 0) this.select.value = '';
  }
}

/** A button that fills its field. What it gave for another member goes; a token is replaced. */
class Offer extends Assistant {
  /**
   * @param {FieldInput} input @param {string} label @param {() => string} member
   * @param {(member: string) => any} value the value, null, or a promise of them @param {boolean} [renews]
   */
  constructor(input, label, member, value, renews = false) {
    super();
    this.input = input;
    this.member = member;
    this.value = value;
    this.renews = renews;
    this.said = el('span', { class: 'help', role: 'status' });
    input.extras.append(button(label, () => this.#offer(), { class: 'quiet' }), this.said);
  }

  async #offer() {
    const found = await this.value(this.member());
    this.said.textContent = found === null ? 'There is none.' : '';
    if (found !== null) this.input.type(found);
  }

  update() {
    const member = this.member();
    if (isOfAnother(this.input.text, member)) this.input.type(this.renews ? this.value(member) : '');
  }
}
