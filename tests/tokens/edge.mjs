// The built Worker in workerd before two issuers that are nothing but their keys,
// asked as a gateway asks it. Three of them, for the three lives of a Logto key:
//   live      Logto publishes it
//   imported  Logto cannot be reached and has stopped issuing; our copy stands in
//   sunset    the same, and the copy's time is over

import { fileURLToPath } from 'node:url';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { startWorkers } from '../harness/sandbox/workers.mjs';
import { ISSUERS, keySets, makeKeys, serveIssuers } from './issuers.mjs';

const CLOSED = 'http://127.0.0.1:9';
export const AUDIENCES = ['https://api.orders.example', 'app_newsroom'];
export const IMPORT_LIFETIME_S = 3600;

export async function startEdge({ extraWorkers = [], vars = {}, onLog } = {}) {
  const keys = await makeKeys();
  const sets = keySets(keys);
  const issuers = await serveIssuers(sets);
  const stop = Math.floor(Date.now() / 1000) - 600;
  const { directory: persistTo, remove } = scratch('tokens');
  const proxy = (name, logtoOrigin) => ({
    name,
    config: fileURLToPath(new URL('wrangler.toml', import.meta.url)),
    port: 0,
    vars: {
      LOGTO_ORIGIN: logtoOrigin,
      LOGTO_ISSUER: ISSUERS.logto,
      MGPASS_ORIGIN: issuers.origin,
      MGPASS_ISSUER: ISSUERS.mgpass,
      VERIFY_AUDIENCES: AUDIENCES.join(','),
      MAX_TOKEN_LIFETIME_S: '86400',
      ...vars,
    },
  });
  const names = ['live', 'imported', 'sunset'];
  const running = await startWorkers({
    persistTo,
    onLog,
    workers: [
      ...names.map((name) => proxy(name, name === 'live' ? issuers.origin : CLOSED)),
      ...extraWorkers,
    ],
  });
  const { KEYS } = await running.workers.live.getBindings();
  const store = (sunset) => KEYS.put('logto', JSON.stringify({
    issuer: ISSUERS.logto, stopped_issuing_at: stop, max_lifetime_s: IMPORT_LIFETIME_S, sunset, keys: sets.imported,
  }));
  // An isolate keeps what it has read for a minute: each reads its own by its first token.
  const verify = async (where, token, send) => ask(running.workers[where].url, token, send);
  await store(stop + 601);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const anyImported = `${btoa('{"alg":"ES256","kid":"x"}')}.${Buffer.from(JSON.stringify({
    iss: ISSUERS.logto, sub: 's', aud: 'a', iat: 1, exp: 2,
  })).toString('base64url')}.${'A'.repeat(86)}`;
  await verify('sunset', anyImported.replaceAll('=', ''));
  await store(stop + 86_400);
  return {
    keys,
    sets,
    issuers,
    stop,
    verify,
    urls: Object.fromEntries(Object.entries(running.workers).map(([name, { url }]) => [name, url])),
    async close() {
      await running.dispose();
      await issuers.close();
      remove();
    },
  };
}

// What a gateway learns: the status, and the reason of a refusal.
export async function ask(url, token, { authorization = 'Bearer $T', query = 'scope=read', headers = {} } = {}) {
  const fill = (text) => text.replaceAll('$T', token);
  const filled = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, fill(value)]));
  if (authorization !== '') filled.authorization = fill(authorization);
  const answer = await fetch(`${url}/_proxy/verify?${fill(query)}`, { headers: filled });
  await answer.arrayBuffer();
  const challenge = answer.headers.get('www-authenticate') ?? '';
  const error = /\berror="([^"]*)"/.exec(challenge)?.[1];
  const code = error === 'invalid_token' ? /error_description="([^"]*)"/.exec(challenge)?.[1] : error;
  return { status: answer.status, code, challenge, headers: answer.headers };
}

// A header line carries visible ASCII; blanks at its ends are cut off on the way.
export const canBeSent = (token) => /^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?$/.test(token);
