import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownCrontab, tableIn, withoutBlock } from '../../src/setup/install/own-crontab.ts';
import type { Installation } from '../../src/setup/install/plan.ts';

// The command itself is tried in test/debian.

const plan: Installation = {
  ...{ name: 'scheduler', way: 'cron', user: undefined, envFile: '/etc/s.env', options: [] },
  ...{ node: '/n', launcher: '/l', force: false },
};
const without = (text: string) => withoutBlock(text, plan);

test('where "crontab -l" fails, only "no crontab" is an empty one: any other would be overwritten', () => {
  const said = (stderr: string, status: number | null = 1) => tableIn({ status, stdout: 'mine\n', stderr });
  assert.equal(said('', 0), 'mine\n');
  assert.equal(said('no crontab for alice\n'), '');
  for (const [stderr, status] of [
    ['crontab: cannot open the table: permission denied', 1],
    ['', null],
  ] as const)
    assert.throws(() => said(stderr, status), /^OperatorError: "crontab -l" failed: |^Error: "crontab -l" failed: /);
});

test('our lines are taken out of a crontab, and all others stay as they are', () => {
  const ours = ownCrontab(plan);
  const [mine, more] = ['# END scheduler\n1 2 * * * mine\n', '3 4 * * * mine too\n'];
  assert.equal(without(`${mine}${ours}${more}`), `${mine}${more}`);
  assert.deepEqual(
    ['', '1 2 * * * mine'].map(without),
    ['', '1 2 * * * mine\n'],
    'what is added gets a line of its own',
  );
  // Somebody has taken the last of our lines away: what follows is theirs.
  const cut = `${ours.replace(/.*\n$/, '')}${more}`;
  assert.equal(without(cut), cut);
});
