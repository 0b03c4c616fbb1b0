// Applications at work all through the drill, and the book of what they were told.
//
// Writers begin a write every so often, whether or not earlier ones have been answered,
// each on a user whom nobody writes just then; so a pause of the proxy is met by as many
// writes as begin in it. A version only rises, so an answer that shows less than was
// acknowledged before the read began is stale. A 503 is no error: nothing was
// acknowledged, and it may or may not stand there later. Whoever moves the clocks holds
// everybody for that moment: nothing is under way then. No more than `mostWrites` wait for
// their answer at the same time.

import { signIn } from '../../harness/sandbox/client.mjs';
import { pause } from './scene.mjs';

const versionOf = (text) => Number(/"name":"v(\d+)"/.exec(text)?.[1] ?? 0);
/** An answer that shows less than was acknowledged before the read began. */
export const isStale = (text, least) => versionOf(text) < least;
/** Between two writes: as much as the mirror keeps up with on two cores; and while the users change hands. */
export const CALM_MS = 300;
export const DENSE_MS = 80;

export function startTraffic(scene, { ask, written, read, writeEveryMs = CALM_MS, readers = 3, readEveryMs = 15, mostWrites = 100, registerEveryMs = 2_000, dice: draw = Math.random, onlyReads = false }) {
  const any = (list) => list[Math.floor(draw() * list.length)];
  const traffic = {
    ask, written, read,
    writeEveryMs, readEveryMs,
    /** By user: the newest version that was acknowledged. */
    acknowledged: new Map(),
    /** Of users whom the applications made, by id: what they were told. */
    created: new Map(),
    deleted: new Set(),
    /** Names that were registered, and the id that was told. */
    registered: new Map(),
    writes: [], reads: [], registrations: [], signIns: [],
    stale: 0,
    isOn: true, writesGoOn: !onlyReads, readsGoOn: true, registers: !onlyReads, creates: true,
    loops: [], underWay: new Set(), begun: new Set(), heldUntil: undefined,
  };
  const free = new Set(written);
  let version = 0;
  let nRegistered = 0;

  const log = (list, began, kind, id, status, code) => list.push({ began, ended: Date.now(), kind, id, status, code });
  const codeOf = (text) => { try { return JSON.parse(text).code; } catch { return undefined; } };

  async function call(list, kind, id, method, route, body) {
    const began = Date.now();
    try {
      const answer = await ask(method, route, body);
      log(list, began, kind, id, answer.status, answer.status >= 400 ? codeOf(answer.text) : undefined);
      return answer;
    } catch (error) {
      log(list, began, kind, id, 0, error.cause?.code ?? error.message);
      return { status: 0, text: '' };
    }
  }

  async function write() {
    const dice = draw();
    version += 1;
    if (dice < 0.08) {
      if (!traffic.creates) return;
      const answer = await call(traffic.writes, 'create', null, 'POST', '/users', { username: `made_${version}`, name: `v${version}` });
      if (answer.status === 200) traffic.created.set(answer.json().id, `made_${version}`);
      return;
    }
    if (dice < 0.1) {
      const id = [...traffic.created.keys()].find((made) => !traffic.deleted.has(made));
      if (id === undefined) return;
      traffic.deleted.add(id);
      const answer = await call(traffic.writes, 'delete', id, 'DELETE', `/users/${id}`);
      // Not acknowledged, it is asked for again until it is.
      if (answer.status !== 204 && answer.status !== 404) traffic.deleted.delete(id);
      return;
    }
    const id = any([...free]);
    if (id === undefined) return;
    free.delete(id);
    const mine = version;
    try {
      const answer = await call(traffic.writes, 'patch', id, 'PATCH', `/users/${id}`, { name: `v${mine}`, ...(dice < 0.3 && { customData: { plan: `p${mine}` } }) });
      if (answer.status !== 200) return;
      traffic.acknowledged.set(id, mine);
      if (dice < 0.5) await readOne(id);
    } finally {
      free.add(id);
    }
  }

  async function readOne(id) {
    const least = traffic.acknowledged.get(id) ?? 0;
    const answer = await call(traffic.reads, 'read', id, 'GET', `/users/${id}`);
    if (answer.status === 200 && isStale(answer.text, least)) {
      traffic.stale += 1;
      console.error(`stale: ${id} shows v${versionOf(answer.text)}, acknowledged v${least}, ${answer.headers.get('x-proxy-as-of') ?? 'not as-of'}`);
    }
  }

  async function register() {
    const username = `person_${(nRegistered += 1)}_${Date.now().toString(36)}`;
    const began = Date.now();
    let last = '';
    try {
      const { tokens } = await signIn({ origin: scene.url, issuer: `${scene.url}/oidc`, username, password: 'Jubjub-Bird-9000', register: true, seen: (name, status) => { last = `${name} ${status}`; } });
      traffic.registered.set(username, tokens.claims().sub);
      log(traffic.registrations, began, 'register', username, 200);
    } catch (error) {
      const code = /"code":"([^"]+)"/.exec(error.message)?.[1];
      log(traffic.registrations, began, 'register', username, Number(/ (\d{3}) /.exec(error.message)?.[1] ?? 0), code ?? `${last}: ${error.message.slice(0, 120)}`);
    }
  }

  /** Somebody who registered before signs in again. */
  async function comeBack() {
    const [username, id] = any([...traffic.registered]) ?? [];
    if (username === undefined) return;
    const began = Date.now();
    try {
      const { tokens } = await signIn({ origin: scene.url, issuer: `${scene.url}/oidc`, username, password: 'Jubjub-Bird-9000' });
      log(traffic.signIns, began, 'sign-in', username, tokens.claims().sub === id ? 200 : 0);
    } catch (error) {
      log(traffic.signIns, began, 'sign-in', username, Number(/ (\d{3}) /.exec(error.message)?.[1] ?? 0), error.message.slice(0, 200));
    }
  }

  const track = (promise) => {
    traffic.underWay.add(promise);
    promise.finally(() => traffic.underWay.delete(promise));
  };
  /** Not begun while everybody is held. */
  async function begin(work) {
    while (traffic.heldUntil) await traffic.heldUntil.promise;
    const done = work();
    traffic.begun.add(done);
    await done.finally(() => traffic.begun.delete(done));
  }
  const loop = (turn) => traffic.loops.push((async () => { while (traffic.isOn) await turn(); })());
  loop(async () => {
    if (traffic.writesGoOn && traffic.underWay.size < mostWrites) track(begin(write));
    await pause(traffic.writeEveryMs);
  });
  // A reader rests as long as it waited, so that a slow machine is not asked more than it can answer.
  const rest = () => pause(Math.min(500, Math.max(traffic.readEveryMs, lastRead())));
  const lastRead = () => { const last = traffic.reads.at(-1); return last ? last.ended - last.began : 0; };
  for (let n = 0; n < readers; n += 1) loop(async () => { if (traffic.readsGoOn) await begin(() => readOne(draw() < 0.3 ? any(traffic.written) : any(traffic.read))); await rest(); });
  loop(async () => {
    for (const visit of [register, comeBack]) {
      traffic.isRegistering = traffic.registers;
      if (traffic.registers) await begin(visit);
      traffic.isRegistering = false;
      await pause(registerEveryMs / 2);
    }
  });

  return Object.assign(traffic, {
    /** No more writes, and each that was begun has ended. Readers go on. */
    async quiet() {
      Object.assign(traffic, { writesGoOn: false, registers: false });
      while (traffic.underWay.size > 0 || traffic.isRegistering) await pause(50);
    },
    /** Nor readers: a new version of the Worker cuts off what is under way. */
    async still() {
      traffic.readsGoOn = false;
      await traffic.quiet();
      await pause(300);
    },
    /** `work` while nobody's request is under way; whoever would begin one waits. */
    async held(work) {
      traffic.heldUntil = Promise.withResolvers();
      while (traffic.begun.size > 0) await pause(2);
      try {
        return await work();
      } finally {
        const { resolve } = traffic.heldUntil;
        traffic.heldUntil = undefined;
        resolve();
      }
    },
    resume() { Object.assign(traffic, { writesGoOn: !onlyReads, readsGoOn: true, registers: !onlyReads }); },
    async stop() {
      traffic.isOn = false;
      await Promise.allSettled(traffic.loops);
      await Promise.allSettled([...traffic.underWay]);
    },
    /** What began within, or was under way. */
    within: (list, from, to = Infinity) => list.filter(({ began, ended }) => ended >= from && began <= to),
  });
}

/** By status and code, for a line of text. */
export function tally(list) {
  const counts = new Map();
  for (const { status, code } of list) {
    const name = code ? `${status} ${code}` : String(status);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${n} x ${name}`).join(', ') || 'none';
}
