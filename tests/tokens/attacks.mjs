// `npm run attacks`: every attack of the two corpora and every kind of valid token,
// against the built wasm in workerd, through /_proxy/verify.
//
//  1. tests/data/tokens/refused.json: defects of form, each token really signed
//  2. tests/data/tokens/forged.json: forgeries that take a key
//  3. valid tokens over all algorithms and both issuers, first seen and remembered,
//     and every one of them with one bit changed after it was remembered
//  4. tokens of the stand-ins (oidc-provider in both of Logto's eras, mgPass)
//  5. forward-auth as nginx, Envoy and Traefik ask
//  6. introspection without a secret and with guessed ones, counted at mgPass
//  7. sign-in: the pin, redirects, secrets and cookies at the wrong side
//  8. people whose sign-in moves: mix-up, login CSRF, second factors, probing of passwords

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { SignJWT } from 'jose';

import { ask, canBeSent, startEdge } from './edge.mjs';
import { build, forge, goodClaims, goodHeader } from './forge.mjs';
import { introspectionAttacks } from './introspection.mjs';
import { ALGORITHMS, ISSUERS } from './issuers.mjs';
import { movingAttacks } from './moving.mjs';
import { signInAttacks } from './sign_in.mjs';
import { standInTokens } from './stand_ins.mjs';

const data = (file) => JSON.parse(readFileSync(fileURLToPath(new URL(`../data/tokens/${file}`, import.meta.url)), 'utf8')).cases;
const seconds = () => Math.floor(Date.now() / 1000);

const wrong = [];
const counts = { classes: new Map(), tried: 0, refused: 0, validTried: 0, accepted: 0, notSendable: 0 };

function refused(kind, name, expected, found) {
  const isRefused = found.status >= 400 && found.status < 500;
  const isAsExpected = expected.code === undefined ? found.status === expected.status : found.code === expected.code;
  count(kind, isRefused);
  if (!isRefused || !isAsExpected) wrong.push(`${kind}, ${name}: ${found.status} ${found.code ?? ''}, not ${expected.code ?? expected.status}`);
}

function count(kind, isRefused) {
  const row = counts.classes.get(kind) ?? { tried: 0, refused: 0 };
  counts.classes.set(kind, row);
  row.tried += 1;
  counts.tried += 1;
  if (!isRefused) return;
  row.refused += 1;
  counts.refused += 1;
}

function accepted(name, found) {
  counts.validTried += 1;
  if (found.status === 200) counts.accepted += 1;
  else wrong.push(`valid: ${name}: ${found.status} ${found.code ?? ''}`);
}

const edge = await startEdge();
try {
  for (const defect of data('refused.json')) {
    const token = build(defect, { keys: edge.keys, now: seconds() });
    if (!canBeSent(token)) {
      counts.notSendable += 1;
      continue;
    }
    refused(`form: ${defect.code}`, defect.name, defect, await edge.verify('live', token));
  }
  for (const attack of data('forged.json')) {
    const token = forge(attack, { keys: edge.keys, now: seconds(), stop: edge.stop });
    refused(attack.class, attack.name, attack, await edge.verify(attack.where ?? 'live', token, attack.send));
  }
  await validTokens();
  await gateways();
} finally {
  await edge.close();
}
for (const { name, token, isValid, url, query } of await standInTokens()) {
  const found = await ask(url, token, { query });
  if (isValid) accepted(name, found);
  else refused('token of a stand-in for another purpose', name, { status: 401 }, found);
}
await standInTokens.close();
const attacked = (kind, name, isRefused, found) => {
  count(kind, isRefused);
  if (!isRefused) wrong.push(`${kind}, ${name}: ${JSON.stringify(found)}`);
};
await introspectionAttacks(attacked, accepted);
await signInAttacks(attacked, accepted);
await movingAttacks(attacked, accepted);

console.log(`classes: ${counts.classes.size}`);
for (const [kind, row] of counts.classes) console.log(`  ${String(row.refused).padStart(3)}/${String(row.tried).padEnd(3)} ${kind}`);
console.log(`no HTTP header can carry: ${counts.notSendable} (native tests have them)`);
console.log(`tokens tried: ${counts.tried}, refused: ${counts.refused}`);
console.log(`valid tried: ${counts.validTried}, accepted: ${counts.accepted}`);
for (const line of wrong) console.log(`WRONG ${line}`);
const passed = wrong.length === 0 && counts.classes.size >= 60
  && counts.refused === counts.tried && counts.accepted === counts.validTried;
console.log(passed ? 'attacks: passed' : 'attacks: FAILED');
process.exitCode = passed ? 0 : 1;

// Signed by jose. What is remembered must not let anything else through.
async function validTokens() {
  const variants = [
    ['plain', {}, {}],
    ['several audiences', {}, (claims) => ({ aud: ['https://elsewhere.example', claims.aud] })],
    ['not before now', {}, () => ({ nbf: seconds() })],
    ['within the skew', {}, () => ({ iat: seconds() + 4, nbf: seconds() + 4, exp: seconds() + 600 })],
    ['in the last seconds of its life', {}, () => ({ iat: seconds() - 600, exp: seconds() + 5 })],
    ['subject beyond ASCII', {}, { sub: 'ümläut 🙂' }],
    ['claims of no concern', {}, { roles: [null, 1.5, { a: [] }], email: null, organization_id: 'org1' }],
    ['unknown header member', { x: [{}] }, {}],
    ['type in another case', { typ: 'application/AT+jwt' }, {}],
    ['long', {}, { filler: 'a'.repeat(5_000) }],
  ];
  for (const issuer of Object.keys(ISSUERS)) {
    for (const algorithm of ALGORITHMS) {
      const key = edge.keys[issuer][algorithm];
      for (const [name, header, claims] of variants) {
        const good = goodClaims(issuer, seconds() - 10);
        const changes = typeof claims === 'function' ? claims(good) : claims;
        const token = await new SignJWT({ ...good, ...changes })
          .setProtectedHeader({ ...goodHeader(issuer, key), ...header })
          .sign(key.privateKey);
        const label = `${issuer} ${algorithm}, ${name}`;
        accepted(label, await edge.verify('live', token));
        accepted(`${label}, remembered`, await edge.verify('live', token));
        const [head, body, signature] = token.split('.');
        const bytes = Buffer.from(signature, 'base64url');
        bytes[bytes.length >> 1] ^= 1;
        refused('changed after it was remembered', label, { code: 'signature_invalid' }, await edge.verify('live', `${head}.${body}.${bytes.toString('base64url')}`));
      }
      if (issuer !== 'logto') continue;
      // An old token after Logto is gone, by the imported key.
      const old = await new SignJWT(goodClaims('logto', edge.stop - 10))
        .setProtectedHeader(goodHeader('logto', key)).sign(key.privateKey);
      accepted(`logto ${algorithm}, imported key`, await edge.verify('imported', old));
      accepted(`logto ${algorithm}, imported key, remembered`, await edge.verify('imported', old));
    }
  }
}

async function gateways() {
  const key = edge.keys.logto.ES384;
  const token = await new SignJWT(goodClaims('logto', seconds() - 10))
    .setProtectedHeader(goodHeader('logto', key)).sign(key.privateKey);
  const headers = { authorization: `Bearer ${token}` };
  const check = (name, isAsExpected) => { if (!isAsExpected) wrong.push(`gateway: ${name}`); };
  // nginx and Traefik ask by GET; Envoy with the client's own method and path behind the prefix.
  const plain = await fetch(`${edge.urls.live}/_proxy/verify`, { headers });
  check('nginx', plain.status === 200);
  check('subject', plain.headers.get('x-auth-subject') === 'aizic3ag0os9');
  check('issuer', plain.headers.get('x-auth-issuer') === 'logto');
  check('scope', plain.headers.get('x-auth-scope') === 'read write');
  check('expiry', Number(plain.headers.get('x-auth-expires')) > seconds());
  check('not kept', plain.headers.get('cache-control') === 'no-store');
  for (const method of ['HEAD', 'POST', 'DELETE', 'OPTIONS', 'PROPFIND']) {
    const answer = await fetch(`${edge.urls.live}/_proxy/verify/for/orders/1?scope=admin&x=%zz`, { method, headers });
    check(`Envoy ${method}: ${answer.status}`, answer.status === 200);
    const none = await fetch(`${edge.urls.live}/_proxy/verify/for/orders/1`, { method });
    check(`Envoy ${method} without a token: ${none.status}`, none.status === 401 && none.headers.get('www-authenticate') === 'Bearer');
  }
  for (const path of ['/_proxy/verify/?scope=admin', '/_proxy/verify//?scope=admin']) {
    const slashed = await fetch(`${edge.urls.live}${path}`, { headers });
    check(`a slash drops no demand, ${path}: ${slashed.status}`, slashed.status === 403);
  }
  const lacking = await fetch(`${edge.urls.live}/_proxy/verify?scope=admin`, { headers });
  check('403 names the scope', lacking.status === 403 && lacking.headers.get('www-authenticate').includes('scope="admin"'));
  const union = await (await fetch(`${edge.urls.live}/_proxy/jwks`)).json();
  check('union: keys of both issuers', [ISSUERS.logto, ISSUERS.mgpass].every((issuer) => union.keys.filter((jwk) => jwk.issuer === issuer).length >= ALGORITHMS.length));
  check('union: nothing private', union.keys.every((jwk) => jwk.d === undefined && jwk.k === undefined && jwk.kty !== 'oct'));
  const afterwards = await (await fetch(`${edge.urls.imported}/_proxy/jwks`)).json();
  check('union: the imported keys while Logto is gone', afterwards.keys.some((jwk) => jwk.kid === edge.keys.withdrawn.ES384.kid));
  const over = await (await fetch(`${edge.urls.sunset}/_proxy/jwks`)).json();
  check('union: no imported key past its sunset', over.keys.every((jwk) => jwk.issuer === ISSUERS.mgpass));
}
