// A throw-away PostgreSQL with Logto's own schema, seeded by Logto's own command
// line, for what only the real database can show. Installs nothing: PostgreSQL must
// be there (Debian: apt-get install postgresql); npx fetches @logto/cli into npm's
// own cache.
import { spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const LOGTO_CLI = '@logto/cli@1.40.1';
const root = fileURLToPath(new URL('..', import.meta.url));

// stdout and stderr apart; stdin closed, so that nothing waits for an answer. Not
// the blocking way: what is called may ask servers of this very process.
export async function run(command, args, { input = '', env = {}, isTolerated = false } = {}) {
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, timeout: 300_000 });
  child.stdin.end(input);
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve, reject) => child.on('error', reject).on('close', resolve)),
  ]);
  if (status !== 0 && !isTolerated) throw new Error(`${command} ${args[0]} failed:\n${stderr.slice(-2_000)}`);
  return { stdout, stderr, status };
}

// The folder of PostgreSQL's programs, or undefined.
export function findPostgres() {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').sort((a, b) => b - a) : [];
  const folders = [...versions.map((version) => `/usr/lib/postgresql/${version}/bin`), ...(process.env.PATH ?? '').split(':')];
  return folders.find((folder) => existsSync(`${folder}/initdb`) && existsSync(`${folder}/pg_ctl`));
}

// PostgreSQL refuses to run as root: then it runs as the user that its package made.
function asOwner(command, args) {
  if (process.getuid() !== 0) return run(command, args);
  return run('runuser', ['-u', 'postgres', '--', command, ...args]);
}

// Its files go below `directory`, which the caller removes after stop().
export async function startPostgres(directory) {
  const bin = findPostgres();
  if (bin === undefined) throw new Error('PostgreSQL is missing: initdb and pg_ctl are neither in /usr/lib/postgresql nor on PATH (Debian: apt-get install postgresql)');
  const data = path.join(directory, 'postgres');
  mkdirSync(data, { mode: 0o700 });
  if (process.getuid() === 0) {
    const id = spawnSync('id', ['-u', 'postgres'], { encoding: 'utf8' });
    if (id.status !== 0) throw new Error('there is no user "postgres" to run PostgreSQL as; run this as any user but root');
    chownSync(directory, Number(id.stdout), -1);
    chownSync(data, Number(id.stdout), -1);
  }
  const port = await freePort();
  await asOwner(`${bin}/initdb`, ['-D', data, '-U', 'logto', '-A', 'trust', '-N']);
  const options = `-p ${port} -k ${data} -c listen_addresses=127.0.0.1 -c fsync=off`;
  // Its output goes to the log: an inherited pipe would keep this process waiting.
  await asOwner(`${bin}/pg_ctl`, ['-D', data, '-w', '-l', `${data}/log`, '-o', options, 'start']);
  const url = `postgres://logto@127.0.0.1:${port}/logto`;
  return {
    url,
    stop: () => asOwner(`${bin}/pg_ctl`, ['-D', data, '-m', 'immediate', 'stop']),
    // What psql prints, without headings.
    sql: async (statements) => (await run(`${bin}/psql`, ['-d', url, '-At', '-v', 'ON_ERROR_STOP=1', '-f', '-'], { input: statements })).stdout,
  };
}

// Logto's command line on that database, seeded.
export async function seedLogto(url) {
  const logto = async (...args) => (await run('npx', ['--yes', LOGTO_CLI, ...args], { env: { DB_URL: url, CI: '1' } })).stdout;
  await logto('db', 'seed');
  return logto;
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
