import assert from 'node:assert/strict';
import { test } from 'node:test';

import { measure, overBudget } from './budget.mjs';

const budget = { raw: 2_000, gzip: 1_000 };

test('at its budget the wasm is within it, a byte more is not, and each size counts', () => {
  assert.deepEqual(overBudget({ raw: 2_000, gzip: 1_000 }, budget), []);
  assert.deepEqual(overBudget({ raw: 2_001, gzip: 1_000 }, budget), ['the wasm is 3 kB raw, 1 kB over its budget of 2 kB']);
  assert.equal(overBudget({ raw: 2_001, gzip: 5_000 }, budget).length, 2);
});

test('sizes are those of the bytes', () => {
  const { raw, gzip } = measure(Buffer.alloc(10_000));
  assert.equal(raw, 10_000);
  assert.ok(gzip > 20 && gzip < 100, `${gzip}`);
});
