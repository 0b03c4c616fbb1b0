// What the proxy costs a request that it only passes on, with everything switched
// on (stage `dual_write`, read_percent 0): against the same origin direct, and
// against a Worker in plain JavaScript that does nothing but pass on.
//
// What is fair: each Worker runs in a workerd process of its own (same binary, same
// configuration but for modules and bindings), so that neither heap, JIT nor event
// loop is shared; only one is under load at a time. Short slices go round and round
// in rotating order over connections that stay open, and a ratio is the median of
// the ratios of the rounds. All requests carry the same headers, those of a browser
// with a bearer token.
//
// The proxy writes one line per request (`request.done`), the JavaScript Worker
// none: that line is part of the product and in every figure of `proxy`, sent to the
// null device. `js, same job` is a JavaScript Worker that rewrites the same headers and
// writes such a line. What the line costs is shown beside: `without line` drops it at the console,
// `line read` has this process read it from a pipe. `claimed` is a request of a route
// that a rule claims (`GET /api/users/:id`) and that goes to Logto all the same.
//
// Start-up: fresh processes in turn, each from its start to its sockets (by then the
// Worker's modules have run) and to its first answer, in time and in CPU. What a workerd
// takes for itself is in each figure, so that the difference to `js` is the proxy's own.

import { RUN_IN, startLoad } from './load.mjs';
import { startOrigin } from './origin.mjs';
import { median, ratio, table } from './statistics.mjs';
import { cpuTimeUs, readBuild, readConfig, startWorkerd } from './workerd.mjs';

const JS_WORKER = `export default {
  fetch(request, env) {
    const url = new URL(request.url);
    return fetch(new Request(env.ORIGIN + url.pathname + url.search, request));
  },
};
`;
/** The same again with what the proxy owes Logto and its operator: headers, by its own module, and a line. */
const JS_SAME_JOB = `import { outbound } from './outbound.js';
export default {
  async fetch(request, env) {
    const began = Date.now();
    const { protocol, host, pathname, search } = new URL(request.url);
    const response = await fetch(outbound(request, [env.ORIGIN + pathname + search, host, protocol.slice(0, -1), ''].join('\\n')));
    console.log(JSON.stringify({
      event: 'request.done', level: 'info', 'request.id': crypto.randomUUID(), operation: 'pass_through', 'plan.primary': 'logto', 'plan.mirror': 'none',
      'plan.reason': 'not_a_read', 'flags.stage': 'dual_write', backend: 'logto', status: response.status, duration_ms: Date.now() - began,
    }));
    return response;
  },
};
`;
const DROP_LINES = 'console.log = () => {};\n';

const SIZES = [
  { label: '2 B', bytes: 2, path: '/assets/2b' },
  { label: '1 MB', bytes: 1_000_000, path: '/assets/1mb' },
];
const CONNECTIONS = [1, 32];
const CLAIMED_PATH = '/api/users/u00000000001';

const LOGTO_ISSUER = 'https://auth.example.com/oidc';
const HEADERS = {
  Accept: 'application/json, text/plain, */*',
  'Accept-Encoding': 'gzip, deflate, br, zstd',
  'Accept-Language': 'en-GB,en;q=0.9,de;q=0.8',
  Authorization: `Bearer ${unsignedToken()}`,
  Cookie: '_session=Zk3o1bqv2mWc7Yt0; _session.sig=3vH0a6Yw1n; _logto=%7B%22appId%22%3A%22app%22%7D',
  Origin: 'https://app.example.com',
  Referer: 'https://app.example.com/account',
  'Sec-Fetch-Dest': 'empty',
  'Sec-Fetch-Mode': 'cors',
  'Sec-Fetch-Site': 'same-site',
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
  'X-Forwarded-For': '203.0.113.7',
};

const FULL = { rounds: 24, slice_ms: 150, warm_up_ms: 1000, starts: 15 };
const QUICK = { rounds: 2, slice_ms: 60, warm_up_ms: 60, starts: 2 };

export async function run({ root, build, against, quick, scratch, print }) {
  const { rounds, slice_ms, warm_up_ms, starts } = quick ? QUICK : FULL;
  const running = [];
  const keep = (started) => {
    running.push(started);
    return started;
  };
  try {
    const origin = keep(await startOrigin());
    const load = keep(await startLoad());
    const targets = await startTargets({ root, build, against, scratch, origin, keep });
    const cells = [];
    for (const size of SIZES) {
      for (const connections of CONNECTIONS) {
        const measured = targets.filter((target) => target.sizes === undefined || target.sizes.includes(size.bytes));
        cells.push({ size, connections, samples: measured.map((target) => ({ target, rounds: [] })) });
      }
    }
    const slice = (cell, target, duration_ms) =>
      load.slice({
        url: target.url,
        path: target.path ?? cell.size.path,
        headers: HEADERS,
        connections: cell.connections,
        bytes: cell.size.bytes,
        duration_ms,
      });
    for (const cell of cells) {
      for (const { target } of cell.samples) await slice(cell, target, warm_up_ms / 2);
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const cell of cells) {
        for (let turn = 0; turn < cell.samples.length; turn += 1) {
          const sample = cell.samples[(round + turn) % cell.samples.length];
          const { target } = sample;
          const before = cpuTimeUs(target.pid);
          const result = await slice(cell, target, slice_ms);
          const spent_us = cpuTimeUs(target.pid) - before;
          sample.rounds.push({
            requests_per_s: (result.requests * 1000) / result.elapsed_ms,
            p50_us: result.p50_us,
            // The run-in's requests cost time too, and are estimated by the rest.
            cpu_us: (spent_us / result.requests) * (1 - RUN_IN),
          });
        }
      }
    }
    for (const { check } of targets) check?.();
    const startUps = await measureStarts({ starts, load, build, against, root, scratch, origin });
    const figures = { rounds, slice_ms, cells: cells.map(summarise), startUps };
    print(`${render(figures)}\n\n${renderStarts(figures)}`);
    return figures;
  } finally {
    for (const started of running.reverse()) await started.stop();
  }
}

/** wrangler.toml's Worker before the origin, in stage `dual_write`, nothing read from mgPass. */
function ofProxy({ root, origin }) {
  const config = readConfig(`${root}wrangler.toml`, {
    LOGTO_ORIGIN: origin.url,
    LOGTO_ISSUER,
    LOGTO_CLIENT_SECRET: 'bench',
    MGPASS_CLIENT_SECRET: 'bench',
  });
  return { config, flags: { stage: 'dual_write', read_percent: '0' } };
}

async function startTargets({ root, build, against, scratch, origin, keep }) {
  const { config, flags } = ofProxy({ root, origin });
  const proxy = async (name, modules, log) => keep(await startWorkerd({ name, scratch, modules, config, flags, log }));

  const plain = async (name, text, ...others) => keep(
    await startWorkerd({
      name,
      scratch,
      modules: [{ name: 'index.js', text }, ...others],
      config: { compatibilityDate: config.compatibilityDate, vars: { ORIGIN: origin.url } },
    }),
  );
  const js = await plain('js', JS_WORKER);
  const sameJob = await plain('js-same-job', JS_SAME_JOB, { name: 'outbound.js', from: `${root}src/shell/outbound.js` });
  const itself = await proxy('proxy', readBuild(build));
  let last = '';
  const read = await proxy('proxy-read', readBuild(build), (chunk) => (last = chunk));
  const silent = await proxy('proxy-silent', readBuild(build, DROP_LINES));

  const small = [2];
  const targets = [
    { name: 'direct', url: origin.url, pid: origin.pid },
    { name: 'js', url: js.url, pid: js.pid },
    { name: 'js, same job', url: sameJob.url, pid: sameJob.pid, sizes: small },
    { name: 'proxy', url: itself.url, pid: itself.pid },
    { name: 'without line', url: silent.url, pid: silent.pid, sizes: small },
    { name: 'line read', url: read.url, pid: read.pid, sizes: small, check: () => checkLine(String(last)) },
    { name: 'claimed', url: itself.url, pid: itself.pid, sizes: small, path: CLAIMED_PATH },
  ];
  if (against !== undefined) {
    const other = await proxy('against', readBuild(against));
    targets.push({ name: 'against', url: other.url, pid: other.pid });
    targets.push({ name: 'against claimed', url: other.url, pid: other.pid, sizes: small, path: CLAIMED_PATH });
  }
  return targets;
}

/** Fresh processes, in turns: [{name, start_ms, cpu_us, first_ms}], a list of each. */
async function measureStarts({ starts, load, build, against, root, scratch, origin }) {
  const { config, flags } = ofProxy({ root, origin });
  const plain = { compatibilityDate: config.compatibilityDate, vars: { ORIGIN: origin.url } };
  const kinds = [
    { name: 'js', modules: [{ name: 'index.js', text: JS_WORKER }], config: plain },
    { name: 'proxy', modules: readBuild(build), config, flags },
    ...(against === undefined ? [] : [{ name: 'against', modules: readBuild(against), config, flags }]),
  ].map((kind) => ({ ...kind, samples: [] }));
  for (let round = 0; round < starts; round += 1) {
    for (let turn = 0; turn < kinds.length; turn += 1) {
      const { samples, name, ...given } = kinds[(round + turn) % kinds.length];
      const started = await startWorkerd({ ...given, name: `start-${name}`, scratch });
      try {
        const began = performance.now();
        await load.slice({ url: started.url, path: SIZES[0].path, headers: HEADERS, connections: 1, bytes: SIZES[0].bytes, duration_ms: 0 });
        samples.push({ start_ms: started.start_ms, first_ms: performance.now() - began, cpu_us: cpuTimeUs(started.pid) });
      } finally {
        await started.stop();
      }
    }
  }
  const middle = (samples, figure) => median(samples.map((sample) => sample[figure]));
  return kinds.map(({ name, samples }) => ({
    name, start_ms: middle(samples, 'start_ms'), first_ms: middle(samples, 'first_ms'), cpu_ms: middle(samples, 'cpu_us') / 1000,
  }));
}

function renderStarts({ startUps }) {
  const [js] = startUps;
  const row = ({ name, start_ms, first_ms, cpu_ms }) => [
    name, ...[start_ms, first_ms, cpu_ms].map((value) => value.toFixed(1)),
    ...[start_ms - js.start_ms, first_ms - js.first_ms, cpu_ms - js.cpu_ms].map((value) => (name === 'js' ? '' : value.toFixed(1))),
  ];
  return table([['start-up', 'start ms', 'first answer ms', 'cpu ms', 'start to js', 'first to js', 'cpu to js'], ...startUps.map(row)]);
}

/** The measured proxy was the one that the head of this file speaks of. */
function checkLine(chunk) {
  const line = chunk.split('\n').findLast((text) => text.includes('"request.done"'));
  for (const part of ['"operation":"pass_through"', '"flags.stage":"dual_write"', '"status":200']) {
    if (line?.includes(part) !== true) throw new Error(`the proxy's last line lacks ${part}: ${line}`);
  }
}

function summarise({ size, connections, samples }) {
  const of = (name) => samples.find(({ target }) => target.name === name);
  const column = (sample, figure) => sample.rounds.map((round) => round[figure]);
  const versus = (sample, name) =>
    Object.fromEntries(
      ['requests_per_s', 'p50_us', 'cpu_us'].map((figure) => [figure, ratio(column(sample, figure), column(of(name), figure))]),
    );
  return {
    answer: size.label,
    connections,
    targets: samples.map((sample) => ({
      name: sample.target.name,
      requests_per_s: Math.round(median(column(sample, 'requests_per_s'))),
      p50_us: Math.round(median(column(sample, 'p50_us'))),
      cpu_us: wholeOrNull(median(column(sample, 'cpu_us'))),
      ...(sample.target.name !== 'direct' && { to_direct: versus(sample, 'direct') }),
      ...(!['direct', 'js'].includes(sample.target.name) && { to_js: versus(sample, 'js') }),
    })),
  };
}

/** JSON has no NaN. */
function wholeOrNull(value) {
  return Number.isFinite(value) ? Math.round(value) : null;
}

function render({ rounds, slice_ms, cells }) {
  const spread = ({ median: middle, min, max }) => `${middle.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`;
  const rows = [
    ['pass-through', 'conn', 'req/s', 'p50 us', 'cpu us', 'req/s to js', 'p50 to js', 'cpu to js', 'req/s to direct', 'p50 to direct'],
  ];
  for (const { answer, connections, targets } of cells) {
    for (const { name, requests_per_s, p50_us, cpu_us, to_js, to_direct } of targets) {
      rows.push([
        `${answer} ${name}`,
        connections,
        requests_per_s,
        p50_us,
        cpu_us ?? '-',
        to_js ? spread(to_js.requests_per_s) : '',
        to_js ? spread(to_js.p50_us) : '',
        to_js && cpu_us !== null ? to_js.cpu_us.median.toFixed(2) : '',
        to_direct ? to_direct.requests_per_s.median.toFixed(2) : '',
        to_direct ? to_direct.p50_us.median.toFixed(2) : '',
      ]);
    }
  }
  return `${table(rows)}\nMedian of ${rounds} rounds of ${slice_ms} ms each, with the least and the greatest round.`;
}

/** Says of itself that Logto issued it; no signature is looked at with read_percent 0. */
function unsignedToken() {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const header = part({ alg: 'ES384', typ: 'at+jwt', kid: 'bench' });
  const claims = part({ iss: LOGTO_ISSUER, sub: 'u00000000001', aud: 'https://default.logto.app/api', exp: 4102444800, scope: 'all' });
  return `${header}.${claims}.${'A'.repeat(128)}`;
}
