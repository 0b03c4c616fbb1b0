// What an operator has at hand: the sandbox, a terminal with `dwp` and `wrangler`, and
// what they look for in what it prints. Cron runs every second, and the guard's five
// minutes are ten seconds.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { management, managementToken, pause } from '../../harness/sandbox/client.mjs';
import { seedRewards } from '../../harness/sandbox/rewards.mjs';
import { controlOf, PROBE_VARS, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { scratch } from '../../harness/sandbox/scratch.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export const { directory: persistTo } = scratch('operator');

/** What the checklist needs beside: an account of the operator's, secrets of both webhooks. */
export const EVIDENCE = {
  ...PROBE_VARS, PROBE_USER: 'dwpprobe0001', PROBE_EMAIL: 'dwp.probe@example.test', PROBE_PASSWORD: 'a probe signs in & out',
  LOGTO_WEBHOOK_SECRET: 'a-key-of-logtos-webhook', MGPASS_WEBHOOK_SECRET: 'a-key-of-mgpass-webhook',
};

const began = Date.now();
export const say = (line) => console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(4)} s  ${line}`);

export async function openDesk({ main }) {
  const events = [];
  const sandbox = await startSandbox({
    persistTo,
    main: main && path.join(root, main),
    tickMs: 1_000,
    // What is slow here is this machine, not mgPass.
    vars: {
      GUARD_WINDOW_S: '10', GUARD_MIN_READS: '5', GUARD_MIN_COMPARED: '5', GUARD_MAX_P95_MS: '30000', GUARD_MAX_P95_PERCENT: '10000',
      METRICS_FLUSH_MS: '300', MGPASS_DEADLINE_MS: '4000', COMPARISONS_PER_SECOND: '1000',
      ELIGIBILITY_DEADLINE_MS: '5000',
      // Some people of the sandbox have a username alone.
      CHECK_MAX_WITHOUT_ROAD: '60', ...EVIDENCE,
    },
    onLog: (line) => line.startsWith('{"event"') && events.push(JSON.parse(line)),
  });
  await seedRewards(sandbox.databases.rewards);
  const token = await managementToken(`${sandbox.proxy.url}/oidc`);
  const desk = {
    sandbox,
    events,
    logto: controlOf(sandbox.logto),
    mgpass: controlOf(sandbox.mgpass),
    // An application of Logto's, through the proxy.
    ask: management(sandbox.proxy.url, token),
    nCommands: 0,
    status: () => status(desk),
    dwp: (args, ...exit) => dwp(desk, args, exit.length === 0 ? 0 : exit[0]),
    wrangler: (args) => wrangler(desk, args),
    until: (what, ask, withinMs = 60_000) => until(what, ask, withinMs),
  };
  return desk;
}

export async function closeDesk(desk) {
  await desk.sandbox.close();
}

const shell = () => ({ ...process.env, WRANGLER_LOG: undefined, PATH: process.env.PATH });

/** A command of dwp's with its expected exit status: {stdout, stderr, json()}. */
async function dwp(desk, args, exit) {
  desk.nCommands += 1;
  const child = spawn(path.join(root, 'target/debug/dwp'), args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...shell(), DWP_URL: desk.sandbox.proxy.url, ADMIN_TOKEN: SECRETS.ADMIN_TOKEN, DWP_PERSIST_TO: persistTo, DWP_ACTOR: 'ama' },
  });
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout), text(child.stderr), new Promise((resolve, reject) => child.on('error', reject).on('close', resolve)),
  ]);
  const line = `dwp ${args.join(' ')}`;
  if (exit !== undefined) assert.equal(status, exit, `${line}: exit ${status}\n${stderr}\n${stdout.slice(0, 4_000)}`);
  if (!desk.isQuiet) say(`$ ${line}  [${status}]`);
  return { stdout, stderr, json: () => JSON.parse(stdout) };
}

/** `wrangler kv ...` and `wrangler d1 execute ...` on the sandbox's data. */
async function wrangler(desk, args) {
  desk.nCommands += 1;
  const all = [...args, '--local', '--persist-to', persistTo];
  const { stdout } = await promisify(execFile)('npx', ['--no', 'wrangler', ...all], { cwd: root, env: shell() });
  say(`$ wrangler ${args.join(' ')}`);
  return stdout;
}

/** Asks, quietly, until the answer is truthy. */
async function until(what, ask, withinMs) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${typeof what === 'function' ? what() : what}`);
    await pause(300);
  }
}

/** What the operator reads, looked for; the first that is found is shown. */
export function read({ stdout, stderr }, ...patterns) {
  for (const pattern of patterns) {
    const found = pattern.exec(`${stdout}\n${stderr}`);
    assert.ok(found, `${pattern} not in\n${stdout}\n${stderr}`);
    say(`  ${found[0].replaceAll('\n', ' ').slice(0, 150)}`);
  }
}

/** The status as a document, without a line about it. */
export async function status(desk) {
  const answer = await fetch(`${desk.sandbox.proxy.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  return answer.json();
}

export const codes = ({ problems }) => problems.map(({ code }) => code);
