// Where tests and drills keep what nobody needs afterwards. D1 and KV wait for the disk at
// each write, so it is memory where the machine has room for it (/dev/shm), else the folder
// for temporary files.

import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const MEMORY = '/dev/shm';
const ROOM_BYTES = 2 ** 30;
const MADE = /^dual-write-(\d+)-/;

function base() {
  try {
    accessSync(MEMORY, constants.W_OK);
    const { bavail, bsize } = statfsSync(MEMORY);
    if (bavail * bsize >= ROOM_BYTES) return MEMORY;
  } catch {
    // There is none.
  }
  return tmpdir();
}

const lives = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** What a process left that was killed. */
function tidy(place) {
  for (const name of readdirSync(place)) {
    const pid = MADE.exec(name)?.[1];
    if (pid !== undefined && !lives(Number(pid))) rmSync(path.join(place, name), { recursive: true, force: true });
  }
}

const made = new Set();
const remove = (directory) => {
  made.delete(directory);
  rmSync(directory, { recursive: true, force: true });
};
process.once('exit', () => made.forEach(remove));

/** An empty folder, gone when this process ends; `remove()` sooner. */
export function scratch(name = 'test') {
  const place = base();
  tidy(place);
  const directory = mkdtempSync(path.join(place, `dual-write-${process.pid}-${name}-`));
  made.add(directory);
  return { directory, remove: () => remove(directory) };
}

/** The same, or `directory` itself, emptied, for whoever wants to look into it. */
export function scratchOr(directory, { keep }) {
  if (!keep) return scratch(path.basename(directory));
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  return { directory, remove() {} };
}
