// What `npm run dev` prints of a line, and what it leaves out.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';

import { createLog, formatLine } from './dev_log.mjs';

const at = new Date(2026, 0, 2, 3, 4, 5);
const plain = (_style, text) => text;
const show = (event, level) => formatLine(typeof event === 'string' ? event : JSON.stringify(event), { level, at, paint: plain });
const request = {
  event: 'request.done', level: 'info', 'request.id': 'r', operation: 'users.get', 'plan.primary': 'mgpass', 'plan.mirror': 'none',
  'plan.reason': 'in_share', 'flags.stage': 'dual_write', bucket: 17, backend: 'mgpass', status: 200, duration_ms: 12,
};

test('a read: status, operation, who answered and why, how long it took', () => {
  assert.equal(show(request), '03:04:05 200 users.get                  mgpass in_share                    12 ms');
});

test('a write says what became of its copy, and passed-through traffic nothing', () => {
  assert.match(show({ ...request, operation: 'users.create', backend: 'logto', 'plan.mirror': 'recorded', 'plan.reason': 'not_a_read' }), / logto  mirror recorded +12 ms$/);
  assert.match(show({ ...request, operation: 'pass_through', backend: 'logto', 'plan.reason': 'not_a_read' }), /pass_through +logto +12 ms$/);
});

test('fallback and error are named', () => {
  assert.match(show({ ...request, backend: 'logto', fallback: 'timed_out' }), /logto  in_share, fallback timed_out/);
  assert.match(show({ ...request, backend: 'proxy', status: 502, error: 'logto_unreachable' }), /502 .*error logto_unreachable/);
});

test('other events follow, indented, with their fields', () => {
  assert.equal(show({ event: 'mirror.reconciled', level: 'info', outcome: 'created', ticket: 4 }), '03:04:05     mirror.reconciled outcome=created ticket=4');
});

test('a cron run with nothing to do is left out, one that did something is not', () => {
  assert.equal(show({ event: 'sweep.done', level: 'info', n_woken: 0, n_purged: 0, duration_ms: 3 }), undefined);
  assert.match(show({ event: 'sweep.done', level: 'info', n_woken: 2, n_purged: 0, duration_ms: 3 }), /sweep\.done n_woken=2/);
  assert.match(show({ event: 'sweep.done', level: 'info', n_woken: 0, n_purged: -1, duration_ms: 3 }), /n_purged=-1/);
});

test('what is not an event is shown as it is', () => {
  assert.equal(show('panicked at src/lib.rs', 'error'), '03:04:05 panicked at src/lib.rs');
  assert.equal(show('{"not":"an event"}'), '03:04:05 {"not":"an event"}');
});

test('JSON comes through to the byte; a stream that is no terminal gets no colour', () => {
  const line = JSON.stringify(request);
  const written = (isJson) => {
    const stream = new PassThrough();
    createLog({ isJson, stream })(line, { level: 'log', timestamp: at.getTime() });
    return stream.read().toString();
  };
  assert.equal(written(true), `${line}\n`);
  assert.match(written(false), /^03:04:05 200 users\.get /);
  assert.doesNotMatch(written(false), /\u001b/);
});

test('a terminal gets colours, unless NO_COLOR is set', () => {
  // A process of its own, which believes that its output is a terminal.
  const program = `
    import tty from 'node:tty';
    import { createLog } from ${JSON.stringify(new URL('dev_log.mjs', import.meta.url).href)};
    process.stdout.isTTY = true;
    process.stdout.getColorDepth = tty.WriteStream.prototype.getColorDepth;
    createLog({ isJson: false, stream: process.stdout })(${JSON.stringify(JSON.stringify(request))}, { level: 'log', timestamp: 0 });`;
  const write = (env) => execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', env: { PATH: process.env.PATH, TERM: 'xterm-256color', ...env } });
  assert.match(write({}), /\u001b\[32m200/);
  assert.doesNotMatch(write({ NO_COLOR: '1' }), /\u001b/);
});
