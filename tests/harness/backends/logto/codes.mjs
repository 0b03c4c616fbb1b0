// Verification codes. Instead of being sent they are kept for the control port: GET /codes.

import { randomInt } from 'node:crypto';
import { RequestError } from './errors.mjs';

const KEPT = 1_000;
const TTL_MS = 600_000;
const MAX_TRIES = 10;

export function createCodes() {
  const sent = [];
  const live = new Map();
  let next = 0;

  return {
    /** Newest last. */
    list: () => sent,
    /** Returns a handle; `silent` codes are never sent, so nobody can know them. */
    issue(to, { type, silent = false }) {
      const code = String(randomInt(1_000_000)).padStart(6, '0');
      next += 1;
      live.set(next, { code, expiresAt: Date.now() + TTL_MS, tries: 0 });
      if (!silent) sent.push({ at: Date.now(), to, type, code });
      if (sent.length > KEPT) sent.shift();
      if (live.size > KEPT) live.delete(live.keys().next().value);
      return next;
    },
    check(handle, expectedTo, to, code) {
      const entry = live.get(handle);
      if (!entry || entry.expiresAt <= Date.now()) throw new RequestError('verification_code.not_found', 400);
      if (entry.tries >= MAX_TRIES) throw new RequestError('verification_code.exceed_max_try', 400);
      if (expectedTo !== to || entry.code !== code) {
        entry.tries += 1;
        throw new RequestError('verification_code.code_mismatch', 400);
      }
      live.delete(handle);
    },
  };
}
