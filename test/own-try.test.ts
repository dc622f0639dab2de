import { appendFileSync } from 'node:fs';
import { test } from 'node:test';
import { database } from './support/harness.ts';

test('try', async () => {
  await using db = await database();
  await db.query(`create schema app; create type app.st as enum ('trialing','expired'); create table app.accounts (id uuid primary key default gen_random_uuid(), owner_id int, state app.st not null default 'trialing',
    trial_ends_at timestamptz, expired_at timestamp, deleted_at timestamptz, time_zone text);
    insert into app.accounts (owner_id, trial_ends_at, time_zone) select n, now() - n * interval '1 day' + interval '3 days', 'Europe/Berlin' from generate_series(1, 120) n;
    insert into app.accounts (owner_id, trial_ends_at, time_zone) values (999, now() + interval '1 hour', 'Mars/Base')`);
  const say = (r: any) => appendFileSync('/tmp/own/say', `${[r.code, r.out, r.err].join(' ')}\n`);
  for (const args of [
    ['apply', '/tmp/own/jobs.yaml', '--dry-run'],
    ['apply', '/tmp/own/jobs.yaml'],
    ['apply', '/tmp/own/jobs.yaml', '--backlog', 'run'],
    ['jobs'],
    ['next'],
    ['tick'],
    ['tick'],
    ['apply', '/tmp/own/jobs.yaml', '--check'],
    ['events', '--job', 'trials', '--limit', '3'],
    ['failures'],
    ['status'],
    ['jobs', 'show', 'trials'],
    ['explain', 'trials', (await db.one('select id from app.accounts where owner_id=2')).id],
    ['run', 'trials', '--json'],
    ['history'],
    ['doctor'],
    ['explain', 'nope', '1'],
    ['next', 'nope'],
  ]) {
    say(await db.cli(args, { env: { TMPDIR: '/tmp' } }));
  }
});
