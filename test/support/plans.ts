import assert from 'node:assert/strict';
import { bind } from '../../src/db/bind.ts';
import { placesOfDue, soonest } from '../../src/engine/ask.ts';
import { type Cursor, claim } from '../../src/engine/statements.ts';
import type { CompiledRule, Installed } from '../../src/job/compile.ts';
import type { Job } from '../../src/job/define.ts';
import { job as packages } from '../../src/jobs/hotspot/packages.ts';
import { job as specialPackages } from '../../src/jobs/special-packages.ts';
import { compiled } from './compiled.ts';
import { database, type TestDatabase } from './harness.ts';
import { SCHEMA } from './schema.ts';

/** Large tables of every kind, and what a query reads of them. */

export const NOW = '2026-03-01T12:00:00Z';
export const DUE = 10;

export const INDEXES: Record<string, string> = {
  activate: 'to_activate',
  miss: 'to_miss',
  deactivate: 'to_deactivate',
  settle: 'to_settle',
  keep: 'to_keep',
};

// Every hundred rows hold sales done, sales to come, sales going on, schedules switched off, rows without any schedule.
const manyPackages = (rows: number) => `
  insert into packages (name, enable_schedule, status, is_active, scheduled_activation_time, scheduled_deactivation_time,
    validity, opened_start, opened_end, closed_end)
  select 'n' || n, kind < 95, case when kind between 75 and 89 then 'active' else 'inactive' end, kind between 75 and 89,
    case when kind < 40 then t '${NOW}' - interval '3 days' - span when kind < 75 then t '${NOW}' + interval '1 hour' + span
      when kind < 90 then t '${NOW}' - interval '1 hour' end,
    case when kind % 5 = 0 and kind < 40 then t '${NOW}' - interval '1 day' end,
    case when kind < 40 then '1 day' when kind < 75 then '3 weeks' when kind < 85 then '2 months' end,
    case when kind < 40 then t '${NOW}' - interval '3 days' - span when kind between 75 and 89 then t '${NOW}' - interval '1 hour' end,
    case when kind < 40 then ended::timestamptz when kind between 75 and 84 then timestamptz '${NOW}' - interval '1 hour' + interval '1440 hours' end,
    case when kind < 40 then ended end
  from generate_series(1, ${rows}) as n
  cross join lateral (select n % 100 as kind, make_interval(mins => n / 100) as span) as of_row
  cross join lateral (
    select case when kind % 5 = 0 then t '${NOW}' - interval '1 day' else t '${NOW}' - interval '2 days' - span end as ended
  ) as of_window`;

const duePackages = `
  insert into packages (name, enable_schedule, status, is_active, scheduled_activation_time, validity, opened_start, opened_end)
  select rule, true, status, status = 'active', start, validity, opened, opened + interval '2 hours'
  from generate_series(1, ${DUE})
  cross join (values
    ('activate', 'inactive', t '${NOW}' - interval '1 hour', '1 day', null),
    ('deactivate', 'active', t '${NOW}' - interval '3 hours', '2 hours', t '${NOW}' - interval '3 hours'),
    ('miss', 'inactive', t '${NOW}' - interval '3 hours', '2 hours', null),
    ('settle', 'inactive', t '${NOW}' - interval '3 hours', '2 hours', t '${NOW}' - interval '3 hours'),
    ('keep', 'active', t '${NOW}' - interval '1 hour', '1 day', null)
  ) as due (rule, status, start, validity, opened)`;

const manySpecial = (rows: number) => `
  insert into special_packages (name, scheduled, auto_activate, auto_deactivate, is_active, schedule_date, schedule_time,
    valid_until, timezone, closed_end)
  select 'n' || n, kind between 40 and 74, kind < 95, kind < 95, kind between 75 and 89,
    case when kind < 40 then date '2025-01-01' when kind < 75 then date '2026-03-03' + n / 1000 else date '2026-02-01' end,
    case when kind % 3 = 0 then null else make_time(n % 24, n % 60, 0) end,
    case when kind < 40 then date '2025-06-01' when kind < 90 then date '2026-03-10' + n / 1000 end,
    case when kind % 4 = 0 then 'Africa/Nairobi' when kind % 4 = 1 then 'America/New_York' end,
    case when kind < 40 then scheduler.instant(
      timestamp '2025-06-02', case when kind % 4 = 1 then 'America/New_York' else 'Africa/Nairobi' end
    ) end
  from generate_series(1, ${rows}) as n
  cross join lateral (select n % 100 as kind) as of_row`;

const dueSpecial = `
  insert into special_packages (name, scheduled, auto_activate, auto_deactivate, is_active, schedule_date, valid_until)
  select rule, scheduled, true, true, active, date '2026-02-20', until
  from generate_series(1, ${DUE})
  cross join (values
    ('activate', true, false, date '2026-04-01'),
    ('deactivate', false, true, date '2026-02-25'),
    ('miss', true, false, date '2026-02-25'),
    ('settle', false, false, date '2026-02-25')
  ) as due (rule, scheduled, active, until)`;

/** What a Laravel application has: ids it makes itself, times without a zone, a status of its own type. */
const ADOPTED = `
  create type package_status as enum ('draft', 'inactive', 'active');
  create table packages (
    id uuid primary key default gen_random_uuid(), tenant_id integer not null default 1, name varchar(255) not null,
    status package_status not null default 'inactive', is_active boolean default false, enable_schedule boolean default false,
    scheduled_activation_time timestamp(0), scheduled_deactivation_time timestamp(0), validity varchar(50),
    activated_at timestamp(0), deactivated_at timestamp(0), created_at timestamp(0), updated_at timestamp(0)
  );
  create table special_packages (
    id uuid primary key default gen_random_uuid(), name varchar(255), scheduled boolean, schedule_date date, schedule_time time(0),
    auto_activate boolean, auto_deactivate boolean, is_active boolean, valid_until date, timezone varchar(64),
    updated_at timestamp(0)
  )`;

export interface Kind {
  type: string;
  status: string;
  idType: string;
  dbZone: string;
}

const FRESH: Kind = { type: 'timestamptz', status: '', idType: 'bigint', dbZone: 'UTC' };
const LARAVEL: Kind = { type: 'timestamp', status: '::package_status', idType: 'uuid', dbZone: 'America/New_York' };

export const JOBS = [packages, specialPackages];
export const KINDS = { 'the tables made here': FRESH, 'adopted tables': LARAVEL };

export const values = (job: Job, dbZone: string) => ({
  now: NOW,
  zone: 'Africa/Nairobi',
  dbZone,
  tenant: SCHEMA,
  job: job.name,
  limit: 1000,
  seen: '[]',
});

export const compiledFor = (db: TestDatabase, job: Job, kind: Kind) => compiled(db, job, kind.dbZone);

interface Node {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Index Cond'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  'Rows Removed by Index Recheck'?: number;
  Plans?: Node[];
}

export async function explain(db: TestDatabase, sql: string, parameters: Record<string, unknown>): Promise<Node[]> {
  const bound = bind(`explain (analyze, format json) ${sql}`, parameters);
  // As a transaction of ours begins: see src/db/search-path.ts.
  await db.query(`select set_config('scheduler.search_path', current_setting('search_path'), false)`);
  const { 'QUERY PLAN': plan } = await db.one(bound.text, bound.values);
  const flatten = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(flatten)];
  return flatten(plan[0].Plan);
}

/** As the engine does: see inIndexOrder in src/db.ts. */
export async function inIndexOrder<T>(db: TestDatabase, work: () => Promise<T>): Promise<T> {
  await db.query('set enable_seqscan = off; set enable_bitmapscan = off');
  try {
    return await work();
  } finally {
    await db.query('reset enable_seqscan; reset enable_bitmapscan');
  }
}

// Its condition on the next window is part of no index, so that it shares one with the rule before it.
export const indexOf = (table: string, rule: string): string =>
  table === 'packages' && rule === 'deactivate' ? 'to_go_on' : INDEXES[rule]!;

const explainClaim = (db: TestDatabase, rule: CompiledRule, parameters: Record<string, unknown>, cursor?: Cursor) =>
  inIndexOrder(db, () => explain(db, claim(rule, { cursor }), parameters));

export const scansOf = (nodes: Node[], table: string) => nodes.filter((node) => node['Relation Name'] === table);
export const rowsRead = (scan: Node) =>
  scan['Actual Loops'] *
  (scan['Actual Rows'] + (scan['Rows Removed by Filter'] ?? 0) + (scan['Rows Removed by Index Recheck'] ?? 0));

export async function readsOnlyItsIndex(
  db: TestDatabase,
  kind: Kind,
  { job }: Installed,
  rule: CompiledRule,
  most: number,
  parameters = {},
  cursor?: Cursor,
): Promise<number> {
  const table = job.table.name;
  const all = { ...values(job, kind.dbZone), ...parameters, ...cursor };
  const scans = scansOf(await explainClaim(db, rule, all, cursor), table);
  const what = `${job.name}/${rule.name}: ${JSON.stringify(scans)}`;
  assert.deepEqual(
    scans.map((scan) => [scan['Node Type'], scan['Index Name']]),
    [['Index Scan', `${table}_${indexOf(table, rule.name)}`]],
    what,
  );
  assert.ok(rowsRead(scans[0]!) <= most, what);
  return scans[0]!['Actual Rows'];
}

export async function readsNothing(db: TestDatabase, kind: Kind, job: Job) {
  const { rules } = await compiledFor(db, job, kind);
  const nodes = await inIndexOrder(db, () =>
    explain(db, `select ${placesOfDue(rules, true)}`, values(job, kind.dbZone)),
  );
  const scans = scansOf(nodes, job.table.name);
  assert.ok(scans.length > 0);
  for (const scan of scans) assert.equal(rowsRead(scan), 0, JSON.stringify(scan));
}

/** A lingering tick looks once a second, and each look must be as cheap. */
export async function looksAheadInVain(db: TestDatabase, kind: Kind, job: Job) {
  const installed = await compiledFor(db, job, kind);
  const nodes = await inIndexOrder(db, () => explain(db, soonest([installed], true), values(job, kind.dbZone)));
  const scans = scansOf(nodes, job.table.name);
  assert.ok(scans.length > 0);
  for (const scan of scans) {
    assert.match(scan['Node Type'], /^Index (Only )?Scan$/);
    assert.equal(rowsRead(scan), 0, JSON.stringify(scan));
  }
}

export async function fill(kind: Kind, rows: number, due: boolean): Promise<TestDatabase> {
  const db = await database({ empty: kind !== FRESH });
  if (kind !== FRESH) {
    await db.query(ADOPTED);
  }
  await db.migrate({ SCHEDULER_DB_TIMEZONE: kind.dbZone, SCHEDULER_TIMEZONE: 'Africa/Nairobi' });
  await db.query(`set timezone = '${kind.dbZone}'`);
  const written = (sql: string) =>
    db.query(
      sql
        .replaceAll(/\bt '([^']*)'/g, `('$1'::timestamptz)::${kind.type}`)
        .replaceAll(/(case when kind between 75 and 89 then 'active' else 'inactive' end)/g, `($1)${kind.status}`)
        .replaceAll(/select rule, true, status,/g, `select rule, true, status${kind.status},`)
        .replaceAll(/validity, opened, opened/g, `validity, opened::timestamptz, opened::timestamptz`),
    );
  await written(manyPackages(rows));
  await written(manySpecial(rows));
  if (due) {
    await written(duePackages);
    await written(dueSpecial);
  }
  await db.query('analyze');
  return db;
}
