// The users change hands, there and back, over and over, with writers on: the built Worker
// killed with SIGKILL at random moments of the announcement, of draining, of the hand-over,
// of the way back and of its end, and started again on the same storage. An operator does
// what the runbook says, by the built `dwp`, and says it again when a kill swallowed it.
//
// Judged at the backends, whenever a side has become the authority and before anybody
// writes on: it has every write that was acknowledged, whoever acknowledged it. After each
// way back, and at the end, both sides are equal. Nothing stays between the two sides: a
// hand-over that a kill has not let end in its time has gone back by itself.
//
// Nobody waits for a quarter of an hour here. Logto commits nothing late in this drill, so
// after a kill whatever stands open in the rows is made fifteen minutes older, once no
// request of before is under way any more; all else goes by the clock.

import { appendFileSync } from 'node:fs';

import { scratch } from '../../harness/sandbox/scratch.mjs';
import { startLogto } from '../../harness/backends/logto/main.mjs';
import { defaultSeed, machine } from '../../harness/backends/logto/seed.mjs';
import { management, managementToken, pause, signIn, until } from '../../harness/sandbox/client.mjs';
import { workerdPids } from '../../harness/sandbox/machine.mjs';
import { controlOf, drawPorts, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { compareStores, dwp, say } from '../import/support.mjs';

const N_USERS = 60;
const N_WRITERS = 4;
const SECRET = 'what-only-this-version-sends';
const BACK = { id: 'crashback000000000000', secret: 'crash-secret-back' };
// The announcement is their sum but for the deadline: four seconds.
const VARS = {
  HANDOVER_LEASE_S: '1', LOGTO_DEADLINE_MS: '2000', HANDOVER_LATE_S: '1', HANDOVER_DEADLINE_S: '60', HANDOVER_HOLD_MS: '3000',
  HANDOVER_SECRET: SECRET, ORIGIN_SECRET: 'what-no-origin-takes-any-more', REVERSE_CLIENT_ID: BACK.id, REVERSE_CLIENT_SECRET: BACK.secret,
  DELETIONS_PER_HOUR: '100000',
};
/** A moment of the change, and how long after it has come the kill may be. */
const MOMENTS = [['announced', 3_500], ['draining', 400], ['handed over', 250], ['mgpass', 1_500], ['returning', 400], ['come back', 250]];
/** A side has just become the authority. */
const JUST_MS = 1_200;
const STUCK_MS = 150_000;
const LATE = `UPDATE intents SET opened_at = opened_at - 900000, expires_at = expires_at - 900000 WHERE discharged_at IS NULL AND settled IS NULL;
  UPDATE debt SET since = since - 900000 WHERE class = 'unanswered';
  UPDATE sent_back SET sent_at = sent_at - 900000 WHERE answered_at IS NULL;
  UPDATE strays SET watch_until = watch_until - 900000 WHERE state = 'open'`;

/** `log`: a file that gets every line of the Workers, for whoever looks into a miss. */
export async function run(nKills, { main, log } = {}) {
  const scene = await open(main, log);
  try {
    return await course(scene, nKills);
  } finally {
    await scene.close();
  }
}

async function open(main, log) {
  const store = scratch();
  const ports = await drawPorts();
  const url = (port) => `http://127.0.0.1:${port}`;
  const logto = await startLogto({
    port: ports.logto, controlPort: ports.logtoControl, endpoint: url(ports.proxy), originSecret: SECRET,
    seed: { applications: [...defaultSeed.applications, machine(BACK, 'back')] },
  });
  const problems = [];
  const start = () => startSandbox({
    persistTo: store.directory, ports, main, vars: VARS, runningLogto: logto, queueBatchSize: 20,
    onLog: (line) => { if (log) appendFileSync(log, `${Date.now()} ${line}\n`); if (!line.startsWith('{"event"') && line.trim() !== '') problems.push(line.slice(0, 200)); },
  });
  const scene = { logto, url: url(ports.proxy), problems, sandbox: await start(), isUp: true, isOpen: true, restarted: 0 };
  scene.rows = async (database, sql, ...values) => (await scene.sandbox.databases[database].prepare(sql).bind(...values).all()).results;
  scene.authority = async () => (await scene.rows('proxy', "SELECT *, CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now FROM authority"))[0];
  scene.dwp = (line) => dwp(scene.url, line.split(' '), { allowed: [0, 1, 2] });
  scene.post = async (route) => {
    const answer = await fetch(`${scene.url}/_proxy/${route}`, { method: 'POST', headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    return answer.json();
  };
  /** Killed, and started again; who writes waits until then. Which moment it was. */
  scene.kill = async () => {
    // At once, so that nobody begins to judge; whoever does first is not disturbed.
    scene.isUp = false;
    // As it stood then; a move that was under way may still have been carried out.
    const before = await scene.authority().catch(() => undefined);
    for (const pid of workerdPids()) process.kill(pid, 'SIGKILL');
    await scene.sandbox.close().catch(() => {});
    await pause(200);
    scene.sandbox = await start();
    await until('no request of before', () => scene.underWay === 0, { withinMs: 20_000 });
    const after = await scene.authority();
    for (const sql of LATE.split(';')) await scene.sandbox.databases.proxy.prepare(sql).run();
    scene.isUp = true;
    return momentOf(before ?? after);
  };
  const cron = (async () => {
    while (scene.isOpen) {
      if (scene.isUp) await scene.sandbox.tick().catch(() => {});
      await pause(700);
    }
  })();
  scene.close = async () => {
    scene.isOpen = false;
    await cron;
    await scene.sandbox.close().catch(() => {});
    await logto.close();
    store.remove();
  };
  return scene;
}

/** Which moment a row of the authority is of. */
function momentOf({ holder, announced_until: announced, since, now }) {
  const isJust = now - since < JUST_MS;
  if (holder === 'logto' && announced !== null) return 'announced';
  if (holder === 'logto') return isJust ? 'come back' : 'logto';
  if (holder === 'mgpass') return isJust ? 'handed over' : 'mgpass';
  return holder;
}

async function startWriters(scene) {
  const token = await managementToken(`${scene.url}/oidc`);
  const ask = management(scene.url, token);
  const live = { acknowledged: 0, registered: new Map(), nUnanswered: 0, refused: new Map(), names: new Map(), data: new Map(), created: new Set(), deleted: new Set(), rests: false };
  scene.underWay = 0;
  let version = 0;
  const own = [...scene.logto.users.values()].map(({ id }) => id);
  const isGood = (status) => status >= 200 && status < 300;

  async function call(method, path, body, keep) {
    scene.underWay += 1;
    try {
      const answer = await ask(method, path, body);
      if (!isGood(answer.status)) {
        const code = /"code":"([^"]*)"/.exec(answer.text)?.[1] ?? answer.text.slice(0, 80);
        live.refused.set(`${answer.status} ${code}`, (live.refused.get(`${answer.status} ${code}`) ?? 0) + 1);
        return;
      }
      live.acknowledged += 1;
      keep(answer);
    } catch {
      live.nUnanswered += 1;
    } finally {
      scene.underWay -= 1;
    }
  }

  // Each user is one writer's, one write at a time, so that versions only rise.
  async function write(mine) {
    version += 1;
    const n = version;
    const at = Math.floor(Math.random() * mine.length);
    const id = mine[at];
    const what = Math.random();
    if (what < 0.15) {
      await call('POST', '/users', { username: `made_${n}`, name: `v${n}` }, (answer) => {
        const made = answer.json().id;
        live.created.add(made);
        live.names.set(made, n);
        mine.push(made);
      });
    } else if (what < 0.2 && mine.length > 5) {
      mine.splice(at, 1);
      await call('DELETE', `/users/${id}`, undefined, () => live.deleted.add(id));
      // Unanswered, nobody knows; nothing is demanded of such a user.
      for (const kept of [live.names, live.data, live.created]) kept.delete(id);
    } else if (what < 0.5) {
      await call('PATCH', `/users/${id}/custom-data`, { customData: { version: n } }, () => live.data.set(id, n));
    } else {
      await call('PATCH', `/users/${id}`, { name: `v${n}` }, () => live.names.set(id, n));
    }
  }

  async function register() {
    const username = `reg_${(version += 1)}`;
    scene.underWay += 1;
    try {
      await signIn({
        origin: scene.url, issuer: `${scene.url}/oidc`, username, password: 'Vorpal-Blade-42', register: true,
        seen: (name, status) => {
          if (name !== 'POST /api/experience/identification' || !isGood(status)) return;
          live.acknowledged += 1;
          live.registered.set(username, [...scene.logto.users.values()].find((user) => user.username === username)?.id);
        },
      });
    } catch {
      // Refused while mgPass is the authority, or unanswered.
    } finally {
      scene.underWay -= 1;
    }
  }

  const goesOn = () => scene.isUp && !live.rests;
  const loop = async (step, everyMs) => {
    while (scene.isOpen) {
      if (goesOn()) await step();
      await pause(goesOn() ? everyMs() : 50);
    }
  };
  live.loops = Array.from({ length: N_WRITERS }, (_, index) => {
    const mine = own.filter((_id, at) => at % N_WRITERS === index);
    return loop(() => write(mine), () => 20 + Math.random() * 60);
  });
  live.loops.push(loop(register, () => 400 + Math.random() * 800));
  /** Nobody writes, and nobody waits for an answer. */
  live.rest = async () => {
    live.rests = true;
    await until('writers at rest', () => scene.underWay === 0, { withinMs: 30_000 });
  };
  live.goOn = () => { live.rests = false; };
  return live;
}

const versionOf = (name) => Number(/^v(\d+)$/.exec(name ?? '')?.[1] ?? 0);

/** What was acknowledged and this side does not have. */
async function lost(scene, live, side, aside = new Set()) {
  const users = side === 'logto'
    ? [...scene.logto.users.values()].map(({ id, name, customData }) => [id, { name, data: customData }])
    : (await scene.rows('mgpass', 'SELECT id, name, metadata FROM users WHERE deleted_at IS NULL')).map(({ id, name, metadata }) => [id, { name, data: JSON.parse(metadata) }]);
  const has = new Map(users);
  const missing = [];
  for (const [id, version] of live.names) if (versionOf(has.get(id)?.name) < version) missing.push([id, `name v${version}, there ${has.get(id)?.name}`]);
  for (const [id, version] of live.data) if (!((has.get(id)?.data?.version ?? 0) >= version)) missing.push([id, `custom data ${version}, there ${JSON.stringify(has.get(id)?.data)}`]);
  for (const id of live.created) if (!has.has(id)) missing.push([id, 'created']);
  for (const id of live.deleted) if (has.has(id)) missing.push([id, 'deleted']);
  for (const [username, id] of live.registered) if (!has.has(id)) missing.push([id, `registered as ${username}`]);
  return missing.filter(([id]) => !aside.has(id)).map(([id, what]) => `${id}: ${what}`);
}

const HANGS = `SELECT count(*) AS n FROM intents i WHERE discharged_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM held_subjects h WHERE h.subject = i.subject)
  AND NOT EXISTS (SELECT 1 FROM subjects s WHERE s.subject = i.subject AND s.parked IS NOT NULL)`;

/** A person's part: a deletion that was never answered has no second witness, and waits for one. */
async function care(scene) {
  for (const { subject, parked } of await scene.rows('proxy', 'SELECT subject, parked FROM subjects WHERE parked IS NOT NULL')) {
    const isGone = !scene.logto.users.get(subject);
    await scene.post(parked === 'deletion_unconfirmed' && isGone ? `mirror/confirm-deletion?user=${subject}` : `mirror/replay?user=${subject}`);
  }
}

/** Until the other side is the authority. What a kill swallowed is said again. */
async function moveTo(scene, side) {
  const began = Date.now();
  let saidAt = 0;
  for (;;) {
    try {
      const row = await scene.authority();
      if (row.holder === side && row.wish === null) return Date.now() - began;
      const isAway = (side === 'mgpass') === (row.holder === 'logto');
      const wanted = side === 'mgpass' ? 'cutover' : 'dual_write';
      if (scene.isUp && isAway && row.wish !== wanted && Date.now() - saidAt > 1_000) {
        saidAt = Date.now();
        await care(scene);
        if (side === 'mgpass') await allowed(scene);
        await scene.dwp(`stage ${wanted}`);
      }
      if (scene.isUp) {
        const { waits } = await scene.post('handover/advance');
        // Whoever was parked meanwhile is waived by name, or draining would wait for a person.
        if (waits === 'gates' || waits === 'pending') {
          await care(scene);
          if (side === 'mgpass') await scene.dwp('handover waive parked --all --reason drill --actor drill');
        }
      }
    } catch {
      // The Worker was killed meanwhile.
    }
    if (Date.now() - began > STUCK_MS) return undefined;
    await pause(120);
  }
}

async function allowed(scene) {
  await scene.dwp('handover arm --for 4h');
  for (const gate of ['checklist', 'certificate', 'equality', 'reads', 'unique', 'applications']) {
    await scene.dwp(`handover waive ${gate} --reason drill --actor drill`);
  }
  await scene.dwp('handover waive parked --all --reason drill --actor drill');
}

/** Kills at the moments in turn, wherever the operator is by then. */
async function kills(scene, counts, nKills) {
  const nOf = () => Object.values(counts).reduce((sum, n) => sum + n, 0);
  while (scene.isOpen && nOf() < nKills) {
    // The one that was met least so far.
    const [moment, spreadMs] = MOMENTS.toSorted(([left], [right]) => (counts[left] ?? 0) - (counts[right] ?? 0))[0];
    const isThere = async () => {
      try {
        return momentOf(await scene.authority()) === moment;
      } catch {
        return false;
      }
    };
    await until(moment, isThere, { withinMs: 60_000, everyMs: 15 }).catch(() => {});
    await pause(Math.random() * spreadMs);
    if (scene.isJudged) {
      await until('judged', () => !scene.isJudged, { withinMs: 180_000 });
      continue;
    }
    const met = await scene.kill();
    counts[met] = (counts[met] ?? 0) + 1;
    if (nOf() % 10 === 0) say(`${nOf()} kills: ${JSON.stringify(counts)}`);
  }
}

async function course(scene, nKills) {
  await controlOf(scene.logto).call('POST', '/users/bulk', { count: N_USERS });
  await scene.sandbox.flag('stage', 'dual_write');
  await scene.sandbox.flag('read_percent', '100');
  const equal = async () => {
    const found = await compareStores(scene.sandbox);
    return [...found.missing, ...found.extra, ...found.differing];
  };
  // The walk finds them.
  await until('everybody mirrored', async () => (await equal()).length === 0, { withinMs: 120_000, everyMs: 500 });
  const live = await startWriters(scene);
  const counts = {};
  const tally = { lost: 0, unequal: 0, stuck: 0, held: 0, there: 0, back: 0, returned: 0 };
  const killing = kills(scene, counts, nKills);
  let isOver = false;
  killing.then(() => { isOver = true; });
  const judged = async (side) => {
    scene.isJudged = true;
    await until('up', () => scene.isUp, { withinMs: 60_000 });
    await live.rest();
    const held = new Set((await scene.rows('proxy', 'SELECT subject FROM held_subjects')).map(({ subject }) => subject));
    const missing = await lost(scene, live, side, side === 'logto' ? held : new Set());
    tally.lost += missing.length;
    if (missing.length > 0) say(`LOST at ${side}: ${missing.slice(0, 5).join('; ')}`);
    return held;
  };
  const settled = async (what) => {
    await until(what, async () => {
      await care(scene).catch(() => {});
      return (await scene.rows('proxy', HANGS))[0].n === 0 && (await scene.rows('proxy', 'SELECT 1 FROM subjects WHERE parked IS NOT NULL')).length === 0;
    }, { withinMs: 90_000, everyMs: 500 }).catch(async (error) => {
      tally.stuck += 1;
      say(`STUCK: ${error.message}: ${JSON.stringify(await scene.rows('proxy', 'SELECT * FROM intents WHERE discharged_at IS NULL LIMIT 3'))} ${JSON.stringify(await scene.rows('proxy', 'SELECT subject, parked FROM subjects WHERE parked IS NOT NULL LIMIT 3'))}`);
    });
  };
  do {
    await pause(500);
    if (await moveTo(scene, 'mgpass') === undefined) {
      tally.stuck += 1;
      say(`STUCK on the way there: ${JSON.stringify(await scene.authority().catch(() => null))} ${(await scene.dwp('handover gates')).stdout}`);
      break;
    }
    tally.there += 1;
    // Kills of the first moment after the move come before anybody judges.
    await pause(700);
    await judged('mgpass');
    live.goOn();
    scene.isJudged = false;
    await pause(1_500 + Math.random() * 1_500);
    // As an operator looks before the way back: what is owed is carried, or held by it.
    await until('no debt', async () => scene.isUp && (await scene.rows('proxy', "SELECT 1 FROM debt UNION ALL SELECT 1 FROM strays WHERE state = 'open'").catch(() => [1])).length === 0, { withinMs: 15_000, everyMs: 300 }).catch(() => {});
    if (await moveTo(scene, 'logto') === undefined) {
      tally.stuck += 1;
      say(`STUCK on the way back: ${JSON.stringify(await scene.authority().catch(() => null))} ${(await scene.dwp('debt')).stdout}`);
      break;
    }
    tally.back += 1;
    await pause(700);
    const held = await judged('logto');
    tally.held += held.size;
    if (held.size > 0) say(`held: ${JSON.stringify(await scene.rows('proxy', 'SELECT * FROM held_subjects LIMIT 5'))}`);
    // A person decides for Logto; what only mgPass had of them is not demanded any more.
    for (const id of held) {
      for (const kept of [live.names, live.data, live.created, live.deleted]) kept.delete(id);
      await scene.post(`holds/release?user=${id}`);
    }
    await settled('nothing left after the way back');
    const ids = await until('equal', async () => (await equal()).length === 0, { withinMs: 60_000, everyMs: 500 }).then(() => [], equal);
    tally.unequal += ids.length;
    if (ids.length > 0) {
      const explained = await fetch(`${scene.url}/_proxy/explain?user=${ids[0]}`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
      say(`UNEQUAL after the way back: ${ids.slice(0, 5)} ${(await explained.text()).slice(0, 1_500)}`);
    }
    live.goOn();
    scene.isJudged = false;
  } while (!isOver);
  scene.isOpen = false;
  await Promise.allSettled([...live.loops, killing]);

  const moves = await scene.rows('proxy', 'SELECT to_holder, cause, count(*) AS n FROM authority_log GROUP BY 1, 2 ORDER BY 1, 2');
  const { holder, deadline, wish } = await scene.authority();
  const nKilled = Object.values(counts).reduce((sum, n) => sum + n, 0);
  console.log(`kills ${nKilled}: ${MOMENTS.map(([moment]) => `${moment} ${counts[moment] ?? 0}`).join('  ')}  besides ${nKilled - MOMENTS.reduce((sum, [moment]) => sum + (counts[moment] ?? 0), 0)}`);
  console.log(`hand-overs ${tally.there}  ways back ${tally.back}  moves: ${moves.map(({ to_holder: to, cause, n }) => `${to} ${cause} ${n}`).join(', ')}`);
  console.log(`writes acknowledged ${live.acknowledged}  registrations of them ${live.registered.size}  unanswered ${live.nUnanswered}  users ${[...scene.logto.users.values()].length}`);
  console.log(`refused: ${[...live.refused].map(([what, n]) => `${what} ${n}`).join(', ')}`);
  console.log(`lost ${tally.lost}  unequal after a way back ${tally.unequal}  stuck ${tally.stuck}  held by a way back ${tally.held}  now ${holder}, deadline ${deadline}, wish ${wish}`);
  if (scene.problems.length > 0) console.log(`lines of the Worker that are no events: ${scene.problems.length}: ${scene.problems.slice(0, 3).join(' | ')}`);
  const isEach = MOMENTS.every(([moment]) => (counts[moment] ?? 0) > 0);
  return nKilled >= nKills && isEach && tally.there > 0 && tally.there === tally.back && live.acknowledged > 0 && live.registered.size > 0
    && tally.lost === 0 && tally.unequal === 0 && tally.stuck === 0 && holder === 'logto' && deadline === null;
}
