// What Logto's own listing of users costs, by depth: the very statements that it runs
// for a page (contract 6.3: newest first, LIMIT and OFFSET, and a count for
// Total-Number), on a real PostgreSQL with Logto's schema. An import, a walk and a
// proof of equality each read all pages once.
//
// Beside it the same with an index on the order, which Logto's schema does not have
// and an operator may add (docs/reference.md).
//
// Skipped where there is no PostgreSQL (scripts/postgres.mjs).

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { findPostgres, seedLogto, startPostgres } from '../../../scripts/postgres.mjs';
import { median, table } from './statistics.mjs';

const PAGE = 100;
const COLUMNS = 'id, username, primary_email, primary_phone, name, avatar, custom_data, identities, last_sign_in_at, created_at, updated_at, profile, application_id, is_suspended';
const FULL = { sizes: [1_000, 10_000, 100_000], rounds: 5 };
const QUICK = { sizes: [1_000], rounds: 2 };

export async function run({ quick, print }) {
  if (findPostgres() === undefined) {
    print('listing: skipped, there is no PostgreSQL here (Debian: apt-get install postgresql)\n');
    return { skipped: true };
  }
  const { sizes, rounds } = quick ? QUICK : FULL;
  // Not below the scratch of the others: PostgreSQL may run as another user.
  const directory = mkdtempSync(path.join(tmpdir(), 'listing-'));
  const postgres = await startPostgres(directory);
  try {
    await seedLogto(postgres.url);
    const figures = [];
    for (const users of sizes) {
      await populate(postgres, users);
      await postgres.sql('DROP INDEX IF EXISTS users_by_creation;');
      const plain = await measure(postgres, users, rounds);
      await postgres.sql('CREATE INDEX users_by_creation ON users (tenant_id, created_at DESC); ANALYZE users;');
      figures.push({ ...plain, indexed: await measure(postgres, users, rounds) });
    }
    const first = figures[0].middle_ms;
    print('Logto\'s listing by depth: time of one page in PostgreSQL, and of all pages; a page in the middle of the smallest is 1\n');
    print(table([
      ['users', 'first page', 'middle', 'last page', 'count', 'all pages', 'a user', 'with an index: last page', 'all pages', 'a user'],
      ...figures.map(({ users, first_ms, middle_ms, last_ms, count_ms, pass_ms, indexed }) => [
        users.toLocaleString('en'),
        ...[first_ms, middle_ms, last_ms, count_ms, pass_ms].map((ms) => (ms / first).toFixed(1)),
        (pass_ms / first / users).toFixed(3),
        (indexed.last_ms / first).toFixed(1),
        (indexed.pass_ms / first).toFixed(1),
        (indexed.pass_ms / first / users).toFixed(3),
      ]),
    ]));
    print('');
    return { sizes: figures };
  } finally {
    await postgres.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

function populate({ sql }, users) {
  return sql(`
    DELETE FROM users WHERE tenant_id = 'default';
    INSERT INTO users (tenant_id, id, username, primary_email, name, custom_data, created_at)
    SELECT 'default', lpad(n::text, 12, 'u'), 'user_' || n, 'user' || n || '@example.test', 'User ' || n,
      jsonb_build_object('plan', 'free', 'note', repeat('x', n % 300)), now() - (n || ' minutes')::interval
    FROM generate_series(1, ${users}) n;
    ANALYZE users;
  `);
}

async function measure({ sql }, users, rounds) {
  const pages = Math.ceil(users / PAGE);
  const page = (number) => `SELECT ${COLUMNS} FROM users WHERE tenant_id = 'default' ORDER BY created_at DESC LIMIT ${PAGE} OFFSET ${(number - 1) * PAGE};`;
  // Every so many pages stand for their neighbours.
  const sampled = Array.from({ length: 20 }, (_, index) => 1 + Math.floor((index * (pages - 1)) / 19));
  const time = async (statement) => median(await timings(sql, statement, rounds));
  const times = [];
  for (const number of sampled) times.push(await time(page(number)));
  const count_ms = await time("SELECT count(*) FROM users WHERE tenant_id = 'default';");
  const mean = times.reduce((sum, ms) => sum + ms, 0) / times.length;
  return {
    users,
    first_ms: times[0],
    middle_ms: times[10],
    last_ms: times.at(-1),
    count_ms,
    pass_ms: pages * (mean + count_ms),
  };
}

// In PostgreSQL itself, without the way there.
async function timings(sql, statement, rounds) {
  const printed = await sql(`EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ${statement}\n`.repeat(rounds));
  return [...printed.matchAll(/"(Planning|Execution) Time": ([\d.]+)/g)]
    .reduce((sums, [, , ms], index) => {
      if (index % 2 === 0) sums.push(0);
      sums[sums.length - 1] += Number(ms);
      return sums;
    }, []);
}
