// What a person fills in: hosts, ids, secrets, days. One table, printed with the rest.

const DAY_MS = 86_400_000;
const SECOND_MS = 1_000;
const later = (ms) => new Date(Date.now() + ms).toISOString().replace(/\.\d+/, '');

export const OPERATOR = 'anna';
export const APP = { id: 'runbookapp0000000000', secret: 'runbook-secret-app' };
export const REVERSE = { id: 'runbookback000000000', secret: 'runbook-secret-back' };
export const PROBE = { user: 'dwpprobe0001', email: 'dwp.probe@example.test' };

/** Secrets, as `wrangler secret put` asks for them. */
export const SECRETS = {
  LOGTO_CLIENT_SECRET: 'sample-secret-m2m',
  MGPASS_CLIENT_SECRET: 'mgpass-proxy-secret',
  ORIGIN_SECRET: 'what-logtos-origin-takes-at-first',
  SUBJECT_KEY: 'a-key-for-log-lines',
  ADMIN_TOKEN: 'operator-of-the-sandbox',
  LOGTO_WEBHOOK_SECRET: 'a-key-of-logtos-webhook',
  MGPASS_WEBHOOK_SECRET: 'a-key-of-mgpass-webhook',
  PROBE_PASSWORD: 'a probe signs in & out',
  PROBE_CLIENT_SECRET: 'mgpass-newsroom-secret',
  PIN_SECRET: 'a-key-for-the-pin-of-the-runbook',
  HANDOVER_SECRET: 'what-logtos-origin-takes-from-now-on',
  REVERSE_CLIENT_SECRET: REVERSE.secret,
};

/** For each `"..."` in the book's `[vars]`. */
export const VARIABLES = {
  LOGTO_CLIENT_ID: 'sandboxm2m00000000000',
  MGPASS_AUDIENCES: 'app_proxy,app_console',
  MGPASS_CLIENT_ID: 'app_proxy',
  REVERSE_CLIENT_ID: REVERSE.id,
  PROBE_USER: PROBE.user,
  PROBE_EMAIL: PROBE.email,
  PROBE_CLIENT_ID: 'app_newsroom',
  PROBE_REDIRECT_URI: 'http://127.0.0.1:5999/callback',
};

/** [what the book says, what is typed here, why another]; the first that fits a place is taken. */
export function valuesOf({ proxy, logto, mgpass }) {
  return [
    ['https://auth.example.com', proxy, 'the host of the route'],
    ['https://logto-origin.example.com', logto, 'Logto behind the proxy'],
    ['https://auth.mgpass.net', mgpass, 'mgPass'],
    ['1,5,10,25,50,100', '40,70,100', 'the steps: among so few people 1 % is nobody'],
    ['6 of 6 steps', '3 of 3 steps', 'so many steps then'],
    ['30m', '2s', 'how long a step of the ramp is held'],
    ['--min-reads 1000', '--min-reads 20', 'reads of mgPass before the next step'],
    ['app_...', 'app_newsroom', 'a client of mgPass with a secret'],
    ['MGPASS_CLIENT_SECRET=...', 'MGPASS_CLIENT_SECRET=mgpass-newsroom-secret', 'its secret'],
    ['age -r age1...', 'gzip -c', 'the program that encrypts'],
    ['2027-03-01T00:00:00Z', later(90 * DAY_MS), 'the sunset of Logto\'s keys'],
    ['2026-12-20T10:00:00Z', () => later(-2 * SECOND_MS), 'when Logto was left alone'],
    ['2027-03-31', later(120 * DAY_MS).slice(0, 10), 'the end of Logto\'s refresh tokens'],
    ['NAME', 'Anna', 'who says so'],
  ];
}

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** The book's words with the table's values in place. */
export function filled(text, values) {
  const places = new RegExp(values.map(([from]) => (/^\w+$/.test(from) ? `\\b${from}\\b` : escaped(from))).join('|'), 'g');
  return text.replace(places, (found) => {
    const [, to] = values.find(([from]) => from === found);
    return typeof to === 'function' ? to() : to;
  });
}
