// Rate limits, counted per minute of the clock as documented: Retry-After is
// the time to the end of that minute.

import { ApiError } from './http.mjs';

const MINUTE_MS = 60_000;
const counters = new Map();
let countedMinute = 0;

export function takeFromLimit(key, perMinute) {
  const now = Date.now();
  const minute = Math.floor(now / MINUTE_MS);
  if (minute !== countedMinute) {
    counters.clear();
    countedMinute = minute;
  }
  const used = (counters.get(key) ?? 0) + 1;
  counters.set(key, used);
  if (used <= perMinute) return;
  const reset = ((minute + 1) * MINUTE_MS) / 1000;
  throw new ApiError(429, 'rate_limit_exceeded', 'Too many requests', {
    'X-RateLimit-Limit': String(perMinute),
    'X-RateLimit-Remaining': '0',
    'X-RateLimit-Reset': String(reset),
    'Retry-After': String(Math.max(1, Math.ceil(reset - now / 1000))),
  });
}
