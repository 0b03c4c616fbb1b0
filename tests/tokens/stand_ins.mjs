// Tokens that the stand-ins issue: oidc-provider as Logto sets it up, in both of
// Logto's eras, and mgPass; each with the proxy it is to be shown to.


import { scratch } from '../harness/sandbox/scratch.mjs';
import { SECRETS, controlOf, startSandbox } from '../harness/sandbox/sandbox.mjs';

const LOGTO_API = 'https://default.logto.app/api';
const open = [];

export async function standInTokens() {
  const tokens = [];
  for (const alg of ['ES384', 'RS256']) {
    const { directory: persistTo, remove } = scratch('tokens');
    const sandbox = await startSandbox({ persistTo, alg, vars: { VERIFY_AUDIENCES: `${LOGTO_API},app_newsroom,app_proxy` } });
    open.push(async () => {
      await sandbox.close();
      remove();
    });
    const { url } = sandbox.proxy;
    const add = (name, token, isValid, query = '') => tokens.push({ name, token, isValid, url, query });
    const logto = await clientCredentials(`${url}/oidc/token`, 'sandboxm2m00000000000', SECRETS.LOGTO_CLIENT_SECRET, { resource: LOGTO_API, scope: 'all' });
    add(`oidc-provider ${alg}, client credentials`, logto.access_token, true, 'scope=all');
    const mgpass = controlOf(sandbox.mgpass);
    const person = await mgpass.call('POST', '/tokens', { user_id: 'usr_k3v9d2', client_id: 'app_newsroom', scope: 'openid profile email offline_access' });
    add('mgPass, a person', person.access_token, true);
    add('mgPass, an application', (await mgpass.call('POST', '/tokens', { client_id: 'app_proxy' })).access_token, true, 'scope=mgpass%3Aadmin');
    add('mgPass, ID token', person.id_token, false);
    add('mgPass, refresh token', person.refresh_token, false);
    await mgpass.call('POST', '/signing-key/rotate', {});
    add('mgPass, after a rotation', (await mgpass.call('POST', '/tokens', { client_id: 'app_proxy' })).access_token, true);
    add('mgPass, before the rotation', person.access_token, true);
  }
  return tokens;
}

standInTokens.close = () => Promise.all(open.map((close) => close()));

async function clientCredentials(url, id, secret, form) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', ...form }),
  });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}
