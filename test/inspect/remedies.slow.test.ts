import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import type { Diagnosis } from '../../src/inspect/doctor/diagnose.ts';
import type { Finding } from '../../src/inspect/doctor/finding.ts';
import { lockOf } from '../../src/store/lock.ts';
import { cli, database, finished, LAUNCHER, type TestDatabase } from '../support/harness.ts';
import { grantRole } from '../support/roles.ts';

/** Each remedy that "doctor" prints, done as the role and over the connection that it names. Then doctor is content. */

interface Patient {
  /** A role that owns nothing, as whom ticks run. */
  role: string;
  look(): Promise<Finding[]>;
  of(check: string): Promise<Finding>;
  /** Does what the check prints, from top to bottom. */
  follow(check: string): Promise<void>;
}

async function withPatient(db: TestDatabase, work: (patient: Patient) => Promise<void>): Promise<void> {
  const role = `app_${db.name}`;
  const folder = mkdtempSync(join(tmpdir(), 'remedies-'));
  symlinkSync(LAUNCHER, join(folder, 'scheduler'));
  const as = (name: string) => db.url.replace('postgres@', `${name}@`);
  const file = join(folder, 'the settings.env');
  await grantRole(db, role);
  writeFileSync(file, `DATABASE_URL=${as(role)}\n`);
  const shell = (line: string) =>
    finished(spawn('/bin/sh', ['-c', line], { cwd: '/', env: { PATH: `${folder}:/usr/bin:/bin`, HOME: '/' } }));

  const look = async () => {
    const { out, err } = await cli(['doctor', '--json', '--env-file', file]);
    assert.equal(err, '');
    return (JSON.parse(out) as Diagnosis).checks;
  };
  const of = async (check: string) => (await look()).find((each) => each.check === check)!;
  const follow = async (check: string) => {
    const { remedy = [], message } = await of(check);
    const commands = remedy.filter((line) => !/^(#|--)/.test(line));
    assert.ok(commands.length > 0, `${check}: ${message} ${remedy.join('\n')}`);
    let client = await connect(as(role));
    for (const line of remedy) {
      const [, named] =
        /^-- As (?:the (owner)|a (superuser)|([\w-]+))/.exec(line)?.filter((each) => each !== undefined) ?? [];
      if (named) {
        await client.end();
        client = await connect(as(/^(owner|superuser)$/.test(named) ? 'postgres' : named));
      } else if (/^(#|--)/.test(line)) continue;
      else if (line.endsWith(';')) await client.query(line);
      else {
        const { code, err } = await shell(line.replace(/^(\* ){5}/, '').replaceAll('\\%', '%'));
        assert.equal(code, 0, `${line}: ${err}`);
      }
    }
    await client.end();
  };
  try {
    await work({ role, look, of, follow });
  } finally {
    rmSync(folder, { recursive: true });
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  return client;
}

/** A role without any right, whose process is ended by the remedy. */
async function strangerWithLock(db: TestDatabase): Promise<AsyncDisposable & { role: string }> {
  const role = `stranger_${db.name}`;
  await db.query(`create role ${role} login`);
  const client = await connect(db.url.replace('postgres@', `${role}@`));
  client.on('error', () => {});
  await client.query(`select pg_advisory_lock(${lockOf("'public'")})`);
  return {
    role,
    async [Symbol.asyncDispose]() {
      await client.end().catch(() => {});
      await db.query(`drop role ${role}`);
    },
  };
}

const failed = (checks: Finding[]) => checks.filter(({ outcome }) => outcome === 'failed').map(({ check }) => check);

test('rights, indexes, the schema, locks, pauses, failures and a missing tick', async () => {
  await using db = await database();
  const owner = `owner_${db.name}`;
  await db.query(
    `create role ${owner} login; grant create on schema public to ${owner}; alter table vouchers owner to ${owner}`,
  );
  try {
    await withPatient(db, async ({ role, look, of, follow }) => {
      assert.equal((await of('last tick')).outcome, 'warning');
      await follow('last tick');
      assert.deepEqual(
        (await look()).filter(({ outcome }) => outcome !== 'ok'),
        [],
      );

      await db.query(`revoke update on packages, vouchers from ${role}`);
      assert.deepEqual((await of('rights')).remedy!.filter((line) => line.startsWith('--')).length, 2);
      await follow('rights');

      await db.query(`drop index packages_to_activate;
        update pg_index set indisvalid = false where indexrelid = 'vouchers_to_expire'::regclass`);
      await follow('indexes');
      assert.deepEqual(failed(await look()), []);

      const { rows } = {
        rows: await db.query('update scheduler.migrations set name = $1 where id = 1 returning 1', ['x']),
      };
      assert.equal(rows.length, 1);
      await follow('schema');
      await grantRole(db, role);
      assert.deepEqual(failed(await look()), []);

      await using holder = await strangerWithLock(db);
      assert.equal((await of('lock')).outcome, 'failed', holder.role);
      await follow('lock');

      await cli(['stop', 'packages', '--reason', 'x'], { env: { DATABASE_URL: db.url } });
      await follow('packages');
      await db.insert('packages', {
        name: 'p',
        enable_schedule: true,
        scheduled_activation_time: new Date(),
        validity: 'x',
      });
      await db.tick();
      await db.query(`update scheduler.failures set next_attempt_at = 'infinity', quarantined_at = now();
        update packages set validity = '2 hours'`);
      assert.match((await of('failures')).message, /1 row in quarantine/);
      await follow('failures');
      await db.tick();
      assert.deepEqual(
        (await look()).filter(({ outcome }) => outcome !== 'ok'),
        [],
      );
    });
  } finally {
    await db.query(`alter table vouchers owner to postgres; drop owned by ${owner}; drop role ${owner}`);
  }
});

test('a database, a role, and a role in a database whose transactions only read', async () => {
  await using db = await database();
  await db.tick();
  await withPatient(db, async ({ role, of, follow }) => {
    for (const place of [`database ${db.name}`, `role ${role}`, `role ${role} in database ${db.name}`]) {
      await db.query(`alter ${place} set default_transaction_read_only = on`);
      assert.equal((await of('writable')).outcome, 'failed', place);
      await follow('writable');
      assert.equal((await of('writable')).outcome, 'ok', place);
    }
  });
});

test('a column that was dropped, or has another type since; and a table that is another one', async () => {
  await using db = await database();
  await db.tick();
  await withPatient(db, async ({ role, of, follow }) => {
    await db.query(
      'alter table packages alter is_active drop default, alter is_active type integer using is_active::integer',
    );
    assert.deepEqual((await of('packages')).remedy!.slice(1), [
      'alter table public.packages alter column is_active type boolean using is_active::boolean;',
    ]);
    await follow('packages');
    assert.equal((await of('packages')).outcome, 'ok');

    await db.query('alter table packages rename validity to lasts');
    const { message, remedy } = await of('packages');
    assert.match(message, /^was installed and ran until .*: packages\.validity missing$/);
    assert.equal(remedy![0], '-- If it was renamed: alter table public.packages rename column … to validity;');
    await follow('packages');
    assert.equal((await of('packages')).outcome, 'ok');

    await db.query(`alter table packages rename scheduled_activation_time to begins`);
    for (const job of ['packages', 'payments'])
      assert.equal((await of(job)).outcome, job === 'packages' ? 'failed' : 'ok');
    assert.ok(!(await of('packages')).remedy!.some((line) => /^scheduler migrate/.test(line)));
    await follow('packages');
    assert.equal((await of('packages')).outcome, 'warning');
    await db.query(
      `drop table packages cascade; create table packages (id integer primary key, parcel text); grant select on packages to ${role}`,
    );
    assert.match(
      (await of('payments')).remedy!.join('\n'),
      /The table packages lacks columns by which payments knows its own/,
    );
    await follow('payments');
    assert.equal((await of('payments')).outcome, 'warning');
  });
});

test('an enum type that lacks words', async () => {
  await using db = await database();
  await db.tick();
  await withPatient(db, async ({ of, follow }) => {
    await db.query(`create type voucher_state as enum ('unused');
      alter table vouchers drop column status cascade; alter table vouchers add status voucher_state`);
    assert.equal((await of('vouchers')).outcome, 'failed');
    await follow('vouchers');
    assert.equal((await of('vouchers')).outcome, 'ok');
    assert.equal((await of('indexes')).outcome, 'ok');
  });
});
