// Every secret value that a page has seen: those of its own requests and of the answers.

export class Secrets {
  values = new Set();
  #contract;
  #reading = [];

  constructor(contract) {
    this.#contract = contract;
  }

  /** Reads all calls of the page from now on. */
  collectFrom(page) {
    page.on("request", (request) => {
      if (new URL(request.url()).pathname !== "/call") return;
      this.#reading.push(this.#read(request));
    });
  }

  async #read(request) {
    const { services, messages } = this.#contract;
    const sent = request.postDataJSON();
    const method = services.flatMap(({ methods }) => methods).find(({ name }) => name === sent.method);
    if (sent.idempotency_key) this.values.add(sent.idempotency_key);
    this.#collect(messages, method.request, sent.request);
    const response = await request.response();
    // A test may answer with something else.
    const answered = response?.ok() ? await response.json().catch(() => ({})) : {};
    if (answered.ok) this.#collect(messages, method.response, answered.response);
  }

  #collect(messages, name, message) {
    for (const field of messages[name].fields) {
      const value = message[field.name];
      if (value === undefined || value === null) continue;
      if (field.secret) for (const one of [value].flat()) this.values.add(String(one));
      if (field.type === "message") for (const one of [value].flat()) this.#collect(messages, field.message, one);
    }
  }

  /** All so far, once the answers have been read. */
  async all() {
    await Promise.all(this.#reading);
    return [...this.values].filter((value) => value !== "");
  }
}

/** All that the browser keeps for the page: every storage, the address bar, the history, the window's name. */
export async function kept(page, context) {
  const inPage = await page.evaluate(async () => {
    const databases = await indexedDB.databases();
    const contents = await Promise.all(databases.map(({ name }) => new Promise((done, failed) => {
      const opening = indexedDB.open(name);
      opening.onerror = failed;
      opening.onsuccess = async () => {
        const stores = [...opening.result.objectStoreNames];
        if (stores.length === 0) return done([]);
        const transaction = opening.result.transaction(stores);
        done(await Promise.all(stores.map((store) => new Promise((read) => {
          const asked = transaction.objectStore(store).getAll();
          asked.onsuccess = () => read(asked.result);
        }))));
      };
    })));
    return {
      local: { ...localStorage },
      session: { ...sessionStorage },
      databases: contents,
      caches: await caches.keys(),
      workers: (await navigator.serviceWorker.getRegistrations()).length,
      cookies: document.cookie,
      url: location.href,
      title: document.title,
      state: history.state,
      name: window.name,
    };
  });
  const cdp = await context.newCDPSession(page);
  const { entries } = await cdp.send("Page.getNavigationHistory");
  return { ...inPage, jar: await context.cookies(), history: entries.map(({ url, title }) => ({ url, title })) };
}
