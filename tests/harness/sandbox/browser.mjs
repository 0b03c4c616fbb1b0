// A browser: cookies by origin and path, redirects one by one.
export class Browser {
  #cookies = [];
  sent = [];
  async ask(method, url, { body, headers = {} } = {}) {
    const { origin, pathname } = new URL(url);
    const isUnder = (path) => pathname === path || path === '/' || pathname.startsWith(`${path}/`);
    const cookie = this.#cookies
      .filter((held) => held.origin === origin && isUnder(held.path))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
    this.sent.push({ url, cookie });
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      headers: { 'sec-fetch-dest': 'document', ...(cookie && { cookie }), ...headers },
      body,
    });
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';');
      const at = pair.indexOf('=');
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      const path = attributes.find((attribute) => /^ *path=/i.test(attribute))?.split('=')[1] ?? '/';
      this.#cookies = this.#cookies.filter((held) => held.name !== name || held.origin !== origin);
      const isOver = value === '' || /max-age=0(;|$)|expires=Thu, 01 Jan 1970/i.test(line);
      if (!isOver) this.#cookies.push({ origin, name, value, path });
    }
    return response;
  }
  forget(part) {
    this.#cookies = this.#cookies.filter(({ name }) => !name.startsWith(part));
  }
  /** The proxy's mark of a ready user; the cookie's first part is what it says, and one who stays at Logto has one, too. */
  get isMarkedReady() {
    return this.value('__Secure-dwp_ready')?.startsWith('1.') ?? false;
  }
  value(name) {
    return this.#cookies.find((held) => held.name === name)?.value;
  }
  has(name) {
    return this.#cookies.some((held) => held.name === name);
  }
  // To the first answer that is no redirect, or leads to `stop`.
  async follow(url, stop = () => false) {
    for (let n = 0; n < 12; n += 1) {
      if (stop(url)) return { url };
      const response = await this.ask('GET', url);
      const location = response.headers.get('location');
      if (location === null) return { url, response };
      url = new URL(location, url).href;
    }
    throw new Error(`too many redirects: ${url}`);
  }
}
