/** The contract as the console serves it, and how it is looked up. */

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} path the full name, which is also the HTML id of its input
 * @property {string} flag
 * @property {number} number
 * @property {'string' | 'int32' | 'bool' | 'object' | 'timestamp' | 'message'} type
 * @property {string | null} message the full name of its message, if it is one
 * @property {boolean} repeated
 * @property {boolean} required
 * @property {boolean} secret
 * @property {string} comment
 */

/** @typedef {{ name: string, comment: string, fields: Field[] }} Message */

/**
 * @typedef {{ name: string, short: string, command: string[], comment: string, request: string, response:
 *   string, reads_only: boolean }} Method
 */

/** @typedef {{ name: string, comment: string, methods: Method[] }} Service */
/** @typedef {{ services: Service[], messages: Record<string, Message> }} Contract */

/** @param {Contract} contract @param {string} name @returns {Method | undefined} */
export function findMethod(contract, name) {
  return contract.services.flatMap(({ methods }) => methods).find((method) => method.name === name);
}

/** The name without its package. @param {string} name */
export function shortName(name) {
  return name.slice(name.lastIndexOf('.') + 1);
}

/** `TotpService` of `stytch.b2b.totp.v1.TotpService/Create`. @param {Method} method */
export function serviceOf(method) {
  return shortName(method.name.split('/')[0]);
}

/** The type as a reader calls it. @param {Field} field */
export function typeName(field) {
  const type = field.message ? shortName(field.message) : field.type;
  return field.repeated ? `list of ${type}` : type;
}
