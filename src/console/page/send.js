/** Makes one call through the console, and words what can go wrong on the way to it. */

/**
 * @typedef {{ code: string | null, message: string, reason: string | null, domain: string | null, metadata:
 *   Record<string, string>, violations: { field: string, description: string }[], help: string[],
 *   retry_after_ms: number | null, outcome: 'not_sent' | 'rejected' | 'unknown', advice: string }} Failure
 */

/**
 * @typedef {{ ok: boolean, response?: any, failure?: Failure, request_id: string | null,
 *   replayed: boolean, elapsed_ms: number }} Answer
 */

/** @typedef {{ method: string, request: Record<string, any>, deadline_ms: number, idempotency_key: string | null }} Call */

// The console answers by the deadline. This much later, it is taken for stuck.
const GRACE_MS = 5000;

/** @param {Call} call @param {AbortSignal} stop @returns {Promise<Answer>} */
export async function send(call, stop) {
  const began = performance.now();
  const late = AbortSignal.timeout(call.deadline_ms + GRACE_MS);
  /** @param {string} message @param {Failure['outcome']} outcome @param {string} advice */
  const fails = (message, outcome, advice) => failure(message, outcome, advice, performance.now() - began);
  try {
    const reply = await fetch('/call', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(call),
      signal: AbortSignal.any([stop, late]),
    });
    const text = await reply.text();
    const said = text.slice(0, 500);
    if (reply.ok) return read(text);
    if (reply.status === 413) return fails('The request is too large for the console, which takes 256 KiB.', 'not_sent', 'Make it smaller.');
    if (reply.status < 500) {
      const advice = 'Reload the page; it may be older than the program.';
      return fails(`The console refused the request of its page: ${said}`, 'not_sent', advice);
    }
    return fails(`The console failed: ${said}`, 'unknown', retryAdvice(call));
  } catch (error) {
    if (stop.aborted) return fails('You stopped waiting.', 'unknown', retryAdvice(call));
    if (late.aborted) return fails('The console has not answered in time.', 'unknown', retryAdvice(call));
    if (error instanceof SyntaxError) return unreadable(call, error);
    return fails(
      `The console at ${location.origin} does not answer.`,
      'unknown',
      `Is the program still running? Start it again with \`--console-addr ${location.host}\`. ${retryAdvice(call)}`,
    );
  }
}

/** @param {string} text @returns {Answer} */
function read(text) {
  const answer = JSON.parse(text);
  const said = answer?.ok === true ? answer.response : answer?.ok === false && answer.failure;
  if (!said || typeof said !== 'object') throw new SyntaxError('it is neither a response nor a failure');
  return answer;
}

/** An answer that this page cannot show. @param {Call} call @param {unknown} error */
export function unreadable(call, error) {
  return failure(`The page cannot show the console's answer: ${error}`, 'unknown', retryAdvice(call), 0);
}

function retryAdvice(call) {
  return call.idempotency_key === null
    ? 'If the call changes anything, find out first whether it took effect.'
    : 'Retry it with the same idempotency key: the call is made at most once.';
}

/** @param {string} message @param {Failure['outcome']} outcome @param {string} advice @param {number} elapsed_ms @returns {Answer} */
function failure(message, outcome, advice, elapsed_ms) {
  return {
    ok: false,
    request_id: null,
    replayed: false,
    elapsed_ms,
    failure: {
      code: null, message, reason: null, domain: null, metadata: {}, violations: [], help: [],
      retry_after_ms: null, outcome, advice,
    },
  };
}
