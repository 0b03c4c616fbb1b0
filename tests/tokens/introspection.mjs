// Introspection by callers who have no secret, or guess one: through the built Worker
// before the stand-ins, counted at mgPass. Whoever has one goes on as ever.


import { scratch } from '../harness/sandbox/scratch.mjs';
import { startSandbox, controlOf } from '../harness/sandbox/sandbox.mjs';

// src/policy/allowance.rs: tries of one address in a minute of the clock. The attacks may
// fall into two of them.
const TRIES = 2 * 20;

/** `refused(kind, name, isRefused, found)` for each attack, `accepted(name, {status})` for each valid call. */
export async function introspectionAttacks(refused, accepted) {
  const { directory: persistTo, remove } = scratch('tokens');
  const sandbox = await startSandbox({ persistTo });
  try {
    await sandbox.flag('stage', 'dual_write');
    await attack(sandbox, refused, accepted);
  } finally {
    await sandbox.close();
    remove();
  }
}

async function attack(sandbox, refused, accepted) {
  const mgpass = controlOf(sandbox.mgpass);
  const person = await mgpass.call('POST', '/tokens', { user_id: 'usr_k3v9d2', client_id: 'app_newsroom', scope: 'openid profile offline_access' });
  const [spa, reader] = ['sandboxspa00000000000', 'app_spa'];
  const web = ['sandboxm2m00000000000', 'sample-secret-m2m'];
  const newsroom = ['app_newsroom', 'mgpass-newsroom-secret'];

  const introspect = async (client, form) => {
    const answer = await fetch(`${sandbox.proxy.url}/oidc/token/introspection`, {
      method: 'POST',
      headers: client ? { authorization: `Basic ${btoa(client.join(':'))}` } : {},
      body: new URLSearchParams(form),
    });
    const body = await answer.json();
    return { status: answer.status, active: body.active, code: body.code ?? body.error };
  };
  const nAsked = async () => {
    const { byRoute } = await mgpass.counters();
    return byRoute['POST /token/introspect']?.count ?? 0;
  };
  /** What the answer was, and how often mgPass was asked for it. */
  const counted = async (client, form) => {
    const before = await nAsked();
    const found = await introspect(client, form);
    return { ...found, asked: await nAsked() - before };
  };
  const isUseless = ({ status, active }) => active !== true && (status === 200 ? active === false : status >= 400 && status < 500);

  const kind = 'introspection without a secret';
  for (const [what, token] of [['access token', person.access_token], ['refresh token', person.refresh_token]]) {
    for (const [name, form] of [
      ['Logto\'s public client', { client_id: spa }],
      ['with an empty secret', { client_id: spa, client_secret: '' }],
      ['with an assertion of nobody', { client_id: spa, client_assertion: 'e30.e30.AA', client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' }],
      ['mgPass\'s public client', { client_id: reader }],
      ['a client of mgPass\'s that has a secret', { client_id: newsroom[0] }],
      ['a client of Logto\'s that has a secret', { client_id: web[0] }],
      ['nobody', { client_id: 'nobody' }],
    ]) {
      const found = await counted(undefined, { ...form, token });
      refused(kind, `${name}, ${what}`, isUseless(found) && found.asked === 0, found);
    }
    const public_ = await counted([spa, 'guess'], { token });
    refused(kind, `public client with a guess, ${what}`, isUseless(public_) && public_.asked === 0, public_);
  }

  for (const [name, client] of [['a client of Logto\'s', web], ['a client of mgPass\'s', newsroom]]) {
    const found = await introspect(client, { token: person.access_token });
    accepted(`introspection by ${name}`, { status: found.active === true ? 200 : found.status, code: 'inactive' });
  }

  // Both clients are known by now; forged tokens are not asked about.
  const [head, claims, signature] = person.access_token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[bytes.length >> 1] ^= 1;
  const forged = `${head}.${claims}.${bytes.toString('base64url')}`;
  for (const [name, client] of [['Logto\'s client', web], ['mgPass\'s client', newsroom]]) {
    const found = await counted(client, { token: forged });
    refused('introspection of a forged token', name, isUseless(found) && found.asked === 0, found);
  }

  const before = await nAsked();
  for (let n = 0; n < 100; n += 1) {
    const found = await introspect([newsroom[0], `guess-${n}`], { token: person.access_token });
    const isSpent = found.status === 429 && found.code === 'proxy.too_many_attempts';
    refused('guessed client secret', `${n}`, found.status === 401 || isSpent, found);
  }
  const spent = await nAsked() - before;
  refused('guessed client secret', `mgPass asked ${spent} times for 100 guesses`, spent > 0 && spent <= TRIES, {});
  for (const [name, client] of [['a client of Logto\'s', web], ['a client of mgPass\'s', newsroom]]) {
    const found = await introspect(client, { token: person.access_token });
    accepted(`introspection by ${name}, while others guess`, { status: found.active === true ? 200 : found.status, code: 'inactive' });
  }
}
