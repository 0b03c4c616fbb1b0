// What `npm run dev` asks of the machine: free ports, files that changed, and whether the
// databases on disk are of the migrations in the tree.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';

/** The first of {name: port} that somebody listens on, as {name, port}. */
export async function findTakenPort(ports) {
  for (const [name, port] of Object.entries(ports)) {
    const isFree = await new Promise((resolve) => {
      const server = net.createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (!isFree) return { name, port };
  }
  return undefined;
}

/**
 * Looks at mtimes a few times a second, which works with every editor and on every file
 * system, and calls `onChange(files)`, one call at a time. What changes during a call
 * comes with the next one.
 */
export function watchFiles({ root, paths, onChange, everyMs = 300 }) {
  let before = look(root, paths);
  let isBusy = false;
  return setInterval(async () => {
    if (isBusy) return;
    const now = look(root, paths);
    const files = [...new Set([...before.keys(), ...now.keys()])].filter((file) => before.get(file) !== now.get(file));
    before = now;
    if (files.length === 0) return;
    isBusy = true;
    await onChange(files).finally(() => { isBusy = false; });
  }, everyMs);
}

function look(root, paths) {
  const found = new Map();
  const note = (file) => {
    const { mtimeMs, size } = statSync(path.join(root, file), { throwIfNoEntry: false }) ?? {};
    if (mtimeMs !== undefined) found.set(file, `${mtimeMs} ${size}`);
  };
  for (const name of paths) {
    const stat = statSync(path.join(root, name), { throwIfNoEntry: false });
    if (!stat?.isDirectory()) note(name);
    else for (const file of filesBelow(path.join(root, name))) note(path.join(name, file));
  }
  return found;
}

/** Editors put files of their own beside the one they write. */
function filesBelow(directory) {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !/^\.|~$|\.sw.$/.test(entry.name))
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)));
}

/**
 * An applied migration is never applied again, so databases whose migrations were edited
 * would be of another layout than the code. Returns what is wrong, or notes the
 * migrations of now beside the databases.
 */
export function recordSchema({ schema, state }) {
  const record = path.join(state, 'schema.json');
  const now = Object.fromEntries(filesBelow(schema).sort().map((file) => [file, digest(path.join(schema, file))]));
  if (existsSync(record)) {
    const applied = JSON.parse(readFileSync(record, 'utf8'));
    const changed = Object.keys(applied).find((file) => applied[file] !== now[file]);
    if (changed) return `schema/${changed} ${changed in now ? 'changed' : 'is gone'} since the databases in .wrangler/state were made.`;
  } else if (existsSync(path.join(state, 'v3/d1'))) {
    return 'The databases in .wrangler/state were made by another version.';
  }
  mkdirSync(state, { recursive: true });
  writeFileSync(record, `${JSON.stringify(now, null, 1)}\n`);
  return undefined;
}

function digest(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
