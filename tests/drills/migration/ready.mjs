// Stage dual_write: reads move by a plan, the evidence is gathered, sign-ins move by share.

import { startWebhooks } from '../../harness/backends/mgpass/webhooks.mjs';
import { gates } from '../cutover/gates.mjs';
import { SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { equal } from './before.mjs';
import { forgetReplaced, isReady, markReady, move, refreshAll } from './people.mjs';
import { mendTaken } from './population.mjs';
import { DENSE_READ_MS, MINUTE, pause, READ_MS, say, until } from './scene.mjs';

/** Two minutes, to a guard that wants ten reads of the last five. */
const STEP = { stepMs: 2 * MINUTE, restMs: 200 };

const plan = async (scene) => (await scene.status()).ramp;
async function at(scene, percent) {
  await scene.passUntil(`${percent} % in force`, async () => {
    const now = await plan(scene);
    if (now.state !== 'running' && now.in_force_bps !== percent * 100) throw new Error(`the plan is ${now.state}: ${now.why}`);
    return now.in_force_bps === percent * 100;
  }, STEP);
  scene.mark(`reads ${percent} %`);
}

export async function ramp(scene) {
  const { traffic } = scene;
  const nReads = traffic.reads.length;
  traffic.readEveryMs = DENSE_READ_MS;
  await scene.put('compare_percent', '50', (status) => status.compare_bps === 5_000);
  await scene.dwp('ramp start --steps 30,100 --hold 1m --min-reads 10 --reason the-day');
  await at(scene, 30);
  await at(scene, 100);
  await scene.mgpass.faults([{ match: { path: '^/api/users' }, status: 503, body: { error: 'unavailable' } }]);
  await scene.passUntil('the plan is aborted', async () => (await plan(scene)).state === 'aborted', { stepMs: 20_000, restMs: 150 });
  scene.mark('mgPass down, plan aborted');
  await scene.mgpass.faults([]);
  const { why } = await plan(scene);
  await scene.put('guard', null, (status) => status.guard === null);
  await scene.dwp('ramp resume --reason mgPass-is-back');
  await at(scene, 100);
  await scene.passUntil('the plan is done', async () => (await plan(scene)).state === 'done', STEP);
  traffic.readEveryMs = READ_MS;
  const reads = traffic.reads.slice(nReads);
  const bad = reads.filter(({ status }) => status !== 200).length;
  scene.fault('ramp', 'mgPass down', `plan aborted (${why}), then resumed; ${bad} of ${reads.length} reads failed`);
  scene.expect('ramp: reads that failed for a client', `${bad} of ${reads.length}`, '0', bad === 0 && reads.length > 0 && why === 'error_rate');
  await refreshAll(scene, 'ramp');
}

/** Whatever a hand-over needs to see, in its term. */
export async function gather(scene, name) {
  // Who was written while recording had a gap is looked at anew.
  if ((await gates(scene)).get('epoch').state === 'shut') await scene.dwp('import users --no-inspect --watch', { allowed: [0, 1] });
  const report = await equal(scene);
  const checks = await checklist(scene);
  const red = checks.filter(({ state }) => state !== 'green').map(({ name: check }) => check);
  const file = scene.file(`${name}.json`);
  await scene.dwp(['certificate', 'make', file]);
  const verified = await scene.dwp(['certificate', 'verify', file]);
  scene.certificate = file;
  const said = verified.stdout.trim().split('\n')[0].slice(0, 60);
  scene.expect(`${name}: checklist, equality, certificate`, `${checks.length - red.length} green${red.length > 0 ? `, not ${red}` : ''}; ${report.unexplained} unexplained; ${said}`, 'all green, 0, valid', red.length === 0 && report.unexplained === 0 && said.startsWith('valid'));
}

/** All six made now, until each is green. */
export async function checklist(scene) {
  // Counts of both sides are compared: nobody comes or goes meanwhile.
  Object.assign(scene.traffic, { creates: false, registers: false });
  const shown = await run(scene).finally(() => Object.assign(scene.traffic, { creates: true, registers: true }));
  for (const { name, state, why } of shown.checks) if (state !== 'green') say(`     ${name}: ${state}: ${why}`);
  scene.checklist = shown.checks;
  return shown.checks;
}

async function run(scene) {
  await scene.dwp('webhooks test', { allowed: [0, 1] });
  let shown;
  for (let n = 0; n < 4; n += 1) {
    await scene.dwp('checklist --run', { allowed: [0, 1] });
    shown = (await scene.dwp('checklist --json', { allowed: [0, 1] })).json();
    if (shown.not_green.length === 0) break;
    // A write of a moment ago may still be on its way.
    await scene.pass(MINUTE);
  }
  return shown;
}

export async function evidence(scene) {
  // Whose the address is was decided; whoever waits for a person would keep the fallback shut.
  await mendTaken(scene, 2);
  await scene.passUntil('nobody is parked', async () => (await scene.proxyRow('SELECT count(*) AS n FROM subjects WHERE parked IS NOT NULL')).n === 0, { stepMs: 5_000 });
  scene.sandbox.logto.webhooks.add({ url: `${scene.url}/_proxy/hooks/logto`, signingKey: scene.probe.LOGTO_WEBHOOK_SECRET });
  const database = { prepare: (sql) => scene.sandbox.databases.mgpass.prepare(sql) };
  scene.hooks = startWebhooks({ database, url: `${scene.url}/_proxy/hooks/mgpass`, secret: scene.probe.MGPASS_WEBHOOK_SECRET });
  // A place of KV that still has what was there before the ramp.
  await scene.stores([{ store: 'FLAGS', stale: { read_percent: null, stage: 'shadow' } }]);
  await scene.pass(6_000);
  const late = await until('a late place', async () => (await scene.status()).stage === 'shadow', { everyMs: 100 });
  const nReads = scene.traffic.reads.length;
  await pause(500);
  await scene.stores();
  await scene.pass(6_000);
  const reads = scene.traffic.reads.slice(nReads);
  const bad = reads.filter(({ status }) => status !== 200).length;
  scene.fault('evidence', 'KV late', `a place that still says shadow and 0 %: ${reads.length - bad} of ${reads.length} reads right`);
  scene.expect('evidence, KV late: reads that failed', `${bad} of ${reads.length}`, '0', bad === 0 && late.answer);
  await until('the place has heard', async () => (await scene.status()).stage === 'dual_write', { everyMs: 100 });
  // A stage that is taken back so soon is heard two minutes later: an operator's next wish comes after it.
  await scene.pass(3 * MINUTE);
  await gather(scene, 'certificate of the first term');
  await refreshAll(scene, 'evidence');
}

const admin = async (scene, route) => (await fetch(`${scene.url}/_proxy/${route}`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } })).json();

export async function signIn(scene) {
  const { people: rows } = await admin(scene, 'applications/forecast');
  // By the application through which Logto first met them: the probe came through none.
  const { client_id: newsroom } = scene.apps[0].listed.logto;
  const of = (...roads) => rows.filter((row) => row.live && row.client_id === newsroom && roads.includes(row.readiness)).reduce((sum, { n }) => sum + n, 0);
  const ready = scene.people.filter(isReady);
  // Who registered meanwhile has a name alone, and no road.
  scene.forecast = { byThemselves: of('carried', 'prompted', 'reset', 'password', 'social'), helped: scene.people.length - ready.length };
  say(`     forecast: ${JSON.stringify(rows.filter((row) => row.live))}`);
  await scene.put('mgpass_pages', 'closed', () => true);
  await scene.put('sign_in_percent', '50', () => true);
  await scene.logto.faults([{ match: { path: '^/(oidc/token|api/experience)' }, latency_ms: 20 }]);
  const marked = await markReady(scene);
  await scene.logto.faults([]);
  scene.fault('sign-in', 'Logto slow', `each step 20 ms late; ${marked} of ${ready.length} browsers marked as ready`);
  scene.expect('sign-in: browsers marked as ready', marked, `${ready.length}`, marked === ready.length);
  await scene.put('sign_in_percent', '100', () => true);
  scene.mark('sign-in share 100 %');
  const came = await move(scene, ready);
  const asked = ready.map((person) => scene.asked.get(person) ?? 0);
  scene.expect('sign-in: asked anew at mgPass, against the forecast', `${asked.filter((n) => n > 0).length} people, ${asked.every((n) => n === 1) ? 'once each' : asked}; ${came.logto} sign-ins led to Logto`, `${scene.forecast.byThemselves}, once each, 0`, asked.every((n) => n === 1) && asked.length === scene.forecast.byThemselves && came.logto === 0);
  // What their browsers held at Logto before is in nobody's hands any more.
  say(`     ${forgetReplaced(scene)} sessions at Logto replaced by one at mgPass`);
  await refreshAll(scene, 'sign-in');
}
