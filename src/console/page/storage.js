/**
 * What the browser remembers: address, language, last method, and the values of fields that are
 * not secret. Never a secret, never a free-form object, nothing of an answer. Everything is one
 * entry of `localStorage`. A browser that allows no storage forgets, and the page works.
 */

/** @import { Field } from './contract.js' */
/** @typedef {{ address: string, language: string, method: string, fields: Record<string, string> }} Remembered */

const KEY = 'totp-facade-console';
const VERSION = 1;
const REMEMBERED_TYPES = ['string', 'int32', 'bool'];

function mayBeRemembered(field) {
  return !field.secret && REMEMBERED_TYPES.includes(field.type);
}

export class Memory {
  constructor(contract) {
    const fields = Object.values(contract.messages).flatMap(({ fields }) => fields);
    this.allowed = new Set(fields.filter(mayBeRemembered).map(({ path }) => path));
  }

  /** @returns {Remembered} what is remembered, without anything that does not belong there */
  read() {
    const stored = parsed(text());
    const fields = Object.entries(stored.fields ?? {}).filter(
      ([path, value]) => this.allowed.has(path) && typeof value === 'string',
    );
    return {
      address: string(stored.address),
      language: string(stored.language),
      method: string(stored.method),
      fields: Object.fromEntries(fields),
    };
  }

  /** @param {Partial<Remembered>} change */
  write(change) {
    const next = { version: VERSION, ...this.read(), ...change };
    try {
      localStorage.setItem(KEY, JSON.stringify(next));
    } catch {
      // Full, or not allowed: then it is forgotten.
    }
  }

  rememberField(field, value) {
    if (!mayBeRemembered(field)) return;
    this.write({ fields: { ...this.read().fields, [field.path]: value } });
  }

  /** @param {Field[]} fields */
  forgetFields(fields) {
    const kept = { ...this.read().fields };
    for (const { path } of fields) delete kept[path];
    this.write({ fields: kept });
  }
}

function text() {
  try {
    return localStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} stored @returns {Record<string, any>} */
function parsed(stored) {
  try {
    const value = JSON.parse(stored);
    return value?.version === VERSION ? value : {};
  } catch {
    return {};
  }
}

function string(value) {
  return typeof value === 'string' ? value : '';
}
