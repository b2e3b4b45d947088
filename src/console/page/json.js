/**
 * Where a JSON object breaks. `JSON.parse` says it in other words in every browser, and in some
 * without the place.
 */

// The console reads no more than 128 levels, with those of the request around.
const DEEPEST = 100;
const SPACE = /[ \t\n\r]*/y;
const TEXT = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])/y;

/**
 * @param {string} text
 * @returns {{ value: object } | { problem: string }} the problem with its line and column
 */
export function parseObject(text) {
  const reader = new Reader(text);
  try {
    reader.skip();
    reader.expectObject();
    reader.skip();
    if (reader.at < text.length) throw new Unexpected('nothing may follow the object', reader.at);
    return { value: JSON.parse(text) };
  } catch (error) {
    if (!(error instanceof Unexpected)) throw error;
    return { problem: `Line ${place(text, error.at)}: ${error.message}.` };
  }
}

function place(text, at) {
  const lines = text.slice(0, at).split('\n');
  return `${lines.length}, column ${lines[lines.length - 1].length + 1}`;
}

class Unexpected extends Error {
  constructor(message, at) {
    super(message);
    this.at = at;
  }
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.depth = 1;
  }

  /** Reads what matches here. @param {RegExp} pattern @returns {string | null} */
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return null;
    this.at += found[0].length;
    return found[0];
  }

  skip() {
    this.take(SPACE);
  }

  has(wanted) {
    this.skip();
    if (this.text[this.at] !== wanted) return false;
    this.at += 1;
    this.skip();
    return true;
  }

  expectNested(opening) {
    if (this.depth === DEEPEST) throw new Unexpected(`nested deeper than ${DEEPEST} levels`, this.at);
    this.depth += 1;
    if (opening === '{') this.expectObject();
    else this.expectArray();
    this.depth -= 1;
  }

  expectObject() {
    if (!this.has('{')) throw new Unexpected('an object begins with {', this.at);
    if (this.has('}')) return;
    do {
      if (!this.take(TEXT)) throw new Unexpected('expected a name in double quotes', this.at);
      if (!this.has(':')) throw new Unexpected('expected : after the name', this.at);
      this.expectValue();
    } while (this.has(','));
    if (!this.has('}')) throw new Unexpected('expected , or }', this.at);
  }

  expectArray() {
    this.has('[');
    if (this.has(']')) return;
    do this.expectValue();
    while (this.has(','));
    if (!this.has(']')) throw new Unexpected('expected , or ]', this.at);
  }

  expectValue() {
    const next = this.text[this.at];
    if (next === '{' || next === '[') return this.expectNested(next);
    if (next === '"' && !this.take(TEXT)) {
      throw new Unexpected('this text does not end, or holds a line break or a wrong escape', this.at);
    }
    if (next === '"') return;
    const begin = this.at;
    const scalar = this.take(SCALAR);
    if (scalar === null) {
      throw new Unexpected('expected a value: a text in double quotes, a number, true, false, null, [ or {', begin);
    }
    if (Math.abs(Number(scalar)) === Infinity) throw new Unexpected('this number is too large', begin);
  }
}
