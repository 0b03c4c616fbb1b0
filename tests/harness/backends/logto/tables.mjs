// Where the stand-in keeps its rows: maps in memory, and with a file also there, so that
// a restart finds what was. A change is a line [table, key, row], or [table, key] for one
// that is gone, written before the caller goes on: a killed process has lost nothing but
// perhaps its last line. A start rewrites the file.

import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';

// Rows are replaced and never changed in place: only what goes through set() is kept.
class KeptMap extends Map {
  #write;
  constructor(rows, write) {
    super();
    for (const [key, row] of rows) super.set(key, row);
    this.#write = write;
  }
  set(key, row) {
    super.set(key, row);
    this.#write([key, row]);
    return this;
  }
  delete(key) {
    const isThere = super.delete(key);
    if (isThere) this.#write([key]);
    return isThere;
  }
}

/** {isNew, open(name) => Map, names(), close()}; without a file in memory only. */
export function openTables(file) {
  if (file === undefined) return { isNew: true, open: () => new Map(), names: () => [], close() {} };
  const isNew = !existsSync(file);
  const found = isNew ? new Map() : read(file);
  const lines = [...found].flatMap(([name, rows]) => [...rows].map(([key, row]) => `${JSON.stringify([name, key, row])}\n`));
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, lines.join(''), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  const descriptor = openSync(file, 'a');
  return {
    isNew,
    open: (name) => new KeptMap(found.get(name) ?? [], (change) => writeSync(descriptor, `${JSON.stringify([name, ...change])}\n`)),
    names: () => [...found.keys()],
    close: () => closeSync(descriptor),
  };
}

function read(file) {
  const tables = new Map();
  const lines = readFileSync(file, 'utf8').split('\n');
  // After the last line end: nothing, or a line that was cut short.
  lines.pop();
  for (const [index, line] of lines.entries()) {
    let change;
    try {
      change = JSON.parse(line);
    } catch {
      throw new Error(`${file}: line ${index + 1} cannot be read`);
    }
    const [name, key, row] = change;
    if (!tables.has(name)) tables.set(name, new Map());
    if (row === undefined) tables.get(name).delete(key);
    else tables.get(name).set(key, row);
  }
  return tables;
}
