import { blamesRow, type Database, NOTIFY_QUEUE_FULL, sqlState, type Transaction, type Values } from './db.ts';
import { RECORD_AND_TELL } from './events.ts';
import { CLEAR_SUCCEEDED, NOTE_REFUSED, noteRefused, type Refusal, waiting } from './failures.ts';
import { aliasOf, type Job, type Outcome, type Rule } from './job.ts';
import type { Log } from './log.ts';

/** The SQL around a rule. A job says what changes; everything here is the same for all of them. */

const conditions = (rule: Rule) => Object.values(rule.when).map((condition) => `(${condition})`);

const columns = (rule: Rule) => {
  const alias = aliasOf(rule);
  return `${alias}.id, ${rule.at} as due_at, ${rule.wrong ? `(${rule.wrong})` : 'null'}::text as wrong${rule.carry ? `, ${rule.carry}` : ''}`;
};

const isDue = (rule: Rule) =>
  [...conditions(rule), `${rule.at} <= :now::timestamptz`, `not ${waiting(`${aliasOf(rule)}.id`)}`].join(
    '\n      and ',
  );

/** Where the sweep over a rule's due rows has come to; strictly forward, so no row is seen twice in a run. */
interface Cursor {
  from: string;
  after: string;
}

function claim(rule: Rule, idType: string, cursor: Cursor | undefined): string {
  const alias = aliasOf(rule);
  const beyond = cursor ? `and (${rule.at}, ${alias}.id) > (:from::timestamptz, :after::text::${idType})` : '';
  return `select ${columns(rule)}, ${alias}.ctid::text as place
    from ${rule.row}
    where ${isDue(rule)} ${beyond}
    order by ${rule.at}, ${alias}.id
    limit :limit::integer
    for update of ${alias} skip locked`;
}

/** The same rows again, by their place: within the transaction that locked them they cannot move. */
function picked(rule: Rule): string {
  const alias = aliasOf(rule);
  return `select ${columns(rule)}
    from ${rule.row}
    where ${isDue(rule)} and ${alias}.ctid = any(:places::tid[]) and ${alias}.id::text = any(:ids::text[])`;
}

const changed = (rule: Rule, due: string) => `
  with due as materialized (${due}),
  todo as (select * from due where wrong is null),
  ${rule.change}`;

const complete = (rule: Rule, due: string) => `${changed(rule, due)},
  ${RECORD_AND_TELL},
  refused as (
    select id::text as id, wrong as error from due where wrong is not null
    union all
    select id::text, 'nothing was changed: a trigger or a rule of the table suppressed the update'
    from todo where not exists (select from outcome where outcome.entity_id = todo.id::text)
  ),
  noted as (${NOTE_REFUSED}),
  cleared as (${CLEAR_SUCCEEDED})
  select
    (select count(*) from due)::integer as claimed,
    (select row_to_json(l) from (select due_at::text as "from", id::text as after from due order by due_at desc, id desc limit 1) as l) as last,
    (select coalesce(json_object_agg(transition, count), '{}') from (select transition, count(*) from outcome group by 1) as t) as changed,
    (select coalesce(max(extract(epoch from :now::timestamptz - due_at)), 0)::double precision from outcome where isfinite(due_at)) as "lateSeconds",
    (select count(*) from told)::integer as told,
    (select coalesce(json_agg(refused), '[]') from refused) as refused,
    (select json_agg(json_build_object('transition', transition, 'entity_id', entity_id, 'data', data) order by due_at, step)
     from outcome where (select count(*) from due) <= :detail::integer) as outcomes`;

/** Is anything due? Of all rules at once, in one round trip. */
export function probe(jobs: Job[]): string {
  const checks = jobs.flatMap((job) =>
    job.rules.map(
      (rule) => `exists (select from ${rule.row} where ${isDue(rule).replaceAll(':job::text', `'${job.name}'`)})`,
    ),
  );
  return checks.length === 0 ? 'false' : checks.join('\n or ');
}

export interface Batch {
  claimed: number;
  last: Cursor | null;
  changed: Record<string, number>;
  lateSeconds: number;
  refused: Refusal[];
  /** What happened to each row, unless there are too many to tell one by one. */
  outcomes: Outcome[] | null;
  /** Notifications given up because the queue was full. */
  unsent: number;
}

export interface Pass {
  job: Job;
  idType: string;
  /** What the rules' SQL may refer to. */
  values: Values;
  run: string;
  batchSize: number;
  /** With more rows than this in a batch, they are only counted. */
  detail: number;
  notify: boolean;
}

/** The next batch of a rule, changed, recorded and told in one transaction. */
export async function nextBatch(
  db: Database,
  pass: Pass,
  rule: Rule,
  cursor: Cursor | undefined,
  log: Log,
): Promise<Batch> {
  const values = {
    ...pass.values,
    job: pass.job.name,
    rule: rule.name,
    run: pass.run,
    limit: pass.batchSize,
    detail: pass.detail,
    notify: pass.notify,
    ...cursor,
  };
  const due = claim(rule, pass.idType, cursor);
  try {
    const [batch] = await db.transaction((tx) => tx.query<Batch>(complete(rule, due), values));
    return { ...batch!, unsent: 0 };
  } catch (error) {
    if (sqlState(error) === NOTIFY_QUEUE_FULL && pass.notify) {
      log.warn(
        'The notification queue is full: a listener is stuck. Changes and events are kept; listeners are not woken.',
      );
      pass.notify = false;
      const batch = await nextBatch(db, pass, rule, cursor, log);
      return { ...batch, unsent: total(batch.changed) };
    }
    if (blamesRow(error)) return db.transaction((tx) => isolate(tx, rule, due, values));
    throw error;
  }
}

interface Claimed {
  id: string;
  place: string;
  due_at: string;
}

// A failing batch is first cut into this many pieces: with few bad rows most pieces are clean at once.
const PIECES = 16;

/** A batch that failed is taken apart until the failing rows stand alone; the others are then done together. */
async function isolate(tx: Transaction, rule: Rule, due: string, values: Values): Promise<Batch> {
  const rows = await tx.query<Claimed>(
    `select id::text as id, place, due_at::text as due_at from (${due}) as claimed`,
    values,
  );
  const pick = picked(rule);
  const chosen = (some: Claimed[]) => ({
    ...values,
    places: some.map((row) => row.place),
    ids: some.map((row) => row.id),
  });

  const trial = (some: Claimed[]) =>
    tx.attempt('undo', async () => {
      await tx.query(`${changed(rule, pick)} select count(*) from outcome`, chosen(some));
      await tx.query('set constraints all immediate');
    });
  const refused: Refusal[] = [];
  for (const piece of cut(rows, PIECES)) refused.push(...(await bisect(piece, trial)));

  const bad = new Set(refused.map((row) => row.id));
  const good = rows.filter((row) => !bad.has(row.id));
  const batches: Batch[] = [];
  const commit = (some: Claimed[]) =>
    tx.attempt('keep', async () => {
      const [batch] = await tx.query<Batch>(complete(rule, pick), chosen(some));
      await tx.query('set constraints all immediate');
      batches.push(batch!);
    });
  // Normally one statement; what fails only together with its event is taken apart here.
  if (good.length > 0) refused.push(...(await bisect(good, commit)));
  await noteRefused(tx, { job: values.job as string, rule: rule.name, now: values.now as string }, refused);
  const last = rows.at(-1);
  return {
    claimed: rows.length,
    last: last ? { from: last.due_at, after: last.id } : null,
    changed: sum(batches.map((batch) => batch.changed)),
    lateSeconds: Math.max(0, ...batches.map((batch) => batch.lateSeconds)),
    refused: [...refused, ...batches.flatMap((batch) => batch.refused)],
    outcomes: batches.flatMap((batch) => batch.outcomes ?? []),
    unsent: 0,
  };
}

async function bisect(rows: Claimed[], attempt: (rows: Claimed[]) => Promise<unknown>): Promise<Refusal[]> {
  const error = await attempt(rows);
  if (!error) return [];
  if (rows.length === 1) return [{ id: rows[0]!.id, error: (error as Error).message }];
  const refused: Refusal[] = [];
  for (const half of cut(rows, 2)) refused.push(...(await bisect(half, attempt)));
  return refused;
}

function cut<T>(items: T[], pieces: number): T[][] {
  const size = Math.max(1, Math.ceil(items.length / pieces));
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}

export function sum(counts: Record<string, number>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const each of counts) for (const [name, count] of Object.entries(each)) all[name] = (all[name] ?? 0) + count;
  return all;
}

export const total = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((all, count) => all + count, 0);
