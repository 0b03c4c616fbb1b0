// Whoever has a second factor, a passkey or a company sign-in at Logto is never carried nor
// moved: a password alone must not be enough at mgPass. Beside each one who has none, and is.

import { pause, until } from '../harness/sandbox/client.mjs';

const PASSWORD = 'a-long-Password-8';
const factor = (type) => ({ id: `f-${type}`, type, createdAt: new Date().toISOString() });
const LEFT_BEHIND = {
  Totp: { mfaVerifications: [factor('Totp')] },
  WebAuthn: { mfaVerifications: [factor('WebAuthn')] },
  BackupCode: { mfaVerifications: [{ ...factor('BackupCode'), remainCodes: 8 }] },
  'company sign-in': { ssoIdentities: [{ id: 's1', ssoConnectorId: 'c1', issuer: 'https://idp.example', identityId: 'x', detail: {} }] },
};

export async function downgrades(place, refused, accepted) {
  const kind = 'second-factor downgrade';
  const { sandbox, api, origin, atMgpass, stateOf } = place;
  await sandbox.flag('applications', JSON.stringify([{
    name: 'newsroom', group: 'main', owner: 'web', ready: ['sign_in', 'sign_out'],
    logto: { client_id: 'sandboxspa00000000000', start: 'https://news.example/login' },
    mgpass: { client_id: 'app_newsroom', start: 'https://news.example/login/mgpass' },
  }]));
  await sandbox.flag('mgpass_pages', 'closed');
  await sandbox.flag('sign_in_percent', '100');
  await pause(5_500);
  await fetch(`${origin}/oidc/jwks`);
  await pause(500);
  const verdictOf = async (id) => (await sandbox.databases.proxy.prepare('SELECT verdict FROM sign_in_ready WHERE user_id = ?').bind(id).first())?.verdict;
  const leadsTo = async (browser) => (await browser.ask('GET', `${origin}/_proxy/sign-in/newsroom`)).headers.get('location');

  let n = 0;
  for (const [name, left] of [...Object.entries(LEFT_BEHIND), ['none', {}], ['none', {}]]) {
    n += 1;
    const id = `factored${String(n).padStart(4, '0')}`;
    await place.row(id, PASSWORD, left);
    // Judged behind the first sign-in, marked at the second; each shows the password as well.
    const first = await place.signIn(id, PASSWORD);
    first.forget('');
    await until(`${id} is judged`, () => verdictOf(id), { withinMs: 20_000, everyMs: 200 });
    await pause(1_500);
    const second = await place.signIn(id, PASSWORD);
    if (name === 'none') {
      await until(`${id} is carried`, async () => (await stateOf(id)) === 'carried', { withinMs: 20_000, everyMs: 300 });
      await place.signIn(id, PASSWORD);
      await until(`${id} is ready`, async () => (await verdictOf(id)) === 'ready', { withinMs: 20_000, everyMs: 200 });
      const third = await place.signIn(id, PASSWORD);
      third.forget('_session');
      const to = await leadsTo(third);
      accepted('without a second factor: moved', { status: to?.endsWith('/mgpass') && third.isMarkedReady ? 200 : 0, code: to });
      const status = await atMgpass({ email: `${id}@example.test`, password: PASSWORD });
      accepted('without a second factor: signs in at mgPass by the carried password', { status: status === 302 ? 200 : status });
      continue;
    }
    refused(kind, `${name}: not carried by a sign-in`, !['carried', 'carrying'].includes(await stateOf(id)), await stateOf(id));
    refused(kind, `${name}: not marked as ready`, !second.isMarkedReady && (await verdictOf(id)) !== 'ready', await verdictOf(id));
    second.forget('_session');
    const to = await leadsTo(second);
    refused(kind, `${name}: not moved`, to === 'https://news.example/login', to);
    // Somebody else's mark, replayed by one who knows the password: there is nothing at mgPass.
    const by = async (password) => atMgpass({ email: `${id}@example.test`, password });
    refused(kind, `${name}: the password does not sign in at mgPass`, (await by(PASSWORD)) !== 302, {});
    const verified = await api('POST', `/users/${id}/password/verify`, { password: PASSWORD });
    const changed = await api('PATCH', `/users/${id}/password`, { password: `${PASSWORD}-2` });
    await pause(1_500);
    refused(kind, `${name}: not carried by a check or a change`, !['carried', 'carrying'].includes(await stateOf(id)), [verified.status, changed.status, await stateOf(id)]);
    refused(kind, `${name}: the changed one does not sign in at mgPass`, (await by(`${PASSWORD}-2`)) !== 302, {});
  }
}
