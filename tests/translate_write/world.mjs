// The Logto stand-in as the differential sees it: a tenant with its own rules, a few people, and what a proxy would know
// of them at the moment of a request.

import http from 'node:http';
import { startLogto } from '../harness/backends/logto/main.mjs';
import { hashPassword, verifyPassword } from '../harness/backends/logto/passwords.mjs';
import { ssoIdentities, userResponse } from '../harness/backends/logto/users.mjs';

const M2M = 'sandboxm2m00000000000';
const SPA = 'sandboxspa00000000000';
const PASSWORD = 'Vorpal-Blade-42';
const edit = (...names) => Object.fromEntries(names.map((name) => [name, 'Edit']));
const everything = edit('name', 'avatar', 'profile', 'email', 'phone', 'password', 'username', 'social', 'customData', 'session');

/** What tenants differ in: what they let users do, and how they compare. */
export const tenants = [
  { accountCenter: { fields: everything }, passwordPolicy: { rejects: { pwned: true, words: ['jubjub', 'Vorpal'] } } },
  {
    accountCenter: { fields: { ...everything, avatar: 'ReadOnly', phone: 'Off', session: 'Off' } },
    usernamePolicy: { caseSensitive: false, minLength: 3, maxLength: 20, allowedChars: { lowercase: true, uppercase: true, numbers: true, underscore: false } },
    passwordPolicy: { length: { min: 6, max: 20 }, characterTypes: { min: 3 }, rejects: { pwned: false, repetitionAndSequence: true, userInfo: false, words: [] } },
  },
  {
    accountCenter: { fields: { name: 'Edit', profile: 'ReadOnly', username: 'Edit', customData: 'ReadOnly', password: 'Off', email: 'Edit' } },
    usernamePolicy: { caseSensitive: true, minLength: 1, maxLength: 128, allowedChars: { lowercase: true, uppercase: false, numbers: false, underscore: true } },
    passwordPolicy: {},
  },
];

const isLarge = (bytes) => (bytes?.length ?? 0) > 1_000_000;
const isPwned = (password) => password.length % 3 === 0;

export async function startWorld(tenant) {
  const logto = await startLogto({ alg: 'ES384', ...tenant, isPwned });
  const agent = new http.Agent({ keepAlive: true });
  const askOnce = ({ method, path, headers, bytes }) => new Promise((resolve, reject) => {
    const request = http.request(`${logto.url}${path}`, { method, headers, agent: isLarge(bytes) ? false : agent }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(bytes);
  });
  /** A server that answers a body without reading it may close the connection under the answer: no other request shares it. */
  async function ask(request) {
    for (let i = 0; ; i += 1) {
      try {
        return await askOnce(request);
      } catch (error) {
        if (i === 5 || !isLarge(request.bytes)) throw error;
      }
    }
  }

  const { access_token: bearer } = JSON.parse((await ask({
    method: 'POST', path: '/oidc/token',
    headers: { 'content-type': 'application/x-www-form-urlencoded', authorization: `Basic ${Buffer.from(`${M2M}:sample-secret-m2m`).toString('base64')}` },
    bytes: 'grant_type=client_credentials&resource=https%3A%2F%2Fdefault.logto.app%2Fapi&scope=all',
  })).text);
  const management = { authorization: `Bearer ${bearer}` };
  const read = async (path, headers = management) => (await ask({ method: 'GET', path, headers })).text;
  const settings = [await read('/api/sign-in-exp'), await read('/api/account-center')];

  const view = (id) => {
    const user = logto.users.get(id);
    return user && JSON.stringify(userResponse(user));
  };
  async function tokenFor(id, scope) {
    const client = await logto.provider.Client.find(SPA);
    const token = new logto.provider.AccessToken({ accountId: id, client, scope, gty: 'authorization_code', expiresWithSession: false });
    return token.save();
  }
  /** A record that proves who asks: by the password, which it gives a user that has none. */
  async function proofFor(id) {
    const user = logto.users.get(id);
    if (!verifyPassword(PASSWORD, user.password)) logto.users.update(id, { password: hashPassword(PASSWORD) });
    const { text } = await ask({
      method: 'POST', path: '/api/verifications/password', bytes: JSON.stringify({ password: PASSWORD }),
      headers: { authorization: `Bearer ${await tokenFor(id, 'openid')}`, 'content-type': 'application/json' },
    });
    return JSON.parse(text).verificationRecordId;
  }

  function held(exceptId) {
    const values = [];
    const fold = tenant.usernamePolicy?.caseSensitive === false ? (text) => text.toLowerCase() : (text) => text;
    for (const user of logto.users.values()) {
      if (user.id === exceptId) continue;
      values.push(...uniqueValues(user, fold));
    }
    return values;
  }
  const uniques = (user) => uniqueValues(user, tenant.usernamePolicy?.caseSensitive === false ? (text) => text.toLowerCase() : (text) => text);

  return {
    logto, ask, management, settings, view, tokenFor, proofFor, held, uniques,
    self: M2M,
    isLeaked: isPwned,
    nSso: (id) => (logto.users.get(id) ? ssoIdentities(logto.users.get(id)).length : 0),
    shown: (headers) => read('/api/my-account', headers),
    /** As the executor asks: what reads the sessions of a user is refused for want of a proof, or not. */
    async proofHolds(headers) {
      return JSON.parse(await read('/api/my-account/sessions', headers)).code !== 'verification_record.permission_denied';
    },
    async close() {
      agent.destroy();
      await logto.close();
    },
  };
}

function uniqueValues(user, fold) {
  const values = [];
  if (user.username) values.push(['username', fold(user.username)]);
  if (user.primaryEmail) values.push(['email', user.primaryEmail.toLowerCase()]);
  if (user.primaryPhone) values.push(['phone', user.primaryPhone]);
  for (const [target, { userId }] of Object.entries(user.identities)) values.push(['identity', userId, target]);
  return values;
}
