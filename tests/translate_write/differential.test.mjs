// A part of the differential of writes with each test run, and that it sees what it is there to see.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildJudge, differential } from './differential.mjs';

before(buildJudge);

test('1,500 random writes: the answers, and what becomes of the user, are Logto\'s', async () => {
  const { wrong, outcomes } = await differential({ n: 1_500, seed: 20_260_821 });
  assert.deepEqual(wrong, []);
  const steps = new Set([...outcomes.keys()].map((outcome) => outcome.split(' ')[1]));
  assert.deepEqual([...steps].filter((step) => step !== 'no_route').sort(), ['answer', 'apply', 'refuse']);
});

for (const defect of [
  'replaces_instead_of_merging', 'forgets_who_holds_what', 'takes_any_type_for_json', 'looks_for_the_user_first', 'has_a_clock_of_its_own',
  'shows_all_to_every_token', 'believes_every_proof', 'forgets_passwords',
]) {
  test(`a judge that ${defect.replaceAll('_', ' ')} is caught`, async () => {
    const { wrong } = await differential({ n: 1_500, seed: 20_260_821, defect, stopAfter: 1 });
    assert.notEqual(wrong.length, 0);
  });
}

test('the numbering plans are those of the library', () => {
  const script = fileURLToPath(new URL('../../scripts/phone-plans.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
