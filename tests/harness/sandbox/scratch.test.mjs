import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { scratch } from './scratch.mjs';

const module = fileURLToPath(new URL('scratch.mjs', import.meta.url));
const script = (then) => ['--input-type=module', '-e', `import { scratch } from ${JSON.stringify(module)}; console.log(scratch('other').directory); ${then}`];

test('a scratch folder is empty, its own, and gone when asked', () => {
  const [one, other] = [scratch('a'), scratch('a')];
  assert.notEqual(one.directory, other.directory);
  writeFileSync(path.join(one.directory, 'file'), 'x');
  one.remove();
  assert.deepEqual([existsSync(one.directory), existsSync(other.directory)], [false, true]);
  other.remove();
});

test('it goes with its process, however that ends', async () => {
  const { stdout } = spawnSync(process.execPath, script('process.exit(3);'), { encoding: 'utf8' });
  assert.equal(existsSync(stdout.trim()), false);

  const killed = spawn(process.execPath, script('setInterval(() => {}, 1_000);'));
  const [line] = await once(killed.stdout.setEncoding('utf8'), 'data');
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  assert.equal(existsSync(line.trim()), true);
  // By whoever comes next.
  scratch('next').remove();
  assert.equal(existsSync(line.trim()), false);
});
