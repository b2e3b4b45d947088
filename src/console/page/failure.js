/** A failed call, told so that one knows what happened and what to do. */

import { inline } from './comment.js';
import { button, el } from './dom.js';
import { duration } from './duration.js';

/** @import { Failure } from './send.js' */
/** What one can do about a failure. @typedef {{ retry: (() => void) | null, goTo: (field: string) => void }} Actions */

const OUTCOMES = {
  not_sent: ['not sent', 'Nothing reached Stytch.'],
  rejected: ['rejected', 'The call was refused, and nothing was done.'],
  unknown: ['unknown', 'The call may have taken effect.'],
};
const READ_UNKNOWN = 'The call only reads, so it changed nothing.';

export function failureDetails(failure, method, { retry, goTo }) {
  return [
    el('p', { class: 'message' }, failure.message),
    outcome(failure, method),
    advice(failure, retry),
    violations(failure, goTo),
    facts(failure),
  ];
}

function outcome(failure, method) {
  const [word, meaning] = OUTCOMES[failure.outcome] ?? OUTCOMES.unknown;
  const told = failure.outcome === 'unknown' && method.reads_only ? READ_UNKNOWN : meaning;
  return el('p', { id: 'result-outcome', class: 'outcome', 'data-outcome': failure.outcome },
    el('b', {}, word), el('span', {}, told));
}

function advice({ advice, retry_after_ms }, retry) {
  return el('div', { class: 'advice' },
    el('p', { id: 'result-advice' }, inline(advice)),
    retry_after_ms !== null && el('p', { class: 'help' }, `The answer says to wait ${duration(retry_after_ms)} first.`),
    retry && button('retry with the same key', retry));
}

/** @param {Failure} failure @param {Actions['goTo']} goTo */
function violations({ violations }, goTo) {
  if (violations.length === 0) return null;
  return el('ul', { class: 'violations' }, violations.map(({ field, description }) =>
    el('li', {}, button(field, () => goTo(field), { class: 'link code' }), ' ', inline(description))));
}

function facts({ reason, domain, metadata, help }) {
  const rows = Object.entries(metadata).filter(([name]) => name !== 'upstream');
  return el('dl', { class: 'facts' },
    reason && row('reason', el('span', { id: 'result-reason' }, reason)),
    domain && row('domain', domain),
    rows.map(([name, value]) => row(name, value)),
    help.filter(isWebPage).map((link) =>
      row('documentation', el('a', { href: link, target: '_blank', rel: 'noopener noreferrer' }, link))));
}

function row(term, description) {
  return el('div', {}, el('dt', {}, term), el('dd', {}, description));
}

function isWebPage(link) {
  return /^https:\/\//.test(link);
}
