// Random writes on users, made of the Logto stand-in over HTTP and, with the same state, of `translate_write`: answers
// are compared byte for byte, and so is what became of the user. Nothing is masked: the judge is given the ids and times
// that the stand-in chose.
//
//   npm run differential:writes -- [number of requests] [seed]

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { verifyPassword } from '../harness/backends/logto/passwords.mjs';
import { createRandom } from './random.mjs';
import { createRequests } from './requests.mjs';
import { startWorld, tenants } from './world.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PEOPLE = 14;
const compared = ['content-type', 'etag', 'vary', 'access-control-allow-origin', 'access-control-expose-headers', 'location'];
const scopes = ['profile', 'email', 'phone', 'address', 'custom_data', 'identities', 'urn:logto:scope:sessions'];

/** Where the proxy may refuse, and Logto would not have answered in a way that can be known. */
const allowed = {
  'proxy.form_not_translatable': ({ contentType }) => contentType?.startsWith('application/x-www-form-urlencoded'),
  'proxy.encoding_not_translatable': ({ contentEncoding }) => contentEncoding !== undefined && contentEncoding !== 'identity',
  'proxy.lone_surrogate_not_translatable': ({ bytes }) => /\\ud[89a-f]/i.test(bytes.toString()),
  'proxy.depth_not_translatable': ({ bytes }) => bytes.toString().includes('['.repeat(90)),
  'proxy.password_digest_not_translatable': (_, answer) => answer.status === 200 || answer.text.includes('legacy'),
  'proxy.identity_target_not_translatable': ({ path: where }) => /'|%22|%5C|__proto__/.test(where),
  'proxy.needs_connector': ({ name }) => name === 'connector',
  'proxy.needs_verification_record': (_, answer) => answer.text.includes('verification_record.not_found'),
  'proxy.verification_unknown': ({ proof }) => proof === 'unasked',
  'proxy.scope_unknown': ({ name, bytes }) => name === 'accountProfile' && /(a|\\u0061)ddress/.test(bytes),
  // Logto stores it, and fails to answer from then on.
  'proxy.value_not_showable': (_, answer) => answer.status === 500,
};

/** Outcomes that a long run must have met, or the generator has gone blind. */
const required = [
  'create apply 200', 'patch apply 200', 'customData apply 200', 'profile apply 200', 'password apply 200', 'suspension apply 200',
  'delete apply 204', 'identity apply 201', 'identity apply 200', 'dropIdentity apply 200', 'verify answer 204', 'verify answer 422 session.invalid_credentials',
  'accountPatch apply 200', 'accountProfile apply 200', 'accountPassword apply 204', 'accountDropEmail apply 204', 'accountDropPhone apply 204', 'accountDropIdentity apply 204',
  'create answer 400 guard.invalid_input', 'create answer 400', 'patch answer 404', 'create answer 422 user.username_already_in_use',
  'create answer 422 user.email_already_in_use', 'create answer 422 user.phone_already_in_use', 'create answer 422 user.invalid_phone',
  'create answer 422 entity.value_too_long', 'create answer 400 user.password_algorithm_required', 'create answer 500',
  'patch answer 400 guard.invalid_input', 'patch answer 400', 'patch answer 404 entity.not_found', 'patch answer 422 entity.invalid_input',
  'patch answer 422 user.email_already_in_use', 'patch answer 422 user.phone_already_in_use', 'patch answer 422 user.username_already_in_use',
  'patch answer 422 entity.value_too_long', 'delete answer 400 user.cannot_delete_self', 'delete answer 404 entity.not_found',
  'identity answer 422 user.identity_already_in_use', 'dropIdentity answer 404 user.identity_not_exist',
  'accountPatch answer 400 account_center.field_not_editable', 'accountPatch answer 400 auth.unauthorized', 'accountPatch answer 401 verification_record.permission_denied',
  'accountPassword answer 422 password.rejected', 'accountPassword answer 422 user.same_password', 'accountLink answer 401 auth.unauthorized',
];

export function buildJudge() {
  const { status, stderr } = spawnSync('cargo', ['build', '--quiet', '--example', 'judge_writes'], { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`the judge does not build\n${stderr}`);
}

/** Answers the cases that it is given, one at a time. */
async function startJudge(defect, settings) {
  const child = spawn(path.join(root, 'target/debug/examples/judge_writes'), defect ? [defect] : [], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const write = (value) => child.stdin.write(`${JSON.stringify(value)}\n`);
  write(settings.map((pair) => pair.map((text) => JSON.parse(text))));
  return {
    async ask(recorded) {
      write(recorded);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the judge died of ${JSON.stringify(recorded).slice(0, 2_000)}`);
      return JSON.parse(value);
    },
    async close() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

/** Returns {n, wrong: [text], outcomes: Map(outcome -> count), missed: [outcome]}. */
export async function differential({ n, seed, defect, stopAfter = 20 }) {
  const random = createRandom(seed);
  const worlds = [];
  for (const tenant of tenants) worlds.push(await startWorld(tenant));
  const judge = await startJudge(defect, worlds.map(({ settings }) => settings));
  const next = createRequests(random);
  const outcomes = new Map();
  const wrong = [];
  const errors = [];
  // What the stand-in itself fails at is no answer of Logto's.
  const report = console.error;
  console.error = (...parts) => errors.push(parts.map(String).join(' '));
  try {
    for (let i = 0; i < n && wrong.length < stopAfter; i += 1) {
      const at = random.below(worlds.length);
      const world = worlds[at];
      await populate(world, random);
      const request = next({ users: [...world.logto.users.values()], self: world.self });
      const { outcome, problems } = await compare(world, judge, request, at, random);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      for (const problem of problems) wrong.push(`request ${i}: ${describe(request)}\n    ${problem}`);
    }
  } finally {
    console.error = report;
    await judge.close();
    await Promise.all(worlds.map((world) => world.close()));
  }
  wrong.push(...errors.map((error) => `the stand-in: ${error}`));
  return { n, wrong, outcomes, missed: required.filter((outcome) => !outcomes.has(outcome)) };
}

/** Few enough that their values collide. */
async function populate({ logto }, { pick, chance }) {
  while (logto.users.size < PEOPLE) {
    logto.users.create({
      ...(chance(30) && { profile: { nickname: 'N', address: { country: 'GH' } } }),
      ...(chance(20) && { ssoIdentities: [{ id: 'sso', issuer: 'https://idp.example', identityId: 'x', detail: {} }] }),
      ...(chance(30) && { customData: { plan: pick(['pro', 'free']), a: 1 } }),
      ...(chance(20) && { lastSignInAt: 1_790_000_000_123 }),
      // As rows from before numbers were normalised have it.
      ...(chance(10) && !logto.users.findByIdentifier({ type: 'phone', value: '610412345678' }) && { primaryPhone: '610412345678' }),
      createdAt: Date.now() - 1_000,
    });
  }
  if (logto.users.size > 2 * PEOPLE) logto.users.delete(pick([...logto.users.values()]).id);
}

async function compare(world, judge, request, tenant, random) {
  const { logto } = world;
  const isAccount = request.family === 'account';
  const id = isAccount ? request.account : request.name === 'create' ? undefined : request.id;
  const headers = { ...(request.contentType && { 'content-type': request.contentType }), ...(request.contentEncoding && { 'content-encoding': request.contentEncoding }) };
  let shown;
  let proof;
  if (isAccount) {
    const scope = ['openid', ...scopes.filter(() => random.chance(75))].join(' ');
    const record = request.proof === 'none' ? undefined
      : request.proof === 'foreign' ? await world.proofFor([...logto.users.values()].find((user) => user.id !== id).id) : await world.proofFor(id);
    Object.assign(headers, {
      authorization: `Bearer ${await world.tokenFor(id, scope)}`,
      ...(record && { 'logto-verification-id': record }), ...(request.origin && { origin: request.origin }),
    });
    shown = await world.shown(headers);
    proof = request.proof === 'unasked' ? 'unknown' : await world.proofHolds(headers) ? 'holds' : 'fails';
  } else Object.assign(headers, world.management);

  const before = id && world.view(id);
  const rowBefore = id && logto.users.get(id);
  const held = world.held(id);
  const known = new Set([...logto.users.values()].map((user) => user.id));
  const password = textIn(request.bytes, 'password');
  const avatar = textIn(request.bytes, 'avatar');
  const isRight = password !== undefined && rowBefore !== undefined && verifyPassword(password, rowBefore.password);
  const nSso = id ? world.nSso(id) : 0;
  const answer = await world.ask({ method: request.method, path: request.path, headers, bytes: request.bytes });
  const created = [...logto.users.values()].find((user) => !known.has(user.id));
  const after = created ? world.view(created.id) : id && world.view(id);
  const rowAfter = created ?? (id && logto.users.get(id));

  const verdict = await judge.ask({
    tenant, method: request.method, path: request.path, view: before ?? null, caller: world.self, shown, proof, origin: request.origin ?? null,
    content_type: request.contentType ?? null, content_encoding: request.contentEncoding ?? null, body: request.bytes?.toString('base64') ?? null,
    held, avatar: avatar?.toWellFormed() ?? null, is_address: avatar !== undefined && URL.canParse(avatar), is_leaked: password !== undefined && world.isLeaked(password), is_right: isRight, n_sso: nSso,
    reserved: created ? reservation(created) : null, now_ms: created?.createdAt ?? rowAfter?.updatedAt ?? 0,
  });

  const problems = [];
  const expect = (what, ours, theirs) => { if (ours !== theirs) problems.push(`${what}: ${clip(ours)}\n    Logto: ${clip(theirs)}`); };
  const code = /"code":"([\w.]+)","(?:data|message)/.exec(answer.text)?.[1];
  let outcome = [request.name, verdict.step, answer.status, ...(code ? [code] : [])].join(' ');
  if (verdict.step === 'refuse') {
    outcome = `${request.name} refuse ${verdict.code}`;
    if (!allowed[verdict.code]?.(request, answer)) problems.push(`refused with ${verdict.code}\n    Logto: ${answer.status} ${clip(answer.text)}`);
    // Back to where it was: from some of these states nobody could go on, and Logto's answers would not show why.
    if (created) logto.users.delete(created.id);
    else if (rowAfter && rowBefore) logto.users.update(id, rowBefore);
    return { outcome, problems };
  }
  if (verdict.step === 'no_route') {
    if (/^[!-~]{1,64}$/.test(request.id)) problems.push('no route');
    return { outcome, problems };
  }
  if (verdict.step === 'ask') {
    problems.push(`asks in vain: ${verdict.question}\n    Logto: ${answer.status} ${clip(answer.text)}`);
    return { outcome, problems };
  }
  expect('status', verdict.status, answer.status);
  expect('body', verdict.text, answer.text);
  for (const header of compared) expect(header, verdict.headers[header], answer.headers[header]);
  if (verdict.step === 'answer') {
    expect('user', before, after);
    if (created) problems.push('Logto made a user');
    return { outcome, problems };
  }
  expect('user', verdict.view ?? undefined, after);
  expect('after', verdict.after, created ? 'created' : after === undefined ? 'deleted' : 'changed');
  if (verdict.broken) problems.push(`broken: ${verdict.broken}`);
  const difference = (some, others) => {
    const keys = new Set((others ? world.uniques(others) : []).map((value) => JSON.stringify(value)));
    return JSON.stringify((some ? world.uniques(some) : []).filter((value) => !keys.has(JSON.stringify(value))).sort());
  };
  expect('claimed', JSON.stringify(verdict.claimed.sort()), difference(rowAfter, rowBefore));
  expect('released', JSON.stringify(verdict.released.sort()), difference(rowBefore, rowAfter));
  const isNewPassword = rowAfter !== undefined && rowAfter.password !== (rowBefore?.password ?? null) && rowAfter.password !== null;
  expect('password', verdict.password ?? undefined, isNewPassword ? password : undefined);
  expect('revoke_all', verdict.revoke_all, request.name === 'delete' || (request.name === 'suspension' && rowAfter.isSuspended));
  return { outcome, problems };
}

/** Logto's answer to the nonce of a create: an id, and nothing else. */
const reservation = ({ id, createdAt }) => JSON.stringify({
  id, username: null, primaryEmail: null, primaryPhone: null, name: null, avatar: null, customData: { _dwp: 'nonce' }, identities: {},
  lastSignInAt: null, createdAt, updatedAt: createdAt, profile: {}, applicationId: null, isSuspended: false, hasPassword: false,
});

function textIn(bytes, name) {
  try {
    const { [name]: text } = JSON.parse(bytes.toString().replace(/^\ufeff/, ''));
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}

const clip = (value) => { const text = String(value); return text.length > 700 ? `${text.slice(0, 700)}… (${text.length})` : text; };
const describe = ({ method, path: where, contentType, bytes }) => `${method} ${where} ${contentType ?? '-'} ${clip(bytes ?? '')}`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const n = Number(process.argv[2] ?? 10_000);
  const seed = Number(process.argv[3] ?? Date.now() % 1e9);
  buildJudge();
  const { wrong, outcomes, missed } = await differential({ n, seed, defect: process.argv[4] });
  console.log(`requests: ${n}, seed: ${seed}`);
  const sum = (step) => [...outcomes].filter(([outcome]) => outcome.split(' ')[1] === step).reduce((total, [, count]) => total + count, 0);
  console.log(`translated: ${sum('apply')}, Logto's own answer: ${sum('answer')}, refused: ${sum('refuse')}`);
  for (const [outcome, count] of [...outcomes].sort()) console.log(`  ${String(count).padStart(5)} ${outcome}`);
  for (const line of wrong) console.log(`WRONG ${line}`);
  if (n >= 10_000) for (const outcome of missed) console.log(`MISSED ${outcome}`);
  const passed = wrong.length === 0 && (n < 10_000 || missed.length === 0);
  console.log(passed ? 'differential of writes: passed' : 'differential of writes: FAILED');
  process.exitCode = passed ? 0 : 1;
}
