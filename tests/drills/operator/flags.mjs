// Somebody has written flags by hand that are not taken, or that nobody reads.

import assert from 'node:assert/strict';

import { codes, read, status } from './desk.mjs';

const put = (desk, key, value) => desk.wrangler(['kv', 'key', 'put', key, value, '--binding', 'FLAGS']);
const seen = (desk, code) => desk.until(`the problem ${code}`, async () => codes(await status(desk)).includes(code), 20_000);

export const flags = {
  title: 'Flags that are refused',
  async run(desk) {
    // By hand, with wrangler: it takes anything.
    await put(desk, 'read_percent', 'fifty');
    await put(desk, 'read_precent', '10');
    await seen(desk, 'flag_refused');
    await seen(desk, 'flag_unknown');
    read(
      await desk.dwp(['status'], 1),
      /WARNING: read_percent is "fifty", which is not taken.*/,
      /`dwp flag set read_percent VALUE`/,
      /WARNING: read_precent is no flag.*/,
    );
    read(await desk.dwp(['flag', 'list'], 1), /^refused +read_percent +fifty .*/m, /^unknown +read_precent.*/m);
    // The command does not.
    read(await desk.dwp(['flag', 'set', 'read_percent', 'fifty'], 2), /it takes a percentage from 0 to 100/);
    read(await desk.dwp(['flag', 'set', 'read_precent', '10'], 2), /reads no flag "read_precent"/);
    read(await desk.dwp(['flag', 'set', 'read_percent', '0', '--reason', 'not yet']), /read_percent: fifty -> 0, in force/);
    read(await desk.dwp(['flag', 'unset', 'read_precent']), /read_precent: \(not read\) -> absent/);
    // A brake that cannot be read is pulled.
    await put(desk, 'kill_switch', 'yes');
    read(
      await desk.until('the brake is pulled', async () => {
        const { problems } = await status(desk);
        return problems[0]?.severity === 'critical' && desk.dwp(['status'], 1);
      }),
      /CRITICAL: kill_switch is "yes".*counts as pulled/,
    );
    read(await desk.dwp(['flag', 'unset', 'kill_switch', '--reason', 'a slip']), /kill_switch: yes -> absent, in force/);
    read(await desk.dwp(['status']), /nothing is wrong/);
    await desk.until('the history has both', async () => {
      const { stdout } = await desk.dwp(['flag', 'history', '--key', 'kill_switch']);
      return /absent -> \(unreadable_pulled\) +-/.test(stdout) && /\(unreadable_pulled\) -> absent +ama +a slip/.test(stdout);
    }, 20_000);
    assert.deepEqual(codes(await status(desk)), []);
  },
};
