// Somebody has registered at mgPass's own pages with an address that a user of Logto's
// takes as well: parked, found, mended, replayed. And orders about nobody.

import assert from 'node:assert/strict';

import { read, say, status } from './desk.mjs';

export const parked = {
  title: 'Users who wait for a person',
  async run(desk) {
    await desk.sandbox.databases.mgpass.prepare("INSERT INTO users (id, email, created_at) VALUES ('ownuser00001', 'esi@example.test', 1)").run();
    const created = await desk.ask('POST', '/users', { primaryEmail: 'esi@example.test', name: 'Esi' });
    assert.equal(created.status, 200, created.text);
    const { id } = created.json();
    await desk.until('the user is parked', async () => (await status(desk)).outbox.n_parked === 1);
    read(await desk.dwp(['status'], 1), /WARNING: Waiting for a person: 1 user \(value_taken_at_mgpass 1\).*/, /`dwp parked` names them/);
    read(await desk.dwp(['parked'], 1), new RegExp(`^${id} +value_taken_at_mgpass +mirror +20.* UTC`, 'm'));
    assert.equal((await status(desk)).outbox.n_open, 0, 'nothing waits for the mirror');
    read(await desk.dwp(['explain', id]), /values_held_by:\n.*ownuser00001.*/);
    // mgPass's owner says that both are Esi: the address goes to the one from Logto.
    await desk.wrangler(['d1', 'execute', 'MGPASS_DB', '--command', "UPDATE users SET email = NULL WHERE id = 'ownuser00001'"]);
    read(await desk.dwp(['replay', '--reason', 'value_taken_at_mgpass']), /^1 user; the mirror looks again/);
    await desk.until('the user is carried over', async () => (await status(desk)).outbox.n_parked === 0);
    read(await desk.dwp(['parked']), /nobody/);
    const held = await desk.sandbox.databases.mgpass.prepare('SELECT email FROM users WHERE id = ?').bind(id).first('email');
    assert.equal(held, 'esi@example.test');
    say(`  ${id} holds the address at mgPass`);

    read(await desk.dwp(['replay', '--user', 'nobody000001'], 1), /neither Logto nor the mirror knows this user/);
    read(await desk.dwp(['confirm-deletion', 'nobody000001'], 1), /neither Logto nor the mirror knows this user/);
    read(await desk.dwp(['confirm-deletion', id], 1), /Logto still has this user/);
    read(await desk.dwp(['explain', 'two words'], 2), /"two words" is no user id/);
    // Deleted past the proxy: two witnesses, the second a person.
    desk.sandbox.logto.users.delete(id);
    await desk.dwp(['replay', '--user', id]);
    await desk.until('the deletion waits for its second witness', async () => (await status(desk)).parked.some(({ reason }) => reason === 'deletion_unconfirmed'));
    read(await desk.dwp(['parked', '--reason', 'deletion_unconfirmed'], 1), new RegExp(`^${id} +deletion_unconfirmed`, 'm'));
    await desk.dwp(['confirm-deletion', id]);
    await desk.until('the user is deleted at mgPass', () => desk.sandbox.databases.mgpass.prepare('SELECT deleted_at FROM users WHERE id = ?').bind(id).first('deleted_at'));
    await desk.until('nobody waits any more', async () => (await status(desk)).outbox.n_parked === 0);
    read(await desk.dwp(['status']), /nothing is wrong/);
  },
};
