// A stand-in that was given a file is the same server after a restart, however it ended.

import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import * as oidc from 'openid-client';
import { management, managementToken, signIn, until } from '../../../sandbox/client.mjs';
import { startLogto } from '../main.mjs';

const scratch = (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'logto-restart-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return path.join(directory, 'logto.jsonl');
};

describe('restart', () => {
  test('users, passwords, roles, hooks, keys, sessions and refresh tokens are still there', async (t) => {
    const file = scratch(t);
    const first = await startLogto({ file, seed: { users: [{ id: 'seeded000001', username: 'seeded' }, { id: 'seeded000002', username: 'gone' }] } });
    const person = { origin: first.url, issuer: first.issuer, username: 'olga', password: 'Jubjub-Bird-9000' };
    const { tokens, config, jar } = await signIn({ ...person, register: true });
    const token = await managementToken(first.issuer);
    const ask = management(first.url, token);
    const id = tokens.claims().sub;
    const role = (await ask('POST', '/roles', { name: 'editor', description: 'x' })).json();
    const other = (await ask('POST', '/roles', { name: 'reader', description: 'x' })).json();
    await ask('POST', `/users/${id}/roles`, { roleIds: [role.id, other.id] });
    await ask('DELETE', `/users/${id}/roles/${other.id}`);
    await ask('PATCH', `/users/${id}`, { customData: { plan: 'press', 10: 'ten' } });
    await ask('DELETE', '/users/seeded000002');
    const hook = (await ask('POST', '/hooks', { name: 'h', events: ['User.Created'], config: { url: 'http://127.0.0.1:9/' } })).json();
    const before = { user: (await ask('GET', `/users/${id}`)).json(), list: (await ask('GET', '/users')).json(), hooks: (await ask('GET', '/hooks')).json() };
    const jwks = await (await fetch(`${first.issuer}/jwks`)).text();
    await first.close();

    const second = await startLogto({ file, port: first.port, seed: { users: [{ id: 'seeded000001', username: 'seeded' }, { id: 'seeded000002', username: 'gone' }] } });
    t.after(() => second.close());
    // This process may still hold a connection to the first one.
    const { answer: found } = await until('the second one answers', () => fetch(`${second.issuer}/jwks`).catch(() => undefined));
    assert.equal(await found.text(), jwks);
    // The Management API takes the token of before: its key is still the one.
    assert.deepEqual((await ask('GET', `/users/${id}`)).json(), before.user);
    // A seeded user who was deleted does not come back.
    assert.deepEqual((await ask('GET', '/users')).json(), before.list);
    assert.deepEqual((await ask('GET', '/hooks')).json(), before.hooks);
    assert.equal(before.hooks[0].id, hook.id);
    assert.deepEqual((await ask('GET', `/users/${id}/roles`)).json().map(({ name }) => name), ['editor']);
    assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, id)).username, 'olga');
    assert.ok((await oidc.refreshTokenGrant(config, tokens.refresh_token)).access_token);
    // The browser's session: no sign-in page, straight on to consent.
    const again = `${second.issuer}/auth?${new URLSearchParams({
      client_id: 'sandboxspa00000000000', redirect_uri: 'http://127.0.0.1:5999/callback', response_type: 'code', scope: 'openid',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256', state: 'x',
    })}`;
    const resumed = await fetch(again, { redirect: 'manual', headers: { cookie: jar.header(again) } });
    assert.match(resumed.headers.get('location'), /^http:\/\/127\.0\.0\.1:5999\/callback\?code=|\/consent\?/);
    const { tokens: fresh } = await signIn(person);
    assert.equal(fresh.claims().sub, id);
    // A suspension ends what was begun before the restart too.
    await ask('PATCH', `/users/${id}/is-suspended`, { isSuspended: true });
    await assert.rejects(oidc.fetchUserInfo(config, tokens.access_token, id));
    const after = await fetch(again, { redirect: 'manual', headers: { cookie: jar.header(again) } });
    assert.match(after.headers.get('location'), /\/sign-in\?/);
  });

  test('what a killed process left is enough: nothing waits for the end, a torn last line is dropped', async (t) => {
    const file = scratch(t);
    const first = await startLogto({ file });
    t.after(() => first.close());
    first.users.create({ id: 'before000001', username: 'kept' });
    first.users.update('before000001', { name: 'Kept' });
    // A second process would read what is on disk now.
    const copy = `${file}.copy`;
    writeFileSync(copy, readFileSync(file));
    appendFileSync(copy, '["users","before000001",{"id":"befo');
    const second = await startLogto({ file: copy });
    t.after(() => second.close());
    assert.equal(second.users.get('before000001').name, 'Kept');
    assert.equal(second.users.findByIdentifier({ type: 'username', value: 'kept' }).id, 'before000001');
    // Passwords and private keys are in it.
    assert.equal(statSync(copy).mode & 0o777, 0o600);
  });

  test('a line that cannot be read in the middle is named, and nothing is thrown away', async (t) => {
    const file = scratch(t);
    const damaged = '["users","a",{"id":"a"}]\nnot a row\n["users","b",{"id":"b"}]\n';
    writeFileSync(file, damaged);
    await assert.rejects(startLogto({ file }), /logto\.jsonl: line 2 cannot be read/);
    assert.equal(readFileSync(file, 'utf8'), damaged);
  });

  test('a start rewrites the file, so that it does not grow with changes', async (t) => {
    const file = scratch(t);
    const first = await startLogto({ file });
    first.users.create({ id: 'often0000001' });
    for (let n = 0; n < 100; n += 1) first.users.update('often0000001', { name: `n${n}` });
    await first.close();
    const lines = () => readFileSync(file, 'utf8').split('\n').filter((line) => line.startsWith('["users"')).length;
    assert.equal(lines(), 101);
    await (await startLogto({ file })).close();
    assert.equal(lines(), 1);
  });
});
