// The dead-letter queue, delivered to the built Worker by hand: what its messages
// would have done lies in the outbox, but for records that never got there.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { applyMigrations } from '../harness/sandbox/workers.mjs';
import { root, startProxy } from './support.mjs';

const intent = { id: 'i1', subject: 'alice0000001', interaction: null, operation: 'users.patch' };
const BODIES = [
  { kind: 'settle', intent, status: 200 },
  { kind: 'reconcile', subject: 'alice0000001' },
  { kind: 'of another version' },
];

let proxy;
before(async () => { proxy = await startProxy({ origin: 'http://127.0.0.1:9', migrate: false }); });
after(() => proxy.close());

async function deliver() {
  const worker = await proxy.workers.mf.getWorker('dual-write-proxy');
  const messages = BODIES.map((body, index) => ({ id: `m${index}`, timestamp: new Date(), attempts: 1, body }));
  const { outcome, explicitAcks, retryMessages } = await worker.queue('mirror-dead', messages);
  assert.equal(outcome, 'ok');
  return { acked: explicitAcks.sort(), retried: retryMessages };
}

test('a record waits a quarter of an hour for its database, a wake-up is done with', async () => {
  const { acked, retried } = await deliver();
  assert.deepEqual(acked, ['m1', 'm2']);
  assert.deepEqual(retried, [{ msgId: 'm0', delaySeconds: 900 }]);
  assert.equal(proxy.events('message.dead')[0].n_messages, 3);
});

test('the record lands in the outbox, where the sweep finds it', async () => {
  await applyMigrations({ sandbox: proxy.workers, databaseId: 'proxy-local', directory: path.join(root, 'schema/proxy') });
  const { acked, retried } = await deliver();
  assert.deepEqual([acked, retried], [['m0', 'm1', 'm2'], []]);
  const database = await proxy.workers.database('proxy-local');
  const { results } = await database.prepare('SELECT subject, status, settled IS NOT NULL AS settled, discharged_at FROM intents').all();
  assert.deepEqual(results, [{ subject: 'alice0000001', status: 200, settled: 1, discharged_at: null }]);
});
