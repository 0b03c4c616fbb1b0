// Leaving Logto alone, from the hand-over on: the gates, what Logto is still needed for, the
// residue, the end of its refresh tokens, when the route may go, and what is left of it all.
// Nothing here does any of it: that is `dwp cleanup`'s.

const GATE = { open: 'good', waived: 'warning', shut: 'critical' };
const noted = (notes, name) => notes.find((note) => note.name === name);
// What the proxy answered itself; all other kinds are Logto's.
const OWN_KINDS = ['rows', 'translated', 'mgpass_token', 'document'];

/** `left`: what `dwp cleanup verify` would say; null until clearing has begun. */
function cleanup({ gates, plan, needs, left }) {
  const { notes, steps, clears } = plan;
  const residue = noted(notes, 'residue');
  const tokens = noted(notes, 'refresh_tokens');
  const n_done = steps.filter(({ done_at }) => done_at !== null).length;
  const n_shut = (gates ?? []).filter(({ state }) => state === 'shut').length;
  const facts = [
    ["Logto's documents", plan.issuer_kept_at ? ['kept ', at(plan.issuer_kept_at)] : words('not kept: `dwp cleanup keep-issuer`')],
    ["Logto's refresh tokens", tokens ? [`${tokens.until > now() ? 'end' : 'ended'} `, at(tokens.until), `, says ${tokens.actor}`] : words('no end is named: `dwp cleanup refresh-tokens --until DATE`')],
    ['What only Logto had a place for', residue ? [`${residue.how}, of ${plural(residue.n, 'user', 'users')}, `, ago(residue.at_ms)] : words('not taken along: `dwp cleanup residue`')],
    ['Changed since', plan.residue_after === null ? '–' : plural(plan.residue_after, 'user', 'users')],
    ['The route', words(plan.leaving.why)],
  ];
  return [
    el('dl', { class: 'facts' }, facts.flatMap(([name, text]) => [el('dt', null, name), el('dd', null, text)])),
    ...(gates?.length > 0 ? [
      el('p', null, tag(n_shut > 0 ? 'warning' : 'good', n_shut > 0 ? plural(n_shut, 'gate is shut', 'gates are shut') : 'every gate is open or waived')),
      table('Gates of cleanup', ['Gate', 'State', 'Why'], gates.map(({ name, state, why, do: todo, names }) => ({
        bad: state === 'shut',
        cells: [name, tag(GATE[state] ?? 'warning', state), [...words(why), ...(names?.length > 0 ? [` ${names.join(', ')}`] : []), ...(state === 'shut' && todo ? [' → ', ...words(todo)] : [])]],
      }))),
    ] : []),
    needs.length === 0 ? empty('Nobody has needed Logto.') : table('What Logto is still needed for', ['Client', 'For', 'Last', ['Times', 'num']],
      needs.map(({ client_id, application, kind, last_needed_at, n }) => [application ?? client_id, kind.replaceAll('_', ' '), ago(last_needed_at), num(n)])),
    ...(steps.length > 0 ? [el('p', null, tag(n_done === clears.length ? 'good' : 'warning', `${n_done} of ${clears.length} steps cleared`))] : []),
    ...(plan.blocked ? [el('p', null, tag('notice', 'clearing waits'), ' ', code(plan.blocked.code), ' ', ...words(plan.blocked.do))] : []),
    ...(left === null ? [] : [table('What is left', ['State', 'What'], left.map(({ what, clean, do: todo }) => ({ bad: !clean, cells: [tag(clean ? 'good' : 'critical', clean ? 'clean' : 'left'), [what, ...(todo ? [' → ', ...words(todo)] : [])]] })))]),
  ];
}
