// What `npm run dev` shows of the Workers' lines: one short line per request, what
// else happened below it, and nothing of a cron run that found nothing to do.
import { styleText } from 'node:util';

/** (line, {level, timestamp}) => void. Colours only where `stream` shows them and NO_COLOR is not set. */
export function createLog({ isJson, stream }) {
  const paint = (style, text) => styleText(style, text, { stream });
  return (line, { level, timestamp }) => {
    const shown = isJson ? line : formatLine(line, { level, at: new Date(timestamp), paint });
    if (shown !== undefined) stream.write(`${shown}\n`);
  };
}

/** The text for one line that a Worker logged; undefined for one that is left out. */
export function formatLine(line, { level = 'log', at, paint }) {
  const time = paint('dim', at.toTimeString().slice(0, 8));
  const event = readEvent(line);
  if (event === undefined) return `${time} ${level === 'error' ? paint('red', line) : line}`;
  if (isIdle(event)) return undefined;
  return `${time} ${event.event === 'request.done' ? formatRequest(event, paint) : formatOther(event, paint)}`;
}

function readEvent(line) {
  try {
    const event = JSON.parse(line);
    return typeof event?.event === 'string' ? event : undefined;
  } catch {
    return undefined;
  }
}

const IDLE = {
  'sweep.done': ({ n_woken: woken, n_purged: purged }) => woken === 0 && purged === 0,
  'walk.stepped': ({ outcome, n_repaired: repaired }) => outcome !== 'not_recorded' && repaired === 0,
  'catch_up.done': ({ outcome, n_users: users }) => outcome === 'resolved' && users === 0,
  'guard.judged': ({ verdict }) => verdict === 'hold',
};

function isIdle(event) {
  return IDLE[event.event]?.(event) ?? false;
}

// 200 users.get            mgpass in_share                  12 ms
function formatRequest(event, paint) {
  const { operation, backend, status, duration_ms: duration, fallback, error } = event;
  const colour = status >= 500 ? 'red' : status >= 400 ? 'yellow' : 'green';
  const mirror = event['plan.mirror'];
  const why = [
    // A write says what became of its copy, a read why it was answered where it was.
    mirror !== undefined && mirror !== 'none' ? `mirror ${mirror}` : event['plan.reason'] === 'not_a_read' ? '' : event['plan.reason'],
    fallback && `fallback ${fallback}`,
    error && `error ${error}`,
  ].filter(Boolean).join(', ');
  const side = backend === 'mgpass' ? 'cyan' : backend === 'proxy' ? 'yellow' : 'blue';
  return [
    paint(colour, String(status)),
    String(operation).padEnd(26),
    paint(side, String(backend).padEnd(6)),
    (fallback || error ? (text) => paint('yellow', text) : (text) => text)(String(why).padEnd(24)),
    paint('dim', `${String(duration).padStart(5)} ms`),
  ].join(' ');
}

//     mirror.reconciled outcome=created ticket=4
function formatOther({ event: name, level, ...fields }, paint) {
  const facts = Object.entries(fields).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ');
  const text = `    ${name} ${facts}`.trimEnd();
  return level === 'error' ? paint('red', text) : level === 'warn' ? paint('yellow', text) : paint('dim', text);
}
