// `npm run dev`: the sandbox, that is the proxy on workerd before both stand-in backends,
// on fixed ports. A saved change of Rust is live a few seconds later; users, keys, flags
// and tokens outlive a restart. State lies where wrangler keeps it, so that
// `wrangler kv key put --local` and `wrangler d1 execute --local` work on it.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { people, seedRewards } from '../tests/harness/sandbox/rewards.mjs';
import { PORTS, SECRETS, startSandbox } from '../tests/harness/sandbox/sandbox.mjs';
import { createLog } from './dev_log.mjs';
import { findTakenPort, recordSchema, watchFiles } from './dev_support.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const STATE = at('.wrangler/state');
const HELP = `npm run dev [-- options]

  --fresh   starts over: removes .wrangler/state, which holds databases, flags, users and keys
  --json    the log as the Worker writes it, one JSON object a line, alone on stdout; so does LOG=json
  --help    this text
`;

// wrangler's own remarks are no lines of the log.
process.env.WRANGLER_LOG ??= 'error';

const options = readOptions();
const isJson = options.json || process.env.LOG === 'json';
// In JSON the log has stdout to itself.
const say = (text) => (isJson ? process.stderr : process.stdout).write(`${text}\n`);
const fail = (text) => {
  console.error(`dev: ${text}`);
  process.exit(1);
};

let sandbox;
let building;
let isStopping = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => stop());

await start();

function readOptions() {
  try {
    const { values } = parseArgs({ options: { fresh: { type: 'boolean' }, json: { type: 'boolean' }, help: { type: 'boolean' } } });
    if (values.help) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    return values;
  } catch (error) {
    console.error(`dev: ${error.message.split('\n', 1)[0]}\n\n${HELP}`);
    return process.exit(1);
  }
}

async function start() {
  const taken = await findTakenPort(PORTS);
  if (taken) {
    fail(`port ${taken.port} (${taken.name}) is taken. Is another \`npm run dev\` running? End it with Ctrl-C. \`lsof -i :${taken.port}\` names the program that listens there.`);
  }
  if (options.fresh) {
    rmSync(STATE, { recursive: true, force: true });
    say('dev: starting over: .wrangler/state is removed');
  }
  const changed = recordSchema({ schema: at('schema'), state: STATE });
  if (changed) fail(`${changed} Start over: npm run dev -- --fresh`);

  say('dev: building the Worker (half a minute the first time)');
  if (!(await build())) fail('the build failed');
  sandbox = await startSandbox({
    persistTo: STATE,
    ports: PORTS,
    main: at('target/worker/live/index.js'),
    tickMs: 10_000,
    logto: { seed: { users: people }, file: path.join(STATE, 'logto.jsonl') },
    onLog: createLog({ isJson, stream: process.stdout }),
  }).catch((error) => fail(`${error.message}\ndev: if that comes again, start over: npm run dev -- --fresh`));
  if (isStopping) return;
  await seedRewards(sandbox.databases.rewards);
  say(banner());
  watchFiles({
    root,
    paths: ['src', 'Cargo.toml', 'Cargo.lock', 'wrangler.toml', 'schema', 'tests/harness/backends/mgpass'],
    onChange: goLive,
  });
}

/** True when it is built; cargo has said why when not. */
function build() {
  return new Promise((resolve) => {
    building = spawn(process.execPath, [at('scripts/build.mjs'), '--live'], { cwd: root, stdio: ['ignore', isJson ? 2 : 'inherit', 'inherit'] });
    building.on('error', () => resolve(false)).on('close', (code) => resolve(code === 0));
  });
}

async function goLive(files) {
  const began = Date.now();
  const what = files.length === 1 ? files[0] : `${files[0]} and ${files.length - 1} more`;
  const changed = recordSchema({ schema: at('schema'), state: STATE });
  if (changed) {
    say(`dev: ${changed} Press Ctrl-C and start over: npm run dev -- --fresh`);
    return;
  }
  const isRust = files.some((file) => file.startsWith('src') || file.startsWith('Cargo'));
  if (isRust && !(await build())) {
    if (!isStopping) say(`dev: ${what}: the build failed, the Worker of before goes on`);
    return;
  }
  try {
    if (!isStopping) await sandbox.reload();
    if (!isStopping) say(`dev: ${what}: live after ${((Date.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (!isStopping) say(`dev: ${what}: not live: ${error.message}`);
  }
}

async function stop() {
  if (isStopping) return;
  isStopping = true;
  building?.kill();
  await sandbox?.close();
  process.exit(0);
}

function banner() {
  const url = (port) => `http://127.0.0.1:${port}`;
  return `
proxy            ${url(PORTS.proxy)}        what applications talk to
Logto stand-in   ${url(PORTS.logto)}        counters and faults: ${url(PORTS.logtoControl)}
mgPass stand-in  ${url(PORTS.mgpass)}        counters and faults: ${url(PORTS.mgpassControl)}

Try, in another terminal (flags are seen within five seconds):

  curl -s ${url(PORTS.proxy)}/oidc/.well-known/openid-configuration
  npx wrangler kv key put --local --binding FLAGS stage dual_write
  npx wrangler kv key put --local --binding FLAGS read_percent 100
  TOKEN=$(curl -s -u sandboxm2m00000000000:sample-secret-m2m ${url(PORTS.proxy)}/oidc/token \\
    -d grant_type=client_credentials -d scope=all -d resource=https://default.logto.app/api | sed 's/.*access_token":"\\([^"]*\\).*/\\1/')
  curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' ${url(PORTS.proxy)}/api/users -d '{"username":"ama","customData":{"plan":"press"}}'
  npx wrangler d1 execute mgpass --local --command "SELECT id, name, metadata FROM users"
  curl -s -H 'Authorization: Bearer ${SECRETS.ADMIN_TOKEN}' ${url(PORTS.proxy)}/_proxy/status
  curl -s ${url(PORTS.mgpassControl)}/counters

A saved change below src/ goes live by itself. Cron is ticked every ten seconds, and the log
leaves out the runs that found nothing to do. Options: npm run dev -- --help. Stop with Ctrl-C.
`;
}
