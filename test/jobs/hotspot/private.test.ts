import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { fakeGateway, fakeNas, type Reply } from '../../support/fakes.ts';
import { database, type TestDatabase } from '../../support/harness.ts';
import { hotspotPackage, online, pay } from '../../support/hotspot-rows.ts';
import { SCHEMA } from '../../support/schema.ts';
import { until } from '../../support/until.ts';

const CHANNELS = ['dashboard-stats', 'payments', 'hotspot-users', ...Array.from({ length: 9 }, (_, n) => `user.${n}`)];

/** Every table but those that must hold it, as text. */
async function written(db: TestDatabase, but: string[]): Promise<Record<string, string>> {
  const tables = await db.query(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('${SCHEMA}', 'scheduler')`,
  );
  const found: Record<string, string> = {};
  for (const { name } of tables) {
    const rows = await db.query(`select to_jsonb(t)::text as row from ${name} as t`);
    for (const { row } of rows) {
      const kept = Object.entries(JSON.parse(row)).filter(([column]) => !but.includes(`${name}.${column}`));
      found[name] = `${found[name] ?? ''}\n${JSON.stringify(Object.fromEntries(kept))}`;
    }
  }
  return found;
}

test('no password, key or phone number is in anything that a full run wrote, but where it has to be', async () => {
  await using db = await database();
  const heard: string[] = [];
  const listener = new pg.Client({ connectionString: db.url });
  await listener.connect();
  listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
  for (const channel of CHANNELS) await listener.query(`listen "${channel}"`);

  // The gateway takes one, echoes everything with a refusal of the next, and hangs up on the third.
  const replies: Reply[] = [
    (response, { body }) => response.writeHead(200).end(JSON.stringify({ id: 'msg-1', echo: body })),
    (response, { body }) => response.writeHead(422).end(body),
    (response) => response.socket!.destroy(),
  ];
  const sms: string[] = [];
  await using gateway = await fakeGateway((response, request) => {
    sms.push(JSON.parse(request.body).text);
    replies[(sms.length - 1) % replies.length]!(response, request);
  });
  await using nas = await fakeNas((request) => request.send(request.reply(41)));
  const key = 'signing-key-of-the-operator';
  const env = {
    SCHEDULER_SMS: 'webhook',
    SCHEDULER_SMS_URL: `${gateway.url}/path-that-is-secret`,
    SCHEDULER_SMS_SECRET: key,
    SCHEDULER_RADIUS_PORT: String(nas.port),
  };
  await db.insert('nas', { nasname: '127.0.0.1', shortname: 'test', secret: nas.secret });
  const { id } = await hotspotPackage(db);
  const phones = ['254711000111', '254722000222', '254733000333', '254744000444', '254755000555'];
  const paid = (phone_number: string, over = {}) => pay(db, id, { phone_number, updated_at: new Date(), ...over });
  await paid(phones[0]!);
  await paid(phones[1]!);
  await paid(phones[2]!);
  await paid(phones[3]!, { amount: 1 });
  // A trigger of the application that repeats in its error what it was given.
  await db.query(`
    create function complain() returns trigger language plpgsql as $$
    begin
      if new.phone_number = '${phones[4]}' then raise exception 'not this one'; end if;
      return new;
    end $$;
    create trigger complain before insert on hotspot_users for each row execute function complain()`);
  await paid(phones[4]!);

  let printed = '';
  const run = async (...args: string[]) => {
    const { out, err } = await db.cli(args, { env: { ...env, SCHEDULER_LOG_LEVEL: 'debug' } });
    printed += out + err;
  };
  await run('tick', '--dry-run', '--debug', '--json');
  await run('tick', '--debug');
  const passwords = (await db.query(`select value from radcheck where attribute = 'Cleartext-Password'`)).map(
    ({ value }) => value,
  );
  const [user] = await db.query('select * from hotspot_users order by id limit 1');
  await online(db, user!.username, { nasipaddress: '127.0.0.1' });
  await paid(phones[0]!);
  await run('tick', '--debug', '--json');
  await db.query(`update hotspot_users set subscription_expires_at = now(), data_used = 1;
    update radius_sessions set expected_end = now()`);
  await run('tick', '--debug');
  const disconnected = `select from session_disconnections where status = 'disconnected'`;
  await until(
    'the router has answered',
    async () => {
      // On a busy machine its answer may come too late.
      await db.query(
        `update session_disconnections set status = 'pending', attempts = 0, next_attempt_at = now() where status = 'failed'`,
      );
      await run('tick', '--debug', '--json');
      return (await db.query(disconnected)).length > 0;
    },
    60_000,
  );
  await listener.query('select 1');
  await listener.end();

  assert.equal(passwords.length, 3);
  assert.ok(passwords.every((password) => sms.some((text) => text.includes(password))));
  assert.equal((await db.query(disconnected)).length, 1);
  assert.ok(heard.length >= 10, `${heard.length} notifications`);
  assert.match(printed, /Payment provisioned/);

  const phoneColumns = ['payments', 'hotspot_users', 'hotspot_credentials'].map(
    (name) => `${SCHEMA}.${name}.phone_number`,
  );
  const places = {
    ...(await written(db, [`${SCHEMA}.radcheck.value`, `${SCHEMA}.nas.secret`, ...phoneColumns])),
    output: printed,
    notifications: heard.join('\n'),
  };
  const secrets = [
    ...passwords,
    ...phones,
    ...phones.map((phone) => phone.slice(3)),
    key,
    'path-that-is-secret',
    nas.secret,
  ];
  for (const [place, text] of Object.entries(places)) {
    for (const secret of secrets) assert.ok(!text.includes(secret), `${secret} is in ${place}`);
  }
  // Nobody has access any more, and nothing waits to be sent: no password is left at all.
  assert.deepEqual(await db.query('select * from radcheck'), []);
  assert.deepEqual(await db.query('select * from hotspot_credentials where plain_password is not null'), []);
});
