// Elements and words of the operators' page. Whatever comes from the proxy becomes text:
// nothing here or elsewhere makes markup of it, and the page's policy refuses it too.

const $ = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === 'onclick') node.addEventListener('click', value);
    else if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== '') node.append(child);
  return node;
}
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const code = (text) => el('code', null, String(text));
// Commands stand between backticks in what the proxy says.
const words = (text) => String(text).split('`').map((part, index) => (index % 2 ? code(part) : part));
const empty = (text) => el('p', { class: 'empty' }, words(text));
const tag = (severity, text) => el('span', { class: `tag ${severity}` }, text);

const integers = new Intl.NumberFormat('en-GB');
const num = (n) => (n === null || n === undefined ? '–' : integers.format(n));
const pct = (bps) => (bps === null || bps === undefined ? '–' : `${Number((bps / 100).toFixed(2))} %`);
const plural = (n, one, many) => `${num(n)} ${n === 1 ? one : many}`;
// Above the last bound that counts are kept by.
const took = (ms) => (ms === null || ms === undefined ? '–' : ms > 6400 ? 'above 6.4 s' : ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);

function dur(ms) {
  if (ms === null || ms === undefined) return '–';
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

const iso = (ms) => new Date(ms).toISOString();
const clock = (ms) => `${iso(ms).slice(0, 10)} ${iso(ms).slice(11, 19)}`;
// The proxy's clock less this machine's: ages are of the proxy's.
let skew_ms = 0;
const now = () => Date.now() + skew_ms;
/** How long ago, kept up to date by `tick`. */
function ago(ms) {
  if (!ms) return '–';
  return el('time', { datetime: iso(ms), title: `${clock(ms)} UTC`, 'data-at': ms }, `${dur(now() - ms)} ago`);
}
const at = (ms) => (ms ? el('time', { datetime: iso(ms) }, clock(ms)) : '–');
function tick() {
  for (const node of document.querySelectorAll('time[data-at]')) {
    const text = `${dur(now() - node.dataset.at)} ago`;
    if (node.textContent !== text) node.textContent = text;
  }
}

// Roles are said though they are a table's own: on a narrow screen rows are no table to
// the browser any more.
/** Columns: name, or [name, 'num']. Rows: cells, or {bad, cells}. */
function table(caption, columns, rows, isWide) {
  const named = columns.map((column) => [column].flat());
  const head = named.map(([name, kind]) => el('th', { scope: 'col', role: 'columnheader', class: kind }, name || el('span', { class: 'hidden' }, 'Action')));
  const body = rows.map((row) => {
    const { cells = row, bad, isNew } = row;
    return el('tr', { role: 'row', class: [bad ? 'bad' : '', isNew ? 'new' : ''].join(' ').trim() || null }, cells.map((cell, index) => {
      const [name, kind] = named[index];
      return el('td', { role: 'cell', class: kind, 'data-of': name }, cell instanceof Node || Array.isArray(cell) ? el('span', null, cell) : String(cell ?? ''));
    }));
  });
  const whole = el('table', { role: 'table', class: isWide ? null : 'stack' },
    el('caption', { class: 'hidden' }, caption),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, head)),
    el('tbody', { role: 'rowgroup' }, body));
  return isWide || rows.length > 12 ? el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': caption }, whole) : whole;
}

// What was last drawn in each place: what has not changed is left alone, with the
// reader's place and focus in it.
let drawn = {};
function draw(id, data, make) {
  const text = JSON.stringify(data ?? null);
  if (drawn[id] === text) return;
  drawn[id] = text;
  const key = $(id).contains(document.activeElement) ? document.activeElement.closest('[data-key]')?.dataset.key : undefined;
  const open = [...$(id).querySelectorAll('details[open]')].map((node) => node.dataset.key);
  $(id).replaceChildren(...[make(data)].flat(2).filter((child) => child !== null && child !== undefined));
  const keyed = (name) => $(id).querySelector(`[data-key="${CSS.escape(name)}"]`);
  for (const name of open) if (keyed(name)) keyed(name).open = true;
  if (key !== undefined) (keyed(key)?.querySelector('summary') ?? keyed(key))?.focus();
}
