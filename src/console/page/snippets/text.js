// Text as source code.

/** What nobody sees, or what reorders the text around it. Some compilers refuse it. */
const UNSEEN = /(?![\u{10000}-\u{10ffff}])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * A program, with its backslashes as they are written. The lines of a value are indented as the
 * first one is. What is false or null takes its line with it.
 */
export function code({ raw: [first, ...rest] }, ...values) {
  const text = rest.reduce((text, part, at) => {
    const lines = [values[at]].flat(9).filter((it) => it !== false && it != null);
    const margin = /\n[ \t]*$/.exec(text)?.[0] ?? "\n";
    return text + (lines.join("\n").replaceAll("\n", margin) || "\0") + part;
  }, first);
  return text.replace(/^[ \t]*\0\n|\0/gm, "").slice(1);
}

/** JSON, a literal of most languages. UTF-8 cannot hold half a surrogate pair: it becomes U+FFFD. */
export function json(value) {
  const text = JSON.stringify(value);
  const whole = escapes(text, (it) => (/^ud[89a-f]/.test(it) ? "\ufffd" : `\\${it}`));
  return whole.replace(UNSEEN, (it) => `\\u${it.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Replaces each escape of a JSON text; the function gets what follows the backslash. */
export const escapes = (text, replace) => text.replace(/\\(u....|.)/g, (_, it) => replace(it));

/** `organization_id` as `OrganizationId`. */
export const pascal = (name) => name.replace(/(?:^|_)([a-z])/g, (_, it) => it.toUpperCase());

/** Free-form JSON as code: `write` has a function for each kind of value. */
export function free(value, write) {
  if (value === null) return write.null;
  if (typeof value !== "object") return write[typeof value](value);
  if (Array.isArray(value)) return write.list(value.map((it) => free(it, write)).join(", "));
  const members = Object.entries(value).map(([name, it]) => write.member(name, free(it, write)));
  return write.object(members.join(", "));
}
