import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sendSms } from '../../src/jobs/hotspot/sms/send.ts';
import { DUE_ROWS, NOW } from '../support/due-rows.ts';
import { fakeGateway } from '../support/fakes.ts';
import { database } from '../support/harness.ts';

/** Rows hold what strangers typed. */

test('a value of any size costs no more than its own row: events and failures hold a part of it', async () => {
  await using db = await database();
  await db.query(DUE_ROWS.packages!.activate!.make);
  await db.query(`insert into packages (name, enable_schedule, status, scheduled_activation_time, validity)
    select repeat('long', 5000000), true, 'inactive', timestamptz '${NOW}' - interval '1 minute', '1 day' from generate_series(1, 3)`);
  await db.query(`create function refuse() returns trigger language plpgsql as $$
    begin if new.id = 3 then raise exception '%', new.name; end if; return new; end $$;
    create trigger refuse before update on packages for each row execute function refuse()`);
  const { code, err } = await db.cli(['tick', '--at', NOW]);
  assert.equal(code, 1, err.slice(0, 1000));
  assert.ok(err.length < 10_000, `${err.length} characters`);
  const sizes = await db.query('select length(data::text) as size from scheduler.events order by 1');
  assert.equal(sizes.length, 3);
  assert.ok(
    sizes.every(({ size }) => size < 12_000),
    JSON.stringify(sizes),
  );
  const [failure] = await db.query('select length(error) as size from scheduler.failures');
  assert.ok(failure!.size <= 2000);
});

test('an SMS goes to one number: a list of numbers is refused before any gateway sees it', async () => {
  await using gateway = await fakeGateway((response) => void response.writeHead(200).end('{}'));
  const settings = { provider: 'webhook', url: gateway.url, secret: 's', timeoutMs: 1000 } as never;
  for (const to of ['+254711000111,+254722000222', '254711000111;254722000222', '254711000111 and more', '12', '']) {
    const outcome = await sendSms(
      settings,
      { to, text: 'secret', reference: 'r' },
      AbortSignal.timeout(5000),
      () => {},
    );
    assert.deepEqual(outcome, { kind: 'rejected', reason: 'it is not one phone number' }, to);
  }
  assert.equal(gateway.asked.length, 0);
});

const MARKS = /[\u2028-\u202e\u2066-\u2069]|(?![\n\t])\p{Cc}/u;

test('control characters in rows reach no terminal', async () => {
  await using db = await database();
  const evil = '\u001b]0;title\u0007\u001b[2J\r\nfake line \u202ereversed';
  await db.query(DUE_ROWS.packages!.activate!.make);
  await db.query('update packages set name = $1, validity = $1', [evil]);
  const tick = await db.cli(['tick', '--at', NOW]);
  assert.equal(tick.code, 1);
  for (const args of [
    ['failures'],
    ['explain', 'packages', '1'],
    ['events'],
    ['next'],
    ['history'],
    ['status'],
    ['doctor'],
  ]) {
    const { out, err } = await db.cli(args);
    assert.doesNotMatch(out + err, MARKS, args.join(' '));
    assert.doesNotMatch(out, /^fake line/m, args.join(' '));
  }
});
