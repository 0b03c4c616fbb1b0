// The course of things as plots under one time axis: plain SVG, a line breaks where the
// proxy kept no point, and one cursor goes through all of them.

const LEFT = 46;
const RIGHT = 8;
const HEIGHT = 74;
const share = (side, name) => (point) => point[side]?.[name] ?? null;
const capped = (ms) => (ms === null ? null : Math.min(ms, 12800));
// Class of the line, name, value.
const PLOTS = [
  { title: 'Share of reads at mgPass', unit: pct, least: 10000, ticks: [0, 5000, 10000], series: [
    ['s-c dash', 'asked', (p) => p.asked_bps], ['s-b', 'allowed', (p) => p.allowed_bps], ['s-a', 'realised', (p) => p.realised_bps]] },
  { title: 'Time to the answer', unit: took, log: true, ticks: [5, 50, 500, 5000], series: [
    ['s-c dash', 'Logto p50', share('logto', 'p50_ms')], ['s-c', 'Logto p95', share('logto', 'p95_ms')],
    ['s-a dash', 'mgPass p50', share('mgpass', 'p50_ms')], ['s-a', 'mgPass p95', share('mgpass', 'p95_ms')]] },
  { title: 'Reads that failed', unit: pct, least: 100, series: [
    ['s-c', 'Logto', share('logto', 'failure_bps')], ['s-bad', 'mgPass', share('mgpass', 'failure_bps')]] },
  { title: 'Compared reads that differed', unit: num, least: 4, series: [['s-bad', 'differed', (p) => p.mismatched]], also: [['compared', (p) => p.compared, num]] },
  { title: 'Writes not yet at mgPass, users parked', unit: num, least: 4, series: [
    ['s-a', 'waiting', (p) => p.n_open], ['s-bad dash', 'parked', (p) => p.n_parked]] },
  { title: 'Age of the oldest waiting write', unit: dur, least: 60000, series: [['s-b', 'oldest', (p) => p.oldest_ms]] },
];
let course = null;
let cursor = null;

/** Where a tick stands: round figures up to `most`. */
function rounds(most) {
  const step = [1, 2, 5].map((n) => n * 10 ** Math.floor(Math.log10(most / 2))).findLast((n) => n <= most / 2) ?? most;
  return [0, step, 2 * step].filter((n) => n <= most);
}

function scale(plot, points) {
  const values = plot.series.flatMap(([, , value]) => points.map(value)).filter((value) => value !== null);
  const top = Math.max(plot.least ?? 1, ...values.map(plot.log ? capped : (value) => value));
  const bottom = HEIGHT - 4;
  if (plot.log) {
    const [from, to] = [Math.log(4), Math.log(14000)];
    return { ticks: plot.ticks, y: (value) => bottom - ((Math.log(Math.max(4, capped(value))) - from) / (to - from)) * (bottom - 6) };
  }
  return { ticks: plot.ticks ?? rounds(top), y: (value) => bottom - (value / top) * (bottom - 6) };
}

/** A path of straight pieces; one point alone is a dot. */
function path(points, value, x, y, gap_ms) {
  let d = '';
  let last;
  for (const point of points) {
    const v = value(point);
    if (v === null || v === undefined) { last = undefined; continue; }
    const [px, py] = [x(point.at).toFixed(1), y(v).toFixed(1)];
    d += last !== undefined && point.at - last <= gap_ms ? `L${px} ${py}` : `M${px} ${py}h.01`;
    last = point.at;
  }
  return d;
}

function frame(width, height, label) {
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': label });
}

function stages(points, x, width, { slot_ms: slot, changes = [] }) {
  const named = `Stage: ${[...new Set(points.map(({ stage }) => stage))].join(', then ')}`;
  const drawing = frame(width, 40, named);
  let from = 0;
  points.forEach(({ stage, authority, at: began }, index) => {
    const next = points[index + 1];
    if (next && next.stage === stage && next.authority === authority && next.at - began <= 1.5 * slot) return;
    const [x1, x2] = [x(points[from].at), Math.min(x(began + slot), width - RIGHT)];
    drawing.append(svg('rect', { class: `st-${stage}`, x: x1, y: 2, width: Math.max(1, x2 - x1), height: 20 }));
    const label = authority && authority !== 'logto' ? `${stage} (${authority})` : stage;
    if (x2 - x1 > label.length * 7) drawing.append(svg('text', { class: 'on', x: x1 + 5, y: 16 }, label));
    from = index + 1;
  });
  for (const { noticed_at: when, key } of changes) {
    const px = x(when);
    if (px < LEFT || px > width - RIGHT) continue;
    drawing.append(svg('path', { class: 'tick', d: `M${px} 25l4 8h-8z` }, svg('title', null, `${key} changed ${clock(when)}`)));
  }
  return el('div', { class: 'plot' }, el('h3', null, 'Stage', el('span', { class: 'key' }, '▲ a flag or the authority changed')), drawing);
}

function axis(x, width, from, to, hours) {
  const drawing = frame(width, 18, `From ${clock(from)} to ${clock(to)} UTC`);
  const steps = (hours === 1 ? [10, 15, 30] : hours === 24 ? [120, 180, 360] : [1440, 2880]).map((minutes) => minutes * 60000);
  const step = steps.find((ms) => ((width - LEFT - RIGHT) * ms) / (to - from) > 52) ?? steps.at(-1);
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const text = hours > 24 ? iso(t).slice(5, 10) : iso(t).slice(11, 16);
    drawing.append(svg('text', { x: Math.min(x(t), width - 20), y: 13, 'text-anchor': 'middle' }, text));
  }
  return drawing;
}

function picture(plot, points, x, width, view) {
  const { y, ticks } = scale(plot, points);
  const last = points.at(-1);
  const words = plot.series.map(([, name, value]) => {
    const all = points.map(value).filter((v) => v !== null && v !== undefined);
    return all.length === 0 ? `${name}: nothing yet` : `${name}: ${plot.unit(value(last))} last, at most ${plot.unit(Math.max(...all))}`;
  });
  const drawing = frame(width, HEIGHT, `${plot.title}. ${words.join('; ')}.`);
  for (const tick of ticks) {
    drawing.append(
      svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg('text', { x: LEFT - 5, y: y(tick) + 4, 'text-anchor': 'end' }, plot.log && tick >= 1000 ? `${tick / 1000} s` : plot.unit(tick)));
  }
  for (const [style, , value] of plot.series) drawing.append(svg('path', { class: `ser ${style}`, d: path(points, value, x, y, 1.5 * view.slot_ms) }));
  const keys = plot.series.map(([style, name]) => el('span', { class: 'key' },
    svg('svg', { viewBox: '0 0 26 8', height: 8, 'aria-hidden': 'true' }, svg('path', { class: `ser ${style}`, d: 'M1 4h24' })), name));
  return el('div', { class: 'plot' }, el('h3', null, plot.title, keys), drawing);
}

const figures = (point) => PLOTS.flatMap(({ series, also = [], unit }) => [
  ...series.map(([, name, value]) => [name, unit(value(point))]), ...also.map(([name, value, words]) => [name, words(value(point))])]);

function point_at(index) {
  cursor = index;
  const point = course?.points[index];
  if (!point) return;
  const text = `${clock(point.at)} UTC: ${point.stage}. ${figures(point).map(([name, value]) => `${name} ${value}`).join(', ')}`;
  $('readout').textContent = text;
  $('cursor').value = index;
  $('cursor').setAttribute('aria-valuetext', text);
  for (const hand of document.querySelectorAll('.hand')) for (const end of ['x1', 'x2']) hand.setAttribute(end, course.x(point.at));
}

function draw_plots(view) {
  const { points, from, to, hours } = view;
  const place = $('plots');
  $('at').hidden = $('plot-table').hidden = points.length === 0;
  if (points.length === 0) {
    course = null;
    place.replaceChildren(empty('No point yet. Cron keeps one each minute: share, times, failures, differences, and what waits will show here.'));
    return;
  }
  const width = Math.max(280, place.clientWidth);
  const x = (time) => LEFT + ((Math.max(from, time) - from) / (to - from)) * (width - LEFT - RIGHT);
  course = { ...view, x };
  place.replaceChildren(
    stages(points, x, width, view), ...PLOTS.map((plot) => picture(plot, points, x, width, view)), axis(x, width, from, to, hours));
  for (const drawing of place.querySelectorAll('.plot > svg')) drawing.append(svg('line', { class: 'hand', y1: 0, y2: HEIGHT, x1: -9, x2: -9 }));
  const follows = cursor === null || cursor >= Number($('cursor').max);
  $('cursor').max = points.length - 1;
  point_at(follows ? points.length - 1 : Math.min(cursor, points.length - 1));
  draw('plot-rows', $('plot-table').open ? points : [], () => table('The course as figures',
    ['time (UTC)', 'stage', ...figures(points[0]).map(([name]) => [name, 'num'])],
    [...points].reverse().map((point) => [clock(point.at), point.stage, ...figures(point).map(([, value]) => value)]), true));
}

function begin_plots() {
  $('cursor').addEventListener('input', () => point_at(Number($('cursor').value)));
  $('plots').addEventListener('pointermove', (event) => {
    if (!course) return;
    const { left, width } = $('plots').getBoundingClientRect();
    const time = course.from + ((event.clientX - left - LEFT) / (width - LEFT - RIGHT)) * (course.to - course.from);
    const gaps = course.points.map((point) => Math.abs(point.at - time));
    point_at(gaps.indexOf(Math.min(...gaps)));
  });
  $('plot-table').addEventListener('toggle', () => course && draw_plots(course));
  let before = 0;
  new ResizeObserver(() => {
    if (course && $('plots').clientWidth !== before) draw_plots(course);
    before = $('plots').clientWidth;
  }).observe($('plots'));
}
