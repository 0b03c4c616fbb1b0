// Verifications a second in workerd, per algorithm: the proxy's verifier (SubtleCrypto
// from wasm, strict parsers, every claim judged), jose in a JavaScript Worker, and
// jsonwebtoken compiled to wasm. Each request verifies many tokens, so that HTTP is
// not what is measured; rounds are taken in turns.
//
// "cached": the proxy has seen the token before, and judges its claims alone.

import { spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

import { buildSync } from 'esbuild';
import { SignJWT, calculateJwkThumbprint } from 'jose';

import { median, table } from './statistics.mjs';
import { startWorkerd } from './workerd.mjs';

const ISSUER = 'https://auth.old.example/oidc';
const AUDIENCE = 'https://api.orders.example';
const N_TOKENS = 32;
const KINDS = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  ES512: ['ec', { namedCurve: 'P-521' }],
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519'],
};
// What each side is called, and whether it has the algorithm.
const SIDES = {
  ours: () => true,
  cached: () => true,
  jose: () => true,
  jsonwebtoken: (algorithm) => algorithm !== 'ES512',
};

const OUR_WORKER = `import module from './verifier_bg.wasm';
import { initSync, ours, theirs } from './verifier.js';
initSync({ module });
export default {
  async fetch(request) {
    const { side, keySet, tokens, n } = await request.json();
    const common = [keySet, ${JSON.stringify(ISSUER)}, ${JSON.stringify(AUDIENCE)}, tokens, n];
    const accepted = side === 'jsonwebtoken' ? theirs(...common) : await ours(...common, side === 'cached');
    return Response.json({ accepted });
  },
};
`;
const JOSE_WORKER = `import { createLocalJWKSet, jwtVerify } from 'jose';
let held = {};
export default {
  async fetch(request) {
    const { keySet, tokens, n } = await request.json();
    if (held.keySet !== keySet) held = { keySet, find: createLocalJWKSet(JSON.parse(keySet)) };
    const options = { issuer: ${JSON.stringify(ISSUER)}, audience: ${JSON.stringify(AUDIENCE)}, typ: 'at+jwt', requiredClaims: ['sub', 'iat', 'exp'] };
    let accepted = 0;
    for (let i = 0; i < n; i += 1) {
      const { payload } = await jwtVerify(tokens[i % tokens.length], held.find, options);
      if (payload.scope.split(' ').includes('read')) accepted += 1;
    }
    return Response.json({ accepted });
  },
};
`;

export async function run({ root, scratch, quick, print }) {
  const [nRounds, roundMs] = quick ? [1, 60] : [5, 300];
  const verifier = buildVerifier(root, scratch);
  const config = { compatibilityDate: '2026-10-01' };
  const our = await startWorkerd({ name: 'verifier', scratch, config, modules: verifier });
  const jose = await startWorkerd({ name: 'jose', scratch, config, modules: [{ name: 'index.js', text: bundle(JOSE_WORKER, root) }] });
  const figures = {};
  try {
    for (const algorithm of Object.keys(KINDS)) {
      const { keySet, tokens } = await makeTokens(algorithm);
      const sides = Object.keys(SIDES).filter((side) => SIDES[side](algorithm));
      const perSecond = async (side, n) => {
        const began = performance.now();
        const answer = await fetch(side === 'jose' ? jose.url : our.url, { method: 'POST', body: JSON.stringify({ side, keySet, tokens, n }) });
        const { accepted } = await answer.json();
        if (accepted !== n) throw new Error(`${side} accepted ${accepted} of ${n} tokens (${algorithm})`);
        return (n / (performance.now() - began)) * 1000;
      };
      const sizes = {};
      for (const side of sides) {
        await perSecond(side, N_TOKENS);
        sizes[side] = Math.max(N_TOKENS, Math.round((await perSecond(side, 2 * N_TOKENS)) * (roundMs / 1000)));
      }
      const rates = Object.fromEntries(sides.map((side) => [side, []]));
      for (let round = 0; round < nRounds; round += 1) {
        for (const side of sides) rates[side].push(await perSecond(side, sizes[side]));
      }
      figures[algorithm] = Object.fromEntries(sides.map((side) => [side, Math.round(median(rates[side]))]));
    }
  } finally {
    await our.stop();
    await jose.stop();
  }
  const row = (algorithm) => {
    const rates = figures[algorithm];
    const times = (other) => (rates[other] === undefined ? '-' : `${(rates.ours / rates[other]).toFixed(2)}x`);
    return [algorithm, rates.ours, rates.cached, rates.jose, rates.jsonwebtoken ?? '-', times('jose'), times('jsonwebtoken')];
  };
  print(`\nTokens: verifications a second in workerd, one thread (median of ${nRounds} rounds)`);
  print(table([['', 'proxy, first sight', 'proxy, cached', 'jose', 'jsonwebtoken (wasm)', 'proxy / jose', 'proxy / jsonwebtoken'], ...Object.keys(figures).map(row)]));
  return figures;
}

// Set-up has installed the tools; dependencies are shared with the Worker's own build.
function buildVerifier(root, scratch) {
  const crate = path.join(root, 'tests/drills/bench/verifier');
  const target = path.join(root, 'target');
  const out = path.join(scratch, 'verifier-build');
  mkdirSync(out, { recursive: true });
  const step = (command, args, cwd) => {
    const { status, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', env: { ...process.env, CARGO_TARGET_DIR: target } });
    if (error || status !== 0) throw new Error(`${command}: ${error?.message ?? stderr.slice(-2000)}`);
  };
  step('cargo', ['build', '--quiet', '--release', '--target', 'wasm32-unknown-unknown'], crate);
  const wasm = path.join(target, 'wasm32-unknown-unknown/release/verifier.wasm');
  step(path.join(root, '.tools/bindgen'), [wasm, 'web', 'verifier', out], root);
  return [
    { name: 'index.js', text: bundle(OUR_WORKER, out) },
    { name: 'verifier_bg.wasm', from: path.join(out, 'verifier_bg.wasm') },
  ];
}

function bundle(contents, resolveDir) {
  const { outputFiles } = buildSync({
    stdin: { contents, resolveDir },
    bundle: true, write: false, format: 'esm', target: 'es2022', conditions: ['workerd', 'worker', 'browser'], external: ['*.wasm', 'cloudflare:*'],
  });
  return outputFiles[0].text;
}

async function makeTokens(algorithm) {
  const [kind, options] = KINDS[algorithm];
  const { privateKey } = generateKeyPairSync(kind, options);
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' });
  const kid = await calculateJwkThumbprint(jwk);
  const iat = Math.floor(Date.now() / 1000);
  const tokens = await Promise.all(Array.from({ length: N_TOKENS }, (_, index) => new SignJWT({
    jti: `token-${index}`, sub: 'aizic3ag0os9', iat, exp: iat + 3600, scope: 'read write', client_id: '96vj6wgs7bj7w7zo2ibkt', iss: ISSUER, aud: AUDIENCE,
  }).setProtectedHeader({ alg: algorithm, typ: 'at+jwt', kid }).sign(privateKey)));
  return { keySet: JSON.stringify({ keys: [{ ...jwk, use: 'sig', kid, alg: algorithm }] }), tokens };
}
