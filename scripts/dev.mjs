// The sandbox: the proxy on workerd before both stand-in backends, on fixed ports.
// State lies where wrangler keeps it, so `wrangler kv key put --local` works on it.
import { people, seedRewards } from '../tests/harness/sandbox/rewards.mjs';
import { PORTS, SECRETS, startSandbox } from '../tests/harness/sandbox/sandbox.mjs';

const sandbox = await startSandbox({
  persistTo: '.wrangler/state',
  ports: PORTS,
  tickMs: 10_000,
  logto: { seed: { users: people } },
  onLog: (line) => console.log(line),
}).catch((error) => {
  console.error(`dev: ${error.message}\ndev: are the ports ${Object.values(PORTS).join(', ')} free?`);
  process.exit(1);
});
await seedRewards(sandbox.databases.rewards);
const at = (port) => `http://127.0.0.1:${port}`;
console.log(`
proxy            ${at(PORTS.proxy)}        what applications talk to
Logto stand-in   ${at(PORTS.logto)}        counters and faults: ${at(PORTS.logtoControl)}
mgPass stand-in  ${at(PORTS.mgpass)}        counters and faults: ${at(PORTS.mgpassControl)}

Try, in another terminal (flags are seen within five seconds):

  curl -s ${at(PORTS.proxy)}/oidc/.well-known/openid-configuration
  npx wrangler kv key put --local --binding FLAGS stage dual_write
  npx wrangler kv key put --local --binding FLAGS read_percent 100
  TOKEN=$(curl -s -u sandboxm2m00000000000:sample-secret-m2m ${at(PORTS.proxy)}/oidc/token \\
    -d grant_type=client_credentials -d scope=all -d resource=https://default.logto.app/api | sed 's/.*access_token":"\\([^"]*\\).*/\\1/')
  curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' ${at(PORTS.proxy)}/api/users -d '{"username":"ama","customData":{"plan":"press"}}'
  npx wrangler d1 execute mgpass --local --command "SELECT id, name, metadata FROM users"
  curl -s -H 'Authorization: Bearer ${SECRETS.ADMIN_TOKEN}' ${at(PORTS.proxy)}/_proxy/status
  curl -s ${at(PORTS.mgpassControl)}/counters

Cron is ticked every ten seconds. Stop with Ctrl-C.
`);
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await sandbox.close();
    process.exit(0);
  });
}
