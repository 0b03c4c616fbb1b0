// What the drill makes of each form of command that the book may hold: it is run as it
// stands, mapped to what one machine has in its place, or cannot be run here. A form that
// is not in this table is unknown, and fails the drill.

const RUN = 'run';
const MAPPED = 'mapped';
const ELSEWHERE = 'elsewhere';

const local = (text) => text.replace(' --remote', ' --local');

/** form, what becomes of it, how or why; `act` is a member of the desk (desk.mjs), else the shell. */
const FORMS = [
  [/^export (?<name>[A-Z_]+)=(?<value>\S+)$/, RUN, 'in the shell that types all of it', { act: 'export' }],
  [/^read -rs (?<name>[A-Z_]+) && export \1$/, MAPPED, 'the value is the one of the table below', { act: 'ask' }],
  [/^dwp /, RUN, 'the built command, against the Worker in workerd'],
  [/^[A-Z_]+=\S+ dwp /, RUN, 'the built command, against the Worker in workerd'],
  [/^curl /, RUN, 'over HTTP, on loopback'],
  [/^rm [\w. -]+$/, RUN, 'in the folder of the drill'],
  [/^npm run setup$/, ELSEWHERE, 'sets this machine up; `npm run runbook` begins with it'],
  [/^npx wrangler login$/, ELSEWHERE, 'needs an account; everything below is local'],
  [/^cargo install --path crates\/dwp --locked$/, MAPPED, '`npm run runbook` has built it; it is the first `dwp` on the path', { act: 'nothing' }],
  [/^npx wrangler (?<kind>kv namespace|d1|queues) create (?<name>\S+)$/, MAPPED, 'wrangler makes none locally: noted as created, held to wrangler.toml at the deploy', { act: 'create' }],
  [/^npx wrangler d1 migrations apply \S+ --remote$/, MAPPED, 'wrangler, `--local`', { as: local }],
  [/^npx wrangler d1 execute \S+ --remote --command ".*"$/s, MAPPED, 'wrangler, `--local`', { as: local }],
  [/^npx wrangler kv key (put|delete) --remote /, MAPPED, 'wrangler, `--local`', { as: local }],
  [/^npx wrangler deploy$/, MAPPED, 'wrangler, `--dry-run`; then the Worker in workerd gets the variables of wrangler.toml', { act: 'deploy' }],
  [/^npx wrangler secret put (?<name>[A-Z_]+)$/, MAPPED, 'a variable of the Worker in workerd, a version of it for each block', { act: 'secret' }],
  [/^npx wrangler delete (?<name>\S+)$/, MAPPED, 'noted as deleted; at the end nothing that was created may be left', { act: 'remove' }],
  [/^npx wrangler (?<kind>d1|queues) delete (?<name>\S+)$/, MAPPED, 'noted as deleted', { act: 'remove' }],
  [/^npx wrangler (?<kind>kv namespace) delete --binding (?<name>\S+)$/, MAPPED, 'noted as deleted', { act: 'remove' }],
  [/^npx wrangler tail( .*)?$/, ELSEWHERE, 'reads the log of a deployed Worker; the drill keeps the log of workerd'],
  [/^npx @logto\/cli db config get oidc\.privateKeys --db \S+ > (?<file>\S+)$/, MAPPED, 'the keys of the Logto stand-in, in the form of that export (`npm run logto-keys` runs Logto\'s own command)', { act: 'exportKeys' }],
];

/** {kind, how, form, text, act?, groups}; kind `unknown` when no form fits. */
export function classify(text) {
  for (const [form, kind, how, { act, as = (same) => same } = {}] of FORMS) {
    const found = form.exec(text);
    if (found) return { kind, how, form: form.source, text: as(text), act, groups: found.groups ?? {} };
  }
  return { kind: 'unknown' };
}

/** Stores that wrangler.toml binds and that nobody created, and created ones that it does not bind. */
export function storesAmiss(created, config) {
  const wanted = new Set([
    ...config.kv_namespaces.map(({ binding }) => `kv namespace ${binding}`),
    // Two are there before the proxy: mgPass's own, and the one that points come from.
    ...config.d1_databases.filter(({ binding }) => !['MGPASS_DB', 'REWARDS_DB'].includes(binding)).map(({ database_name: name }) => `d1 ${name}`),
    ...config.queues.producers.map(({ queue }) => `queues ${queue}`),
    ...config.queues.consumers.flatMap(({ queue, dead_letter_queue: dead }) => [queue, ...(dead ? [dead] : [])]).map((queue) => `queues ${queue}`),
  ]);
  return {
    missing: [...wanted].filter((store) => !created.has(store)),
    unbound: [...created].filter((store) => !wanted.has(store)),
  };
}
