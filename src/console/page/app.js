/** What every view may use: the contract, the settings, and the browser's memory. */

import { Memory } from './storage.js';

/** @import { Method } from './contract.js' */

/**
 * @typedef {{ url: string, deadline_ms: number, has_token: boolean, has_certificate: boolean, version:
 *   string, program: string, sandbox: null | { organization_id: string, members: { id: string, description:
 *   string }[] } }} Settings
 */

export class App {
  constructor(contract, settings) {
    // The larger service first: it is where one begins.
    contract.services.sort((one, other) => other.methods.length - one.methods.length);
    this.contract = contract;
    this.settings = { ...settings, deadline_ms: Math.max(1, settings.deadline_ms) };
    /** Whom the next flow is about, if the last one says it. @type {Record<string, any> | null} */
    this.next = null;
    this.memory = new Memory(contract);
  }

  /**
   * What a form begins with: a member of the sandbox that suits it.
   * @param {Method} method @returns {Record<string, any>}
   */
  defaults(method) {
    return this.who(['Create', 'Migrate'].includes(method.short) ? 'fresh' : 'enrolled');
  }

  /**
   * A member of the sandbox, if there is one.
   * @param {string} preferred a seed of one's own may not have it @returns {Record<string, any>}
   */
  who(preferred) {
    const { sandbox } = this.settings;
    if (!sandbox) return {};
    const member_id = this.hasMember(preferred) ? preferred : sandbox.members[0]?.id;
    return { organization_id: sandbox.organization_id, member_id };
  }

  hasMember(id) {
    return this.settings.sandbox?.members.some((member) => member.id === id) ?? false;
  }
}
