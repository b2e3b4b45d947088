/** What can stand at a field and help to fill it. */

/** @import { Answer } from './send.js' */

/** Which member of the sandbox a value is for that was put into a form. @type {Map<string, string>} */
const members = new Map();

export function lend(value, member) {
  members.set(value, member);
  return value;
}

export function isOfAnother(value, member) {
  return (members.get(value) ?? member) !== member;
}

export class Assistant {
  /** The form holds something else. */
  update() {}
  /** The form is on the screen. */
  enter() {}
  /** The form is not on the screen any more. */
  leave() {}
  /** @param {Answer} _answer @param {Record<string, any>} _request */
  answered(_answer, _request) {}
}
