// The operators' page: signs in, asks the proxy again and again, draws, and carries out
// what is safe after a second confirmation. The token lives in a variable of this module:
// it is in no address, no storage, and no element once it was read.

const STATUS_MS = 10_000;
const HISTORY_MS = 30_000;
let token = '';
let actor = '';
let hours = 1;
let asked_at = { status: 0, history: 0 };
let good_at = 0;
let turn = 0;
// Asked for by somebody, and not yet done: a look that a later one overtook passes it on.
let owes_all = false;
let said_at = 0;

class Refused extends Error {}
// Signed out meanwhile: what comes now is shown to nobody.
class Gone extends Error {}
const is_over = (error) => error instanceof Refused || error instanceof Gone;

async function ask(path, { method = 'GET', query = {} } = {}) {
  const given = token;
  const search = new URLSearchParams(query).toString();
  const answer = await fetch(`/_proxy/${path}${search && `?${search}`}`, {
    method, cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer',
    headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(20_000),
  });
  if (token !== given) throw new Gone();
  if (answer.status === 401) throw new Refused('The proxy did not take this token.');
  const body = await answer.json().catch(() => ({}));
  if (token !== given) throw new Gone();
  if (!answer.ok) {
    const error = new Error(body.detail ?? body.message ?? body.title ?? `The proxy answered ${answer.status}.`);
    error.status = answer.status;
    throw error;
  }
  return body;
}

const say = (text) => {
  $('said').textContent = text;
  said_at = Date.now();
};

/** A button that asks before it does anything. */
function act({ key, name, label, title, says, did, calls }) {
  return el('button', { type: 'button', 'data-key': key, 'aria-label': name, onclick: () => confirm_first({ title, says, label, did, calls }) }, label);
}

let wanted = null;
function confirm_first(order) {
  wanted = order;
  $('ask-h').textContent = order.title;
  $('ask-p').textContent = order.says;
  $('ask-yes').textContent = `Yes: ${order.label.toLowerCase()}`;
  $('ask').showModal();
  $('ask-no').focus();
}

async function carry_out({ did, calls }) {
  say(`${did}: asked for.`);
  try {
    let query = { ...calls.query, ...(actor && calls.path.startsWith('ramp') ? { actor } : {}) };
    let n = 0;
    for (;;) {
      const answer = await ask(calls.path, { method: 'POST', query });
      if (answer.failure) throw new Error(`It could not be done: ${answer.failure}.`);
      n += answer.subjects ?? 0;
      if (!calls.pages || !answer.next) break;
      query = { ...query, after: answer.next };
    }
    say(`${did}: done${calls.pages ? `, ${plural(n, 'user', 'users')}` : ''}.`);
  } catch (error) {
    if (error instanceof Refused) return leave(error.message);
    if (error instanceof Gone) return;
    say(`${did}: not done. ${error.message}`);
  }
  await look();
}

function show_status(status) {
  skew_ms = status.now - Date.now();
  $('where').hidden = $('tools').hidden = false;
  draw('where', [status.stage, status.authority], () => where(status));
  const sentence = verdict_of(status.problems);
  if ($('verdict').textContent !== sentence) $('verdict').textContent = sentence;
  $('verdict').className = status.problems.length === 0 ? 'good' : '';
  document.title = `${status.problems.some(({ severity }) => severity !== 'notice') ? `(!) ${sentence} ` : ''}${stage_of(status)} · Dual-write proxy`;
  draw('problem-list', status.problems, problems_shown);
  draw('tiles', [status.reads, status.outbox, status.parked, status.report, status.verdicts?.[0], status.walk, status.passwords, status.cron_at, status.problems], () => tiles(status));
  draw('ramp', status.ramp, (plan) => ramp(plan, act));
  draw('flags', status.flags, flags);
  draw('parked', status.outbox?.failure ? status.outbox : status.parked, (list) => failed(list) || parked(list, act));
  draw('jobs', status.jobs, (list) => jobs(list, act));
  draw('findings', { found: status.found, findings: status.findings }, findings);
  draw('verdicts', status.verdicts, verdicts);
}

async function checks() {
  try {
    const { checks: list, is_green } = await ask('checklist');
    draw('checklist', { checks: list, is_green }, checklist);
  } catch (error) {
    if (is_over(error)) throw error;
    const text = error.status === 404 ? 'No checklist in this version.' : `Could not be read: ${error.message}`;
    draw('checklist', text, empty);
  }
}

/** From the hand-over on; before it nothing of it is asked for. */
async function leaving({ authority }) {
  const is_due = ['mgpass', 'alone'].includes(authority?.holder);
  $('leaving').hidden = !is_due;
  if (!is_due) return;
  const [{ gates }, plan, { dependencies }] = await Promise.all([ask('authority'), ask('cleanup'), ask('dependencies')]);
  const left = plan.steps.length > 0 ? (await ask('cleanup/verify')).findings : null;
  // Its clock alone is no change.
  draw('cleanup', { gates, plan: { ...plan, now: 0 }, needs: dependencies.filter(({ kind }) => !OWN_KINDS.includes(kind)).slice(0, 20), left }, cleanup);
}

/** Each part by itself: one that cannot be had hides no other. */
async function part(id, work) {
  try {
    await work();
  } catch (error) {
    if (is_over(error)) throw error;
    if (!drawn[id]) draw(id, error.message, (text) => empty(`Could not be read: ${text}`));
  }
}

async function look({ all = true } = {}) {
  const mine = (turn += 1);
  asked_at.status = Date.now();
  owes_all ||= all;
  try {
    const status = await ask('status');
    if (mine !== turn) return;
    good_at = Date.now();
    $('stale').hidden = true;
    $('door').hidden = true;
    $('desk').hidden = false;
    show_status(status);
    if (owes_all || Date.now() - asked_at.history >= HISTORY_MS) {
      owes_all = false;
      asked_at.history = Date.now();
      await Promise.all([
        part('plots', async () => {
          const view = await ask('history', { query: { hours } });
          if (view.hours === hours) { draw_plots(view); drawn.plots = 'drawn'; }
        }),
        part('history', async () => draw('history', (await ask('flags/history', { query: { limit: 50 } })).changes ?? [], history)),
        checks(),
        part('cleanup', () => leaving(status)),
      ]);
    }
  } catch (error) {
    if (error instanceof Gone || !token) return;
    if (error instanceof Refused) return leave(error.message);
    if (mine !== turn) return;
    if (good_at === 0) return leave(`The proxy could not be asked: ${error.message}`);
    const text = `No answer since ${clock(good_at)} UTC (this machine's clock): what is shown is of then. It is asked again every ${STATUS_MS / 1000} s.`;
    if ($('stale').textContent !== text) $('stale').textContent = text;
    $('stale').hidden = false;
  }
}

/** Forgets the token and what it showed. */
function leave(why = 'Signed out.') {
  token = '';
  turn += 1;
  good_at = 0;
  drawn = {};
  course = cursor = null;
  if ($('ask').open) $('ask').close();
  for (const id of ['where', 'verdict', 'age', 'tiles', 'problem-list', 'plots', 'plot-rows', 'readout', 'ramp', 'checklist', 'cleanup', 'flags', 'parked', 'jobs', 'findings', 'verdicts', 'history']) $(id).replaceChildren();
  $('cursor').removeAttribute('aria-valuetext');
  $('desk').hidden = $('where').hidden = $('tools').hidden = $('stale').hidden = true;
  $('door').hidden = false;
  document.title = 'Dual-write proxy';
  say(why);
  $('token').focus();
}

$('door').addEventListener('submit', async (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  actor = $('actor').value.trim();
  $('token').value = '';
  if (!/^[\x21-\x7e]+$/.test(token)) return leave('That cannot be a token: it has characters that no token has.');
  say('');
  await look();
  if (token) $('main').focus({ preventScroll: true });
});
$('leave').addEventListener('click', () => leave());
$('look').addEventListener('click', () => look());
$('spans').addEventListener('change', (event) => {
  hours = Number(event.target.value);
  cursor = null;
  look();
});
$('ask-no').addEventListener('click', () => $('ask').close());
$('ask-yes').addEventListener('click', () => {
  $('ask').close();
  carry_out(wanted);
});
// A tab that is shown again out of the browser's memory must not be signed in.
addEventListener('pagehide', () => leave(''));
begin_plots();
setInterval(() => {
  if (!token) return;
  tick();
  if ($('said').textContent && Date.now() - said_at > 60_000) say('');
  $('age').textContent = good_at ? `updated ${dur(Date.now() - good_at)} ago` : '';
  if (!document.hidden && Date.now() - asked_at.status >= STATUS_MS) {
    look({ all: false });
  }
}, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden && token) look(); });
$('token').focus();
