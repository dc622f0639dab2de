import assert from 'node:assert/strict';
import { test } from 'node:test';
import { machine } from './machine.ts';

test('the manual page of the installed package is found by man, and groff and mandoc have nothing against it', async () => {
  await using m = await machine();
  await m.install('man-db', 'groff', 'mandoc');
  await m.installPackage();
  const place = (await m.must('man --where scheduler')).trim();
  assert.match(
    await m.must('MANWIDTH=80 man scheduler | col -b'),
    /^SCHEDULER\(1\).*\n\nNAME\n +scheduler - does on time/m,
  );
  for (const check of [
    'LC_ALL=C.UTF-8 man --warnings=all -Z -Tutf8 -l PAGE >/dev/null',
    'groff -ww -z -man -Tutf8 PAGE',
    'mandoc -Tlint -Wstyle PAGE',
  ]) {
    const { code, out, err } = await m.run(check.replace('PAGE', place));
    assert.deepEqual([code, out + err], [0, ''], check);
  }
});
