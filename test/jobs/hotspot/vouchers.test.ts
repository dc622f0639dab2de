import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../../support/harness.ts';
import { at, NOW, passOf } from '../../support/hotspot-rows.ts';

test('unused and active vouchers past their end become expired, others stay as they are', async () => {
  await using db = await database();
  const put = (code: string, status: string, expires_at: string | null) =>
    db.insert('vouchers', { code, status, expires_at });
  await put('a', 'unused', NOW);
  await put('b', 'active', at(-5));
  await put('c', 'unused', at(1));
  await put('d', 'unused', null);
  await put('e', 'used', at(-5));
  const pass = passOf(await db.tick(NOW, { only: ['vouchers'] }), 'vouchers');
  assert.deepEqual(pass.changed, { expire: 2 });
  assert.equal(pass.lateSeconds, 300);
  assert.deepEqual(
    (await db.query('select status from vouchers order by code')).map((row) => row.status),
    ['expired', 'expired', 'unused', 'unused', 'used'],
  );
});

test('no log line names the code of a voucher', async () => {
  await using db = await database();
  await db.insert('vouchers', { code: 'K7TR-93HX', status: 'unused', expires_at: NOW });
  const { out, err, code } = await db.cli(['vouchers', '--debug']);
  assert.equal(code, 0);
  assert.match(err, /vouchers: expire/);
  assert.doesNotMatch(out + err, /K7TR/);
});

test('a row that a trigger puts back fails, and the others are done', async () => {
  await using db = await database();
  await db.query(
    `insert into vouchers (code, status, expires_at) select 'c' || n, 'unused', '2026-03-01Z' from generate_series(1, 3) as n`,
  );
  const back = (when: string, body: string) =>
    db.query(`create or replace function back() returns trigger language plpgsql as $$ begin ${body} end $$;
      drop trigger if exists back on vouchers;
      create trigger back ${when} update on vouchers for each row when (new.code = 'c2' and pg_trigger_depth() = 0) execute function back()`);
  const tick = async () => {
    const { jobs, exitCode } = await db.tick('2026-03-02T00:00Z', { only: ['vouchers'] });
    return [exitCode, jobs[0]!.changed, jobs[0]!.failures.map(({ error }) => error)];
  };
  await back('before', `new.status := 'unused'; return new;`);
  assert.deepEqual(await tick(), [1, { expire: 2 }, ['the change left it due']]);
  await db.query(`delete from scheduler.failures; update vouchers set status = 'unused'`);
  await back('after', `update vouchers set status = 'unused' where id = new.id; return null;`);
  const twice = 'one pass would change it twice by this rule, for the same time';
  assert.deepEqual(await tick(), [1, { expire: 3 }, [twice]]);
});
