// The checklist: each check with its result, its age, why, and what to do; its figures
// and how they were obtained on demand. Whatever is not green is not passed.

/** Names of members and their values, however deep, as one line each. */
function lines(figures, prefix = '') {
  return Object.entries(figures ?? {}).flatMap(([name, value]) => {
    const whole = prefix + name.replaceAll('_', ' ');
    if (Array.isArray(value)) return value.every((item) => Object(item) !== item) ? [[whole, value.join(', ') || 'none']] : lines(value, `${whole} `);
    if (value !== null && typeof value === 'object') return lines(value, `${whole}: `);
    return [[whole, value === null ? '–' : /(^| )at$/.test(whole) && value > 1e12 ? `${clock(value)} UTC` : String(value)]];
  });
}

function checklist({ checks, is_green: isGreen }) {
  const n_green = checks.filter(({ state }) => state === 'green').length;
  return [
    el('p', null, tag(isGreen ? 'good' : 'warning', `${n_green} of ${checks.length} green`)),
    ...checks.map(({ name, title, state, why, do: todo, at: when, how, figures: of }) => el('div', { class: 'check' },
      el('p', null, tag({ green: 'good', red: 'critical' }[state] ?? 'warning', state.replaceAll('_', ' ')), ' ', el('strong', null, title), ...(when ? [', ', ago(when)] : [])),
      state === 'green' ? null : el('p', null, words(why)),
      todo ? el('p', null, '→ ', words(todo)) : null,
      el('details', { 'data-key': `check ${name}` }, el('summary', null, 'Figures, and how they were obtained'),
        el('p', { class: 'soft' }, `${how}.`),
        el('ul', null, lines(of).map(([what, value]) => el('li', null, `${what}: ${value}`)))))),
  ];
}
