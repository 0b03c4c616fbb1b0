// One stand-in on real workerd, migrated, with a store of its own that goes with it.

import { fileURLToPath } from 'node:url';

import { freePort } from '../../../sandbox/machine.mjs';
import { startWorkers } from '../../../sandbox/workers.mjs';
import { scratch } from '../../../sandbox/scratch.mjs';
import { migrateMgpass } from '../main.mjs';

export async function startStandIn(vars = {}) {
  const { directory: persistTo, remove } = scratch('mgpass-standin');
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const sandbox = await startWorkers({
    persistTo,
    workers: [{
      name: 'mgpass-standin', config: fileURLToPath(new URL('../wrangler.toml', import.meta.url)), port,
      entrypoints: { Control: 0 }, vars: { ISSUER: issuer, ...vars },
    }],
    onLog: (line) => console.error(`worker: ${line}`),
  });
  await migrateMgpass(sandbox);
  return {
    sandbox,
    issuer,
    control: sandbox.workers['mgpass-standin'].entrypoints.Control.url,
    db: await sandbox.database('mgpass-local'),
    async close() {
      await sandbox.dispose();
      remove();
    },
  };
}
