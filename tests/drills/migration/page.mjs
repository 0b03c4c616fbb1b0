// out/migration.html: what the run came to, in one file that needs nothing else. Ids, codes
// and figures alone.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { percentile } from '../cutover/scene.mjs';
import { root } from '../import/support.mjs';

const WIDTH = 1_080;
const LEFT = 64;
const HEIGHT = 110;

const escaped = (value) => String(value).replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]);
const cells = (tag, values) => `<tr>${values.map((value) => `<${tag}>${escaped(value ?? '')}</${tag}>`).join('')}</tr>`;
const table = (head, rows) => `<table>${cells('th', head)}${rows.join('')}</table>`;

export function writePage(scene, { phases, seconds, isGood, users, seed }) {
  const file = path.join(root, 'out/migration.html');
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, page(scene, { phases, seconds, isGood, users, seed }));
  return file;
}

function page(scene, { phases, seconds, isGood, users, seed }) {
  const { samples, rows, faults } = scene;
  const to = Math.max(...phases.map(({ began, ms }) => began + ms));
  const axis = { from: phases[0]?.began ?? 0, to };
  const x = (at) => LEFT + ((at - axis.from) / Math.max(1, axis.to - axis.from)) * (WIDTH - LEFT - 10);
  const line = (name, unit, series) => plot({ name, unit, series, samples, x, phases });
  const p = (list, share) => (list.length === 0 ? null : percentile(list, share));
  const ended = (at) => scene.refreshes.filter((entry) => !entry.isDone && entry.at <= at).length;
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Migration, seed ${escaped(seed)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2rem auto; padding: 0 1rem; color: #1c2024; background: #fff }
h1, h2 { line-height: 1.2 } table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem } th, td { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid #d9dde1 } td:last-child { overflow-wrap: anywhere }
svg { display: block; width: 100%; height: auto } text { font: 11px system-ui, sans-serif; fill: #4a5258 } .good { color: #146c2e } .bad { color: #b3261e; font-weight: 600 }
pre { background: #f4f5f6; padding: 1rem; overflow: auto; max-height: 28rem }
</style>
<h1>The whole migration: <span class="${isGood ? 'good' : 'bad'}">${isGood ? 'passed' : 'FAILED'}</span></h1>
<p>${escaped(users)} users, seed ${escaped(seed)}, ${seconds.toFixed(1)} s of this machine, ${(phases.at(-1)?.ahead / 86_400 || 0).toFixed(1)} days by its clocks. Along each plot runs the machine's time; the bands are the phases.</p>
<h2>Stages</h2>
${bands(phases, x)}
${authorities(samples, x)}
<h2>Read share, asked and realised</h2>
${line('share', '%', [['asked', '#7a5af8', (sample) => sample.asked], ['realised by mgPass', '#0b8a6f', (sample) => sample.realised]])}
<h2>Latency of reads</h2>
${line('reads', 'ms', [['half', '#0b6bcb', (sample) => p(sample.reads, 0.5)], ['95 of 100', '#c4500c', (sample) => p(sample.reads, 0.95)]])}
<h2>Latency of writes</h2>
${line('writes', 'ms', [['half', '#0b6bcb', (sample) => p(sample.writes, 0.5)], ['95 of 100', '#c4500c', (sample) => p(sample.writes, 0.95)]])}
<h2>Backlog of the outbox</h2>
${line('backlog', 'writes', [['open', '#0b6bcb', (sample) => sample.backlog]])}
<h2>Writes held for more than a second</h2>
${line('held', 'writes', [['held', '#c4500c', (sample) => sample.held]])}
<h2>Sessions ended by the proxy</h2>
${line('ended', 'sessions', [['ended, all in all', '#b3261e', (sample) => ended(sample.at)]])}
<h2>What happened when</h2>
${table(['after', 'by the clocks', 'what'], scene.marks.map(({ at, ahead, what }) => cells('td', [`${((at - axis.from) / 1_000).toFixed(1)} s`, `${(ahead / 86_400).toFixed(2)} days`, what])))}
<h2>Faults</h2>
${table(['phase', 'fault', 'what it came to'], faults.map(({ phase, name, outcome }) => cells('td', [phase, name, outcome])))}
<h2>What was measured</h2>
${table(['what', 'measured', 'demanded', ''], rows.map(({ what, measured, demanded, isSo }) => cells('td', [what, measured, demanded, isSo ? 'ok' : 'MISSED'])))}
<h2>Checklist, as last found</h2>
${scene.checklist ? table(['check', 'state', 'why', 'figures'], scene.checklist.map(({ name, state, why, figures }) => cells('td', [name, state, why, JSON.stringify(figures)]))) : '<p>none</p>'}
<h2>Certificate, of the last hand-over</h2>
${scene.certificate ? `<pre>${escaped(JSON.stringify(JSON.parse(readFileSync(scene.certificate, 'utf8')), null, 2))}</pre>` : '<p>none</p>'}
<h2>Time by phase</h2>
${table(['phase', 'seconds'], phases.map(({ name, ms }) => cells('td', [name, (ms / 1_000).toFixed(1)])))}
</html>
`;
}

const svg = (height, body) => `<svg viewBox="0 0 ${WIDTH} ${height}" role="img">${body}</svg>`;

function bands(phases, x) {
  const shades = ['#e4e9f7', '#d3e9e2'];
  const parts = phases.map(({ name, began, ms }, nth) => {
    const [from, to] = [x(began), x(began + ms)];
    return `<rect x="${from.toFixed(1)}" y="0" width="${Math.max(1, to - from).toFixed(1)}" height="22" fill="${shades[nth % 2]}"><title>${escaped(name)}</title></rect>`
      // The last ones may have no room to their right.
      + (from > WIDTH - 60 ? `<text x="${WIDTH - 2}" text-anchor="end"` : `<text x="${(from + 2).toFixed(1)}"`)
      + ` y="${nth % 2 === 0 ? 36 : 50}">${escaped(name)}</text>`;
  });
  return svg(56, parts.join(''));
}

/** The stage in KV, and whose data wins. */
function authorities(samples, x) {
  const colours = { logto: '#5b5bd6', draining: '#d9a400', mgpass: '#0b8a6f', returning: '#d9a400', alone: '#1c2024' };
  const parts = samples.map(({ at, authority }, nth) => {
    const [from, to] = [x(at), x(samples[nth + 1]?.at ?? at)];
    return `<rect x="${from.toFixed(1)}" y="0" width="${Math.max(0.5, to - from).toFixed(1)}" height="14" fill="${colours[authority] ?? '#999'}"><title>${escaped(authority)}</title></rect>`;
  });
  const legend = Object.entries(colours).map(([name, colour], nth) => `<rect x="${LEFT + nth * 110}" y="22" width="10" height="10" fill="${colour}"/><text x="${LEFT + 14 + nth * 110}" y="31">${name}</text>`);
  return svg(38, parts.join('') + legend.join(''));
}

function plot({ name, unit, series, samples, x, phases }) {
  const points = series.map(([label, colour, value]) => ({ label, colour, values: samples.map((sample) => [x(sample.at), value(sample)]).filter(([, y]) => Number.isFinite(y)) }));
  const top = Math.max(1, ...points.flatMap(({ values }) => values.map(([, y]) => y)));
  const y = (value) => HEIGHT - 16 - (value / top) * (HEIGHT - 34);
  const grid = phases.map(({ began }) => `<line x1="${x(began).toFixed(1)}" x2="${x(began).toFixed(1)}" y1="14" y2="${HEIGHT - 16}" stroke="#e3e6e8"/>`);
  const lines = points.map(({ colour, values }) => `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${values.map(([px, py]) => `${px.toFixed(1)},${y(py).toFixed(1)}`).join(' ')}"/>`);
  const legend = points.map(({ label, colour }, nth) => `<rect x="${LEFT + nth * 170}" y="2" width="10" height="10" fill="${colour}"/><text x="${LEFT + 14 + nth * 170}" y="11">${escaped(label)}</text>`);
  const scale = `<text x="2" y="${y(top) + 4}">${Math.round(top * 10) / 10} ${unit}</text><text x="2" y="${y(0) + 4}">0</text><line x1="${LEFT}" x2="${WIDTH - 10}" y1="${y(0)}" y2="${y(0)}" stroke="#b6bcc1"/>`;
  return svg(HEIGHT, `<title>${escaped(name)}</title>${grid.join('')}${scale}${lines.join('')}${legend.join('')}`);
}
