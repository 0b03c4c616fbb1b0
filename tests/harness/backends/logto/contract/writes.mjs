// Writes on users beyond the recorded exchanges: what Logto 1.41 says to every kind of bad input, in which order it
// looks, and what its database makes of values. Texts are Logto's (its English phrases) and its libraries'.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SPA } from './client.mjs';
import { json, recorded, signIn } from './flows.mjs';

const invalid = (issues, details) => JSON.stringify({
  code: 'guard.invalid_input', data: { issues, name: 'ZodError' }, details, message: 'The request body is invalid.',
});
const wrongType = (expected, received, path, message = `Expected ${expected}, received ${received}`) => ({
  code: 'invalid_type', expected, received, path, message: received === 'undefined' ? 'Required' : message,
});

describe('Management API, writes', () => {
  let server;
  let call;
  before(async () => {
    server = await recorded();
    call = (method, path, body, headers = json) => server.ask({
      method, url: `/api${path}`, headers: { ...server.bearer, ...(body === undefined ? {} : headers) }, body,
    });
  });
  after(() => server.logto.close());
  const code = async (...args) => {
    const { status, body } = await call(...args);
    return [status, body.code];
  };

  test('the token is looked at first, then the body, then whether there is such a user', async () => {
    const { ask } = server;
    assert.equal((await ask({ method: 'PATCH', url: '/api/users/nobody', headers: json, body: '{' })).status, 401);
    assert.equal((await call('PATCH', '/users/nobody', '{')).status, 400);
    assert.deepEqual(await code('PATCH', '/users/nobody', { name: 1 }), [400, 'guard.invalid_input']);
    assert.deepEqual(await code('PATCH', '/users/nobody', { name: 'x' }), [404, 'entity.not_found']);
    assert.deepEqual(await code('PATCH', '/users/nobody/password', {}), [400, 'guard.invalid_input']);
  });

  test('a body that is no JSON', async () => {
    const { text: broken } = await call('POST', '/users', '{"name":"x",}');
    assert.equal(broken, '{"message":"Expected double-quoted property name in JSON at position 12 (line 1 column 13)"}');
    const { text: scalar } = await call('POST', '/users', '"x"');
    assert.equal(scalar, '{"message":"invalid JSON, only supports object and array"}');
    const large = await call('POST', '/users', JSON.stringify({ name: 'x'.repeat(1024 * 1024) }));
    assert.deepEqual([large.status, large.text, large.headers['content-type']], [404, 'Not Found', 'text/plain; charset=utf-8']);
    for (const headers of [{}, { 'content-type': 'application/problem+json' }, { 'content-type': 'application/json; charset' }]) {
      const { text } = await call('PATCH', '/users/nobody/password', '{"password":"x"}', headers);
      assert.equal(text, invalid([wrongType('string', 'undefined', ['password'])], 'Error in key path "password": (invalid_type) Expected string but received undefined.'), JSON.stringify(headers));
    }
    const { text: plain } = await call('PATCH', '/users/nobody/password', '{"password":"x"}', { 'content-type': 'text/plain' });
    assert.equal(plain, invalid([wrongType('object', 'string', [])], 'Error in key path "": (invalid_type) Expected object but received string.'));
    const { body: form } = await call('POST', '/users', 'name=From+a+form', { 'content-type': 'application/x-www-form-urlencoded' });
    assert.equal(form.name, 'From a form');
    const { body: none } = await call('POST', '/users', '', json);
    assert.equal(none.name, null);
  });

  test('issues of every kind, all of a body, in the order of the fields', async () => {
    const { text: union } = await call('PATCH', '/users/nobody', { username: 5 });
    assert.equal(union, invalid([{
      code: 'invalid_union',
      unionErrors: [
        { issues: [wrongType('string', 'number', ['username'])], name: 'ZodError' },
        { issues: [{ received: 5, code: 'invalid_literal', expected: '', path: ['username'], message: 'Invalid literal value, expected ""' }], name: 'ZodError' },
      ],
      path: ['username'],
      message: 'Invalid input',
    }], 'Error in key path "username": (invalid_union) Invalid input'));
    const { body } = await call('POST', '/users', {
      profile: { locale: null, address: 'x', nickname: 1 }, customData: [], avatar: 'no url', passwordAlgorithm: 'Argon3', password: '',
      passwordDigest: 'd'.repeat(257), username: '1x', primaryEmail: 'a@b', primaryPhone: '+1', name: null,
    });
    assert.deepEqual(body.details.split('\n'), [
      'Error in key path "primaryPhone": (invalid_string) Invalid',
      'Error in key path "primaryEmail": (invalid_string) Invalid',
      'Error in key path "username": (invalid_string) Invalid',
      'Error in key path "password": (too_small) String must contain at least 1 character(s)',
      'Error in key path "passwordDigest": (too_big) String must contain at most 256 character(s)',
      "Error in key path \"passwordAlgorithm\": (invalid_enum_value) Invalid enum value. Expected 'Argon2i' | 'Argon2id' | 'Argon2d' | 'SHA1' | 'SHA256' | 'MD5' | 'Bcrypt' | 'Legacy', received 'Argon3'",
      'Error in key path "name": (invalid_type) Expected string but received null.',
      'Error in key path "avatar": (invalid_string) Invalid url',
      'Error in key path "customData": (invalid_type) Expected object but received array.',
      'Error in key path "profile.nickname": (invalid_type) Expected string but received number.',
      'Error in key path "profile.locale": (invalid_type) Expected string but received null.',
      'Error in key path "profile.address": (invalid_type) Expected object but received string.',
    ]);
  });

  test('collisions: a new user is told of its username first, an old one of its e-mail', async () => {
    await call('POST', '/users', { username: 'held', primaryEmail: 'Held@example.test', primaryPhone: '61412345678' });
    const all = { username: 'held', primaryEmail: 'hELD@example.test', primaryPhone: '61412345678' };
    assert.deepEqual(await code('POST', '/users', all), [422, 'user.username_already_in_use']);
    const { body: { id } } = await call('POST', '/users', {});
    assert.deepEqual(await code('PATCH', `/users/${id}`, all), [422, 'user.email_already_in_use']);
    assert.deepEqual(await code('PATCH', `/users/${id}`, { ...all, primaryEmail: null }), [422, 'user.phone_already_in_use']);
    assert.deepEqual(await code('PATCH', `/users/${id}`, { username: 'HELD' }), [200, undefined]);
    assert.equal((await call('PUT', `/users/${id}/identities/google`, { userId: 'g' })).status, 201);
    const { body: other } = await call('POST', '/users', {});
    const { text } = await call('PUT', `/users/${other.id}/identities/google`, { userId: 'g' });
    assert.equal(text, '{"code":"user.identity_already_in_use","message":"The social account has been associated with an existing account."}');
    // Not one that every object has by its prototype.
    assert.equal((await call('PUT', `/users/${id}/identities/constructor`, { userId: 'g' })).status, 200);
    const { text: missing } = await call('GET', `/users/${id}/identities/github`);
    assert.equal(missing, '{"code":"user.identity_not_exist","message":"The social account has not been registered yet."}');
  });

  test('a phone number loses its trunk prefix, and collides in both spellings', async () => {
    const { body: { id, primaryPhone } } = await call('POST', '/users', { primaryPhone: '610499999999' });
    assert.equal(primaryPhone, '61499999999');
    assert.deepEqual(await code('POST', '/users', { primaryPhone: '61499999999' }), [422, 'user.phone_already_in_use']);
    // A row from before numbers were normalised.
    server.logto.users.update(id, { primaryPhone: '610488888888' });
    assert.deepEqual(await code('POST', '/users', { primaryPhone: '61488888888' }), [422, 'user.phone_already_in_use']);
    const { status, text } = await call('PATCH', `/users/${id}`, { primaryPhone: '0041' });
    assert.deepEqual([status, text], [422, '{"code":"user.invalid_phone","data":{"name":"ParseError"},"message":"Invalid phone number."}']);
  });

  test('the table: lengths in characters, nothing to set, what PostgreSQL cannot hold', async () => {
    const { body: { id } } = await call('POST', '/users', {});
    const { status, text } = await call('PATCH', `/users/${id}`, { avatar: `https://x.test/${'a'.repeat(2048)}`, name: 'é'.repeat(129) });
    assert.deepEqual([status, text], [422, '{"code":"entity.value_too_long","data":{"message":"value too long for type character varying(128)"},"message":"The length of value is too long and exceeds the limit."}']);
    assert.equal((await call('PATCH', `/users/${id}`, { name: `${'n'.repeat(128)}   ` })).body.name, 'n'.repeat(128));
    const { text: empty } = await call('PATCH', `/users/${id}`, { unknown: 1 });
    assert.equal(empty, '{"code":"entity.invalid_input","message":"Invalid input. Value list must not be empty."}');
    for (const body of [{ name: 'a\0b' }, { customData: { a: '\0' } }, { username: 'a\0' }]) {
      const answer = await call('PATCH', `/users/${id}`, body);
      assert.deepEqual([answer.status, answer.text], body.username ? [400, answer.text] : [500, '{"message":"Internal server error."}'], JSON.stringify(body));
    }
    assert.deepEqual(await code('PATCH', `/users/${id}`, '{"customData":{"a":"\\ud800"}}'), [422, 'entity.invalid_input']);
    assert.equal((await call('PATCH', `/users/${id}`, '{"name":"a\\ud800"}')).body.name, 'a\ufffd');
    // 128 characters, but 256 units of UTF-16: stored, and then not fit to be shown.
    assert.equal((await call('PATCH', `/users/${id}`, { name: '🦊'.repeat(128) })).status, 500);
    assert.equal(server.logto.users.get(id).name, '🦊'.repeat(128));
  });

  test('a digest instead of a password', async () => {
    assert.deepEqual(await code('POST', '/users', { password: 'x', passwordDigest: 'y' }), [400, 'user.password_and_digest']);
    assert.deepEqual(await code('POST', '/users', { passwordDigest: 'y' }), [400, 'user.password_algorithm_required']);
    assert.equal((await call('POST', '/users', { password: 'x', passwordDigest: '' })).body.hasPassword, true);
    const { text } = await call('POST', '/users', { passwordAlgorithm: 'Legacy' });
    assert.equal(text, '{"code":"password.unsupported_encryption_method","message":"The encryption method {{name}} is not supported."}');
    for (const [digest, expected] of [
      ['["sha256",["@"],"x"]', undefined], ['["sha256",["x"],"x"]', 'password.invalid_legacy_password_format'], ['{', 'password.invalid_legacy_password_format'],
      ['["no-such-hash",["@"],"x"]', 'password.unsupported_legacy_hash_algorithm'],
    ]) assert.equal((await call('POST', '/users', { passwordDigest: digest, passwordAlgorithm: 'Legacy' })).body.code, expected, digest);
  });
});

describe('Account API, writes', () => {
  let server;
  let userId;
  before(async () => {
    server = await recorded({
      accountCenter: { fields: { name: 'Edit', username: 'Edit', avatar: 'ReadOnly', profile: 'Edit', password: 'Edit', email: 'Edit', customData: 'Edit', social: 'Edit' } },
      seed: { users: [{ username: 'ann', password: 'Vorpal-Blade-42', profile: { address: { country: 'GH' } } }] },
    });
    userId = server.logto.users.findByIdentifier({ type: 'username', value: 'ann' }).id;
  });
  after(() => server.logto.close());

  async function as(scope) {
    const { logto, ask } = server;
    const { tokens } = await signIn(logto, { username: 'ann', password: 'Vorpal-Blade-42', ask, scope: `openid offline_access ${scope}`, clientId: SPA });
    return (method, path, body, record) => ask({
      method, url: `/api${path}`,
      headers: { authorization: `Bearer ${tokens.access_token}`, ...(record && { 'logto-verification-id': record }), ...(body === undefined ? {} : json) }, body,
    });
  }

  test('shows what scopes and fields allow', async () => {
    const me = await as('profile');
    const { body } = await me('GET', '/my-account');
    assert.deepEqual(Object.keys(body), [
      'id', 'username', 'name', 'avatar', 'lastSignInAt', 'createdAt', 'updatedAt', 'profile', 'applicationId', 'isSuspended', 'hasPassword', 'hasSecurityVerificationMethod',
    ]);
    assert.deepEqual(body.profile, {});
    const all = await as('profile email address custom_data identities');
    const { body: more } = await all('PATCH', '/my-account', { name: 'Ann' });
    assert.deepEqual(Object.keys(more).filter((name) => !(name in body)), ['primaryEmail', 'customData', 'identities']);
    assert.deepEqual([more.name, more.profile], ['Ann', { address: { country: 'GH' } }]);
  });

  test('fields first, then scopes, then the proof', async () => {
    const none = await as('email');
    const some = await as('profile');
    const refusals = [
      [none, 'PATCH', '/my-account', { avatar: null }, 400, 'account_center.field_not_editable'],
      [none, 'PATCH', '/my-account', { username: 'ann2' }, 400, 'auth.unauthorized'],
      [some, 'PATCH', '/my-account', { username: 'ann2' }, 401, 'verification_record.permission_denied'],
      [some, 'PATCH', '/my-account', { customData: {} }, 400, 'auth.unauthorized'],
      [some, 'PATCH', '/my-account', {}, 422, 'entity.invalid_input'],
      [some, 'PATCH', '/my-account', { name: '' }, 200, undefined],
      [some, 'PATCH', '/my-account', { avatar: '' }, 400, 'guard.invalid_input'],
      [none, 'PATCH', '/my-account/profile', {}, 400, 'auth.unauthorized'],
      [some, 'PATCH', '/my-account/profile', { address: {} }, 400, 'auth.unauthorized'],
      [some, 'POST', '/my-account/identities', { newIdentifierVerificationRecordId: 'x' }, 401, 'auth.unauthorized'],
      [some, 'DELETE', '/my-account/identities/google', undefined, 400, 'auth.unauthorized'],
      [some, 'DELETE', '/my-account/primary-phone', undefined, 401, 'verification_record.permission_denied'],
      [some, 'GET', '/my-account/sessions', undefined, 401, 'verification_record.permission_denied'],
    ];
    for (const [me, method, path, body, status, code] of refusals) {
      const answer = await me(method, path, body);
      assert.deepEqual([answer.status, answer.body.code], [status, code], `${method} ${path} ${JSON.stringify(body)}`);
    }
  });

  test('with a proof: the last identifier stays, and GET sessions tells that the proof holds', async () => {
    const me = await as('profile email identities');
    const { body: { verificationRecordId: proof } } = await me('POST', '/verifications/password', { password: 'Vorpal-Blade-42' });
    assert.equal((await me('GET', '/my-account/sessions', undefined, proof)).body.code, 'account_center.field_not_enabled');
    const { text } = await me('PATCH', '/my-account', { username: null }, proof);
    assert.equal(text, '{"code":"user.last_sign_in_method_required","message":"You need to keep at least one identifier in your account."}');
    server.logto.users.update(userId, { primaryEmail: 'ann@example.test' });
    assert.equal((await me('PATCH', '/my-account', { username: null }, proof)).status, 200);
    assert.equal((await me('DELETE', '/my-account/primary-email', undefined, proof)).body.code, 'user.last_sign_in_method_required');
    const wrong = await me('POST', '/my-account/primary-email', { email: 'a@b.c', newIdentifierVerificationRecordId: proof }, proof);
    assert.deepEqual([wrong.status, wrong.body.code], [400, 'verification_record.not_found']);
    const { body } = await me('POST', '/my-account/password', { password: 'aaaaaa' }, proof);
    assert.deepEqual(body.data, [{ code: 'password_rejected.too_short', interpolation: { min: 8 } }, { code: 'password_rejected.restricted.repetition' }]);
    assert.equal((await me('POST', '/my-account/password', { password: 'Vorpal-Blade-42' }, proof)).body.code, 'user.same_password');
    assert.equal((await me('POST', '/my-account/password', { password: 'Tumtum-Tree-1234' }, proof)).status, 204);
    server.logto.users.update(userId, { username: 'ann' });
  });
});
