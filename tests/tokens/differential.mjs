// `npm run differential`: random tokens of random keys with random defects, judged by
// the built wasm and by jose in the same workerd. Nothing that jose refuses may be
// accepted; what we refuse and jose accepts must be refused for a reason named here.
//
//   node tests/tokens/differential.mjs [number of tokens] [seed]

import { AUDIENCES, ask, canBeSent, startEdge } from './edge.mjs';
import { encode, goodClaims, goodHeader, signInput } from './forge.mjs';
import { ALGORITHMS, ISSUERS } from './issuers.mjs';

// Each reason with the refusals it explains.
const STRICTER = new Map(Object.entries({
  'jose takes the last of two members': ['header_duplicate_member', 'claims_duplicate_member'],
  'jose ignores the member': ['header_x5u', 'header_jku', 'header_x5c', 'header_jwk', 'header_x5t', 'header_cty', 'header_zip', 'header_b64'],
  'jose decodes other spellings of base64url': ['header_not_base64url', 'claims_not_base64url', 'signature_not_base64url'],
  'jose drops a byte order mark': ['header_not_json', 'claims_not_json'],
  'jose does not look at the type of the claim': ['sub_malformed', 'jti_malformed', 'scope_malformed', 'client_id_malformed'],
  'jose takes fractions and negative times, and looks at iat only with a maximum age': ['exp_malformed', 'iat_malformed', 'nbf_malformed', 'issued_in_future', 'exp_not_after_iat'],
  'jose was given no such bound': ['lifetime_too_long'],
  'jose does not know the rules for mgPass\'s untyped tokens': ['id_token_by_claims', 'not_shown_access_token', 'typ_unexpected', 'typ_malformed'],
  'jose finds the key by its algorithm where one fits': ['kid_missing', 'kid_malformed'],
}).flatMap(([reason, codes]) => codes.map((code) => [code, reason])));

const total = Number(process.argv[2] ?? 2_000);
const seed = Number(process.argv[3] ?? Date.now() % 1e9);
let state = BigInt(seed) * 0x9e3779b97f4a7c15n & 0xffffffffffffffffn | 1n;
function random(end) {
  state ^= state << 13n & 0xffffffffffffffffn;
  state ^= state >> 7n;
  state ^= state << 17n & 0xffffffffffffffffn;
  return Number(state % BigInt(end));
}
const pick = (list) => list[random(list.length)];

// No tolerance on either side, as Logto judges its own tokens.
const edge = await startEdge({ vars: { CLOCK_SKEW_S: '0' }, extraWorkers: [{ name: 'jose', config: new URL('jose.toml', import.meta.url).pathname, port: 0 }] });

const anyKey = () => edge.keys[pick(['logto', 'mgpass', 'stranger'])][pick(ALGORITHMS)];
const ODD = [null, true, 0, -1, 1.5, '', 'x', [], ['x'], {}, 'a'.repeat(300), '9999999999'];

const DEFECTS = [
  // Harmless.
  ({ claims }) => { claims.extra = pick(ODD); },
  ({ claims }) => { claims.aud = ['elsewhere', claims.aud]; },
  ({ header }) => { header.extra = pick(ODD); },
  ({ claims }, now) => { claims.nbf = now + pick([-100, -1, 0, 600]); },
  // The key.
  (draft) => { draft.signer = anyKey(); },
  ({ header }) => { header.kid = anyKey().kid; },
  ({ header }) => { delete header.kid; },
  ({ header }) => { header.kid = pick(ODD); },
  ({ header }) => { header.alg = pick([...ALGORITHMS, 'none', 'HS256', 'es256', 'RS512', 'Ed25519', '']); },
  (draft) => { const key = anyKey(); Object.assign(draft, { signer: key }); Object.assign(draft.header, { alg: key.algorithm, kid: key.kid }); },
  // The header.
  ({ header }) => { header[pick(['jku', 'x5u', 'x5c', 'jwk', 'x5t', 'cty', 'zip', 'crit', 'b64'])] = pick(ODD); },
  ({ header }) => { header.typ = pick(['at+jwt', 'AT+JWT', 'application/at+jwt', 'JWT', 'logout+jwt', '', null, 1]); },
  ({ header }) => { delete header.typ; },
  // The claims.
  ({ claims }) => { claims[pick(['iss', 'sub', 'aud', 'exp', 'iat', 'nbf', 'scope', 'jti', 'client_id'])] = pick(ODD); },
  ({ claims }) => { delete claims[pick(['iss', 'sub', 'aud', 'exp', 'iat', 'scope', 'jti'])]; },
  ({ claims }, now) => { claims.exp = now + pick([-3600, -61, -1, 0, 600, 90_000]); },
  ({ claims }, now) => { claims.iat = now + pick([-7200, -1, 0, 600, 3600]); },
  ({ claims }) => { claims.iss = pick([...Object.values(ISSUERS), `${ISSUERS.logto}/`, 'https://evil.example']); },
  ({ claims }) => { claims.aud = pick([...AUDIENCES, 'elsewhere', [...AUDIENCES], ['elsewhere']]); },
  ({ claims }) => { claims[pick(['nonce', 'at_hash', 'email_verified'])] = 'x'; },
  // The text.
  ({ texts }) => { texts.claims = (text) => text.replace('{', '{"sub":"other",'); },
  ({ texts }) => { texts.header = (text) => text.replace('{', '{"kid":"other",'); },
  ({ texts }) => { texts.claims = (text) => ` \n${text}\t`; },
  ({ texts }) => { texts.claims = (text) => `\ufeff${text}`; },
  ({ texts }) => { texts.claims = (text) => `${text}x`; },
  // What is sent.
  (draft) => { draft.spoil = (token) => { const at = random(token.length); return token.slice(0, at) + pick('ABCxyz019-_.=+/') + token.slice(at + 1); }; },
  (draft) => { draft.spoil = (token) => token.slice(0, -1 - random(4)); },
  (draft) => { draft.spoil = (token) => token + pick(['=', '==', '.', 'A', 'AA', 'AAAA']); },
];

try {
  const cases = [];
  while (cases.length < total) {
    const token = makeToken();
    if (canBeSent(token)) cases.push(token);
  }
  // jose chooses by kid alone, so it is shown sound keys only.
  const sound = (set, keys) => ({ keys: set.keys.filter(({ kid }) => Object.values(keys).some((key) => key.kid === kid)) });
  const theirs = await (await fetch(edge.urls.jose, {
    method: 'POST',
    body: JSON.stringify({
      keySets: { [ISSUERS.logto]: sound(edge.sets.logto, edge.keys.logto), [ISSUERS.mgpass]: edge.sets.mgpass },
      typed: [ISSUERS.logto],
      audiences: AUDIENCES,
      tokens: cases,
    }),
  })).json();
  const counts = { bothAccept: 0, bothRefuse: 0, stricter: 0 };
  const codes = new Map();
  const wrong = [];
  for (const [index, token] of cases.entries()) {
    const ours = await ask(edge.urls.live, token, { query: '' });
    const theyAccept = theirs[index] === null;
    if (ours.status === 200) {
      if (theyAccept) counts.bothAccept += 1;
      else wrong.push(`only we accept (jose: ${theirs[index]}): ${token}`);
    } else if (!theyAccept) counts.bothRefuse += 1;
    else if (STRICTER.has(ours.code)) {
      counts.stricter += 1;
      codes.set(ours.code, (codes.get(ours.code) ?? 0) + 1);
    } else wrong.push(`only we refuse, ${ours.status} ${ours.code}: ${token}`);
  }
  console.log(`tokens: ${total}, seed: ${seed}`);
  console.log(`both accept: ${counts.bothAccept}, both refuse: ${counts.bothRefuse}, only we refuse: ${counts.stricter}`);
  for (const [code, count] of [...codes].sort()) console.log(`  ${String(count).padStart(4)} ${code}: ${STRICTER.get(code)}`);
  for (const line of wrong.slice(0, 20)) console.log(`WRONG ${line}`);
  const passed = wrong.length === 0 && counts.bothAccept > total / 20 && counts.bothRefuse > total / 20;
  console.log(passed ? 'differential: passed' : 'differential: FAILED');
  process.exitCode = passed ? 0 : 1;
} finally {
  await edge.close();
}

function makeToken() {
  const now = Math.floor(Date.now() / 1000);
  const issuer = pick(Object.keys(ISSUERS));
  const key = edge.keys[issuer][pick(ALGORITHMS)];
  const draft = { header: goodHeader(issuer, key), claims: goodClaims(issuer, now - 10), signer: key, texts: {} };
  const n = pick([0, 1, 1, 1, 2, 2, 3]);
  for (let i = 0; i < n; i += 1) pick(DEFECTS)(draft, now);
  const header = encode(draft.texts.header?.(JSON.stringify(draft.header)) ?? draft.header);
  const claims = encode(draft.texts.claims?.(JSON.stringify(draft.claims)) ?? draft.claims);
  const signature = signInput(`${header}.${claims}`, draft.signer).toString('base64url');
  const token = `${header}.${claims}.${signature}`;
  return draft.spoil ? draft.spoil(token) : token;
}
