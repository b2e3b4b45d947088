// What a test knows and changes beside the page: the sandbox's clock and its faults.

export class Sandbox {
  constructor(address) {
    this.url = `http://${address}/sandbox/`;
  }

  async ask(path, method = "GET", body) {
    const response = await fetch(this.url + path, { method, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  }

  /** Moves the clock ahead, so that an authenticator app shows its next code. */
  advance(time) {
    return this.ask("clock", "POST", { advance: time });
  }

  /** Moves the clock ahead to the next code: what a test does with it has all its 30 seconds. */
  async awaitNextCode() {
    const { now } = await this.ask("clock");
    await this.advance(`${30 - ((Date.parse(now) / 1000) % 30)}s`);
  }

  fault(rule) {
    return this.ask("faults", "POST", rule);
  }
}
