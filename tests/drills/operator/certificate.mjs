// The certificate: made, verified, edited, of another proxy, of another term, expired.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { persistTo, read, say } from './desk.mjs';

export const certificate = {
  title: 'The certificate: made, verified, edited, expired',
  async run(desk) {
    const file = path.join(persistTo, 'certificate.json');
    read(await desk.dwp(['certificate', 'make', file]), /SHA-256 [0-9a-f]{64}, of term 1, \d+ users, valid until .* UTC/);
    read(await desk.dwp(['certificate', 'verify', file]), /valid: of term 1, made .* UTC/);
    const text = readFileSync(file, 'utf8');
    say(`  ${text.length} bytes, ${JSON.parse(text).certificate.checks.length} checks`);

    const users = JSON.parse(text).certificate.population.users;
    const edited = path.join(persistTo, 'edited.json');
    writeFileSync(edited, text.replace(`"users":${users}`, `"users":${users + 1}`));
    read(await desk.dwp(['certificate', 'verify', edited], 1), /not valid: it was edited.*/);
    writeFileSync(edited, JSON.stringify(JSON.parse(text), null, 2));
    read(await desk.dwp(['certificate', 'verify', edited], 1), /not valid: it was edited.*/);
    writeFileSync(edited, '{}');
    read(await desk.dwp(['certificate', 'verify', edited], 1), /not valid: this is no certificate.*/);

    const record = (sql) => desk.wrangler(['d1', 'execute', 'DB', '--command', sql]);
    const [{ term, valid_until: until }] = (await desk.sandbox.databases.proxy.prepare('SELECT term, valid_until FROM certificates').all()).results;
    await record('UPDATE certificates SET valid_until = 1');
    read(await desk.dwp(['certificate', 'verify', file], 1), /not valid: it has expired.*/);
    await record(`UPDATE certificates SET valid_until = ${until}, term = ${term + 1}`);
    read(await desk.dwp(['certificate', 'verify', file], 1), /not valid: it is of term 2, and this is term 1.*/);
    await record('DELETE FROM certificates');
    read(await desk.dwp(['certificate', 'verify', file], 1), /not valid: this proxy has not recorded it.*/);

    read(await desk.dwp(['certificate', 'make', file]), /SHA-256 .*/);
    read(await desk.dwp(['certificate', 'verify', file]), /valid: of term 1.*/);
    // The gates rest on this one.
    const kept = await desk.sandbox.databases.proxy.prepare("SELECT digest FROM evidence WHERE kind = 'certificate'").first('digest');
    assert.equal(kept, JSON.parse(readFileSync(file, 'utf8')).sha256);
  },
};
