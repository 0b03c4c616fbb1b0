// The read cache: for `read_cache_ms` a read answers what it answered before,
// although rows may have been changed underneath by another writer of the same
// D1. The API's own writes forget at once. ASSUMPTION: mgPass says only that it
// has a fast cache beside its database; the proxy has to cope with one.

const MAX_ENTRIES = 10_000;
const entries = new Map();
let generation = 0;

export async function readThrough(key, maxAgeMs, read) {
  const held = entries.get(key);
  if (held !== undefined && Date.now() < held.readAt + maxAgeMs) return held.value;
  const before = generation;
  const value = await read();
  // A write that finished during the read may be missing from it: do not keep it.
  if (maxAgeMs > 0 && before === generation) {
    if (entries.size >= MAX_ENTRIES) entries.clear();
    entries.set(key, { value, readAt: Date.now() });
  }
  return value;
}

export function forgetUser(userId) {
  generation += 1;
  entries.delete(`user:${userId}`);
  entries.delete(`identities:${userId}`);
}

export function forgetAll() {
  generation += 1;
  entries.clear();
}
