// What must be the same in several files, and what a file points to.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file) => readFileSync(path.join(root, file), 'utf8');
const tracked = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean);

test('one version of wasm-bindgen: the crate writes what the tool reads', () => {
  const versions = tracked
    .filter((file) => path.basename(file) === 'Cargo.toml')
    .flatMap((file) => [...read(file).matchAll(/^wasm-bindgen(?:-cli-support)? = "(.+)"/gm)].map(([, version]) => `${version} in ${file}`));
  assert.ok(versions.length >= 3, versions.join(', '));
  for (const version of versions) assert.match(version, /^=\d+\.\d+\.\d+ in /);
  assert.equal(new Set(versions.map((version) => version.split(' ')[0])).size, 1, versions.join(', '));
});

test('dependabot looks at every manifest', () => {
  const [, list] = /directories: (\[.*\])/.exec(read('.github/dependabot.yml'));
  const locked = tracked.filter((file) => path.basename(file) === 'Cargo.lock').map((file) => path.dirname(file));
  assert.deepEqual(JSON.parse(list).sort(), locked.map((folder) => (folder === '.' ? '/' : `/${folder}`)).sort());
});

test('links in the documents lead to files and headings that are there', () => {
  const anchor = (heading) => heading.toLowerCase().replace(/[^\w\- ]/g, '').trim().replaceAll(' ', '-');
  const documents = tracked.filter((file) => file.endsWith('.md') && existsSync(path.join(root, file)));
  let n = 0;
  for (const file of documents) {
    for (const [, target] of read(file).replace(/```[^]*?```/g, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [name, fragment] = target.split('#');
      const to = name === '' ? file : path.join(path.dirname(file), name);
      assert.ok(existsSync(path.join(root, to)), `${file}: ${target}`);
      if (fragment !== undefined) {
        const headings = [...read(to).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchor(heading));
        assert.ok(headings.includes(fragment), `${file}: ${target}`);
      }
      n += 1;
    }
  }
  assert.ok(n > 10, `${n}`);
});

test('every command of the package is in CONTRIBUTING.md, and it names no other', () => {
  const commands = Object.keys(JSON.parse(read('package.json')).scripts);
  const named = [...read('CONTRIBUTING.md').matchAll(/^\| `npm (?:run )?([\w:-]+)/gm)].map(([, name]) => name);
  assert.deepEqual([...new Set(named)].sort(), [...commands].sort());
});
