// The parts of the operators' page besides its plots: each takes what the proxy answered
// and gives elements. What is wrong the proxy says itself; here it is only shown.

// May break anywhere; names do not.
const long = (text) => el('code', { class: 'any' }, text);
const failed = (data) => data?.failure && empty(`Could not be read: ${data.failure}.`);

// Once mgPass is the authority the flag is no stage of the migration any more.
const stage_of = ({ stage, authority }) => (['mgpass', 'alone'].includes(authority?.holder) ? authority.stage : stage) ?? 'unknown';

function where(status) {
  const { authority } = status;
  const whose = { logto: 'Logto is the source of truth', mgpass: 'mgPass is the source of truth', draining: 'The source of truth is changing', returning: 'The source of truth is changing', alone: 'mgPass is the source of truth, and Logto is not asked any more' };
  return ['Stage ', el('strong', null, stage_of(status)), `. ${whose[authority?.holder] ?? 'The source of truth is not known'}`,
    ...(authority?.since ? [' since ', ago(authority.since)] : []), '.'];
}

function problems_shown(list) {
  return list.map(({ severity, code: name, since, what, do: todo }) => el('div', { class: `problem ${severity}` },
    tag(severity, severity), ' ', code(name), ...(since ? [' since ', ago(since)] : []),
    el('p', null, words(what)), todo && el('p', null, '→ ', words(todo))));
}

/** One sentence over the list; screen readers hear it when it changes. */
function verdict_of(problems) {
  const n = (severity) => problems.filter((problem) => problem.severity === severity).length;
  const parts = [[n('critical'), 'critical'], [n('warning'), n('warning') === 1 ? 'warning' : 'warnings'], [n('notice'), n('notice') === 1 ? 'notice' : 'notices']]
    .filter(([count]) => count > 0).map(([count, name]) => `${count} ${name}`);
  return parts.length === 0 ? 'Nothing is wrong.' : `${parts.join(', ')}.`;
}

function tiles(status) {
  const { reads = {}, outbox = {}, parked = [], report, cron_at: cron, verdicts, walk, passwords } = status;
  const is = (...codes) => status.problems.find((problem) => codes.includes(problem.code) && problem.severity !== 'notice')?.severity;
  const tile = (name, value, more, severity) => el('div', { class: severity }, el('dt', null, name), el('dd', null, value, more && el('small', null, more)));
  const side = (name, of) => tile(`${name}: failed reads`, pct(of?.failure_bps), of?.reads ? `of ${num(of.reads)}; p50 ${took(of.p50_ms)}, p95 ${took(of.p95_ms)}` : 'no reads in this window');
  const n_parked = parked.reduce((sum, { n }) => sum + n, 0);
  const verdict = Array.isArray(verdicts) ? verdicts[0] : undefined;
  return [
    tile('Reads at mgPass, asked', pct(reads.asked_bps), reads.allowed_bps === reads.asked_bps ? 'all of it allowed' : `${pct(reads.allowed_bps)} allowed by stage and brakes`, is('guard_stopped', 'kill_switch_on')),
    tile('Reads at mgPass, realised', pct(reads.realised_bps), `within ${dur(reads.window_ms)}`),
    tile('Users eligible at mgPass', num(reads.users?.ready), `of ${plural(reads.users?.mirrored, 'mirrored user', 'mirrored users')}`),
    side('Logto', reads.logto),
    side('mgPass', reads.mgpass),
    tile('Compared reads that differ', num(reads.mismatched), `of ${num(reads.compared)} compared`),
    tile('Writes waiting for mgPass', outbox.failure ? '?' : num(outbox.n_open), outbox.failure ?? (outbox.n_open ? `the oldest for ${dur(outbox.oldest_ms)}` : 'none'), is('backlog_old', 'mirror_paused', 'database_unavailable')),
    tile('Waiting for a person', num(n_parked), plural(parked.length, 'reason', 'reasons'), is('parked')),
    tile('Last comparison', report ? (report.is_equal === null ? report.state : report.is_equal ? 'equal' : 'not equal') : 'never', report?.finished_at ? [ago(report.finished_at)] : report && `${num(report.n_differing)} differ so far`, is('not_equal')),
    tile('Guard', verdict?.verdict ?? 'no verdict', verdict && [`${verdict.reason}, `, ago(verdict.at)], is('guard_stopped', 'stop_not_written')),
    tile('Walk', num(walk?.n_seen), walk ? [`seen in pass ${walk.pass}, `, ago(walk.moved_at)] : 'not begun', is('walk_silent')),
    tile('Passwords carried', num(passwords?.carried), passwords?.void_owed ? `${num(passwords.void_owed)} to be voided` : 'none to be voided', is('old_password_may_live')),
    tile('Cron', cron ? ago(cron) : 'never', 'its last run', is('cron_silent')),
  ];
}

function flags(list) {
  if (failed(list)) return failed(list);
  const rank = { refused: 0, unknown: 0, waiting: 1, set: 2 };
  const rows = list.filter(({ state }) => state !== 'absent').sort((a, b) => rank[a.state] - rank[b.state])
    .map(({ key, value, state, code: why, since }) => ({
      bad: rank[state] === 0,
      cells: [code(key), value === null ? '(not read)' : long(value), [rank[state] === 0 ? tag('critical', state) : state, ...(why ? [' ', code(why)] : [])], since ? ago(since) : ''],
    }));
  const absent = list.filter(({ state }) => state === 'absent').map(({ key }) => key);
  return [
    rows.length ? table('Flags', ['flag', 'value', 'state', 'since'], rows) : empty('No flag is set. Each one that is written to KV will show here, refused ones first.'),
    absent.length ? el('p', { class: 'soft' }, `Absent: ${absent.join(', ')}.`) : null,
  ];
}

function parked(list, act) {
  if (list.length === 0) return empty('Nobody. Users whom mirror or import cannot carry over will show here, by reason.');
  const rows = list.map(({ list: of, dry_run: dry, reason, n, since }) => [
    code(reason), num(n), of === 'mirror' ? 'mirror' : `import of ${of}${dry ? ', dry run' : ''}`, ago(since),
    of === 'mirror' ? act({
      key: `replay ${reason}`, name: `Replay ${reason}`, label: 'Replay', title: `Replay ${plural(n, 'user', 'users')}?`, did: `Replay of ${reason}`,
      says: `The mirror looks again at everybody parked for ${reason}. Whose reason is gone is carried over; who still cannot be is parked again. Nothing is lost.`,
      calls: { path: 'mirror/replay', query: { reason }, pages: true },
    }) : '',
  ]);
  return [table('Waiting for a person, by reason', ['reason', ['users', 'num'], 'list', 'since', ''], rows), el('p', { class: 'soft' }, code('dwp parked'), ' names them.')];
}

const WAITS = { hold: 'the time to hold a step', too_few_reads: 'more reads', not_seen_yet: 'KV to show the share', no_verdict: 'a verdict of the guard’s', cron: 'cron, within the minute' };
function ramp(plan, act) {
  if (!plan) return empty('No plan yet. Steps, what the plan waits for and what became of it will show here, once one is started with `dwp ramp start`.');
  const { id, state, why, steps_bps: steps, in_force_bps: force, next_bps: next, waits_for: waits, hold_ms: hold, min_reads: least, reads, actor, reason, moved_at: moved, log } = plan;
  const severity = state === 'paused' || state === 'aborted' ? 'warning' : state === 'done' ? 'good' : 'notice';
  const order = (label, path, says) => act({ key: `ramp ${path}`, label, title: `${label}?`, did: label, says, calls: { path: `ramp/${path}` } });
  return [
    el('p', null, `Plan ${id} `, tag(severity, state), ...(why ? [' because of ', code(why)] : []), `: ${pct(force)} in force, moved `, ago(moved), '.',
      ...(waits ? [` Waits for ${WAITS[waits] ?? `a pass (${waits})`}`, next === null ? '.' : ` before ${pct(next)}.`] : [])),
    el('ol', { class: 'steps', 'aria-label': 'Steps' }, steps.map((step) => el('li', {
      class: [step <= force ? 'taken' : '', step === force ? 'here' : ''].join(' ').trim() || null, 'aria-current': step === force ? 'step' : null }, pct(step)))),
    el('p', { class: 'soft' }, `Each step holds ${dur(hold)} and needs ${num(least)} reads at mgPass (${num(reads)} so far). Started by ${actor ?? 'somebody'}${reason ? `: ${reason}` : ''}.`),
    el('div', { class: 'acts' },
      state === 'running' ? order('Pause the ramp plan', 'pause', `The share stays at ${pct(force)}; no step is taken until the plan is resumed.`) : null,
      state === 'paused' || state === 'aborted' ? order('Resume the ramp plan', 'resume', `The plan goes on from the share in force${next === null ? '' : `, next to ${pct(next)}`}, each step after a pass of the guard. It is refused while a brake is on.`) : null),
    log?.length ? table('What became of the plan', ['time (UTC)', 'what', ['share', 'num'], 'why', 'by'],
      log.map((entry) => [at(entry.at), entry.what, pct(entry.share), entry.why ? code(entry.why) : '', entry.actor ?? ''])) : null,
  ];
}

const KINDS = { users: 'Import of people', points: 'Import of points', equality: 'Comparison of both sides' };
function jobs(list, act) {
  if (list.length === 0) return empty('No job yet. Imports of people and points and the comparison of both sides will show here with their progress.');
  return list.map((job) => {
    const { id, kind, state, phase, pass, dry_run: dry, total, users, seen, outcomes = {}, last_failure: failure, moved_at: moved, finished_at: finished } = job;
    const name = `${KINDS[kind] ?? kind}${dry ? ', dry run' : ''}`;
    const n = Math.max(users ?? 0, Math.min(seen ?? 0, total ?? 0));
    const order = (label, path, says) => act({ key: `${kind} ${path}`, name: `${label} ${name} ${id}`, label, title: `${label}: ${name} ${id}?`, did: `${label} of job ${id}`, says, calls: { path: `import/${path}`, query: { kind } } });
    const found = Object.entries(outcomes).filter(([, count]) => count > 0).map(([outcome, count]) => `${num(count)} ${outcome.replaceAll('_', ' ')}`);
    return el('div', { class: 'job' },
      el('p', null, el('strong', null, `${name} ${id}`), ' ', tag({ done: 'good', running: 'notice' }[state] ?? 'warning', state),
        state === 'running' || state === 'paused' ? ` in ${phase}, pass ${pass}` : '', ', moved ', ago(finished ?? moved)),
      total ? el('progress', { max: total, value: state === 'done' ? total : Math.min(n, total), 'aria-label': `${name}, progress` }) : null,
      el('p', { class: 'soft' }, total && n <= total ? `${num(n)} of ${plural(total, 'person', 'people')} seen` : `${plural(n, 'person', 'people')} seen${total ? `, ${num(total)} when it began` : ''}`, found.length ? `: ${found.join(', ')}` : '', '.'),
      failure ? el('p', null, 'Last failure: ', code(failure)) : null,
      state === 'running' ? el('div', { class: 'acts' }, order('Pause', 'pause', 'Its lanes stop after the page they are at. Nothing is lost; it goes on from there when resumed.')) : null,
      state === 'paused' ? el('div', { class: 'acts' }, order('Resume', 'resume', 'It goes on where it stopped.')) : null);
  });
}

function findings({ found, findings: compared }) {
  const parts = [];
  if (found?.length) parts.push(el('h3', null, 'Of walk and mirror, within a day'), table('Findings of walk and mirror', ['code', 'kind', ['users', 'num'], 'newest'],
    found.map((row) => [code(row.code), row.kind, num(row.n), ago(row.found_at)])));
  if (failed(compared)) parts.push(failed(compared));
  else if (compared?.length) parts.push(el('h3', null, 'Of compared reads'), table('Findings of compared reads', ['read', 'field', 'difference', ['users', 'num'], 'newest'],
    compared.map((row) => [code(row.operation), long(row.path || '(whole answer)'), row.class, num(row.n_subjects), ago(row.last_at)])));
  return parts.length ? parts : empty('None. What the walk, the mirror and compared reads find different will show here: fields and codes, no values.');
}

function verdicts(list) {
  if (failed(list)) return failed(list);
  if (list.length === 0) return empty('None yet. The guard judges once a minute while a share of the reads is mgPass’s.');
  return table('The guard’s verdicts', ['when', 'verdict', 'reason'],
    list.map(({ at: when, verdict, reason }) => [ago(when), tag({ pass: 'good', hold: 'notice' }[verdict] ?? 'critical', verdict), code(reason)]));
}

function history(changes) {
  if (changes.length === 0) return empty('None yet. Each change of a flag, a stage or the authority will show here, with who made it and why where `dwp` did.');
  const value = (text, why) => (why ? `(${why})` : text ?? 'absent');
  return table('Changes', ['noticed (UTC)', 'what', 'before → after', 'by'], changes.map((change) => [
    at(change.noticed_at), code(change.kind === 'authority' ? 'authority' : change.key),
    long(`${value(change.before_value, change.before_code)} → ${value(change.value, change.code)}`), [change.actor, change.reason].filter(Boolean).join(': ') || '–']));
}
