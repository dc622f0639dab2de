import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { database, type TestDatabase } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import {
  dues,
  type Happened,
  instant,
  type ModelJob,
  type ModelRow,
  nextDue,
  type Span,
  tick,
  wallOf,
} from '../support/own-model.ts';
import { shareOf } from '../support/share.ts';
import { ticker } from '../support/ticker.ts';

/**
 * Random rules on tables with names of every kind: a month rehearsed, the same month ticked, and one late tick, beside a model.
 * All instants lie on a minute, as a tick in the minute of the due time and a rehearsal at the due time then say the same.
 */

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
const NAMES = ['Größe "x"', 'a b', 'UPPER', 'select', "o'clock", 'x:now', 'ä'.repeat(31), 'y'.repeat(63), 'plain'];
const KEYS: Record<string, (n: number) => string> = {
  integer: (n) => String(n),
  bigint: (n) => String(9_007_199_254_740_990n + BigInt(n)),
  uuid: (n) => `00000000-0000-4000-8000-00000000000${n}`,
  text: (n) => `it's "${n}"`,
  'character(26)': (n) => `01ARZ3NDEKTSV4RRFFQ69G5FA${n}`,
  numeric: (n) => `${n}.50`,
  number_of_ours: (n) => String(n),
};
const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata'];
const BASES = ['2027-03-20T00:00Z', '2027-10-15T00:00Z', '2028-01-25T00:00Z', '2027-06-01T00:00Z'].map((t) =>
  Date.parse(t),
);

const span = fc.constantFrom<Span>(
  { minutes: 30 },
  { minutes: -90 },
  { days: 1 },
  { days: -3 },
  { months: 1 },
  { months: -1 },
);
const form = fc.record({
  of: fc.constantFrom('nothing', 'constant', 'row', 'minus row', 'count'),
  span,
  hour: fc.constantFrom(undefined, undefined, '02:30', '23:15'),
});
const caseOf = fc.record({
  base: fc.constantFrom(...BASES),
  names: fc.shuffledSubarray(NAMES, { minLength: 8, maxLength: 8 }),
  key: fc.constantFrom(...Object.keys(KEYS)),
  isId: fc.boolean(),
  zone: fc.constantFrom(...ZONES),
  zoneOfRow: fc.boolean(),
  remind: form,
  late: fc.constantFrom(undefined, 20, 1440),
  end: form,
  purge: fc.constantFrom<Span>({ minutes: 60 }, { days: 2 }),
  every: fc.constantFrom<Span>({ minutes: 720 }, { days: 1 }, { days: 7 }, { months: 1 }),
  storedAs: fc.constantFrom('timestamptz', 'timestamp'),
  isDay: fc.boolean(),
  isPartitioned: fc.boolean(),
  rows: fc.array(
    fc.record({
      at: fc.option(fc.integer({ min: -3 * 96, max: 28 * 96 }), { freq: 8 }),
      again: fc.option(fc.integer({ min: -3 * 96, max: 28 * 96 }), { freq: 4 }),
      span,
      times: fc.integer({ min: -2, max: 3 }),
      zone: fc.option(fc.constantFrom(...ZONES), { freq: 4 }),
      open: fc.boolean(),
      bad: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 3, maxLength: 5 },
  ),
});
type Case = typeof caseOf extends fc.Arbitrary<infer T> ? T : never;

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
const words = ({ months, days, minutes }: Span) =>
  months ? [months, 'months'] : days ? [days, 'days'] : [minutes ?? 0, 'minutes'];
const written = (each: Span) => words(each).join(' ');

function dueText({ of, span: by, hour }: Case['remind'], at: string, ofRow: string): string {
  const [count, unit] = words(by) as [number, string];
  const moved = {
    nothing: '',
    constant: ` ${count < 0 ? '-' : '+'} ${Math.abs(count)} ${unit}`,
    row: ` + ${ofRow}`,
    'minus row': ` - ${ofRow}`,
    count: ` + times ${unit}`,
  }[of]!;
  return `${at}${moved}${hour ? ` at ${hour}` : ''}`;
}

const inModel = ({ of, span: by, hour }: Case['remind']) => ({
  ...(of === 'constant' && { span: by }),
  ...(of === 'row' && { ofRow: 1 as const }),
  ...(of === 'minus row' && { ofRow: -1 as const }),
  ...(of === 'count' && { counted: words(by)[1] as keyof Span }),
  ...(hour !== undefined && { hour }),
});

/** What the zone of a row is where it has none. */
const USUAL_ZONE = 'UTC';

/** The table, its job, and the same for the model. */
function made(each: Case) {
  const [table, at, ofRow, open, state, reminded, ended, again] = each.names.map(quoted) as [
    ...[string, string, string, string, string, string, string, string],
  ];
  const key = each.isId ? 'id' : '"The Key"';
  const sql = `create domain number_of_ours as integer check (value > 0);
    create table ${table} (${key} ${each.key} primary key, ${at} ${each.isDay ? 'date' : each.storedAs}, ${ofRow} interval, ${open} boolean,
      ${state} text default 'new', ${ended} timestamptz, ${again} ${each.storedAs}, "the zone" text, changed_at timestamptz, count integer default 0,
      times integer, bad boolean) ${each.isPartitioned ? `partition by hash (${key})` : ''};
    create table "the log" (id text, due timestamptz, said timestamptz);
    ${each.isPartitioned ? [0, 1].map((n) => `create table part_${n} partition of ${table} for values with (modulus 2, remainder ${n});`).join('\n') : ''}`;
  const rule = (lines: Record<string, string>) =>
    Object.entries(lines)
      .map(([name, text]) => `        ${name}: ${/^\d|^true$|^[\w.]+$/.test(text) ? text : JSON.stringify(text)}\n`)
      .join('');
  const { late } = each;
  const yaml = `jobs:
  random:
    table: ${JSON.stringify(table)}
    zone: ${each.zoneOfRow ? 'the zone' : each.zone}
    rules:
      remind:
${rule({ due: dueText(each.remind, at, ofRow), where: open, once: unquoted(reminded), event: 'e.remind', ...(late && { late: `${late} minutes` }) })}
      end:
${rule({ due: dueText(each.end, at, ofRow), where: `${open} and ${state} = 'new'`, set: `${state} = 'over', ${ended} = due_at, changed_at = now`, event: 'e.end' })}        fails: { it is bad: bad }
        also: ${JSON.stringify(`insert into "the log" select ${key}::text, due_at, now from changed`)}

      purge:
${rule({ due: `${ended} + ${written(each.purge)}`, where: `${state} = 'over'`, delete: 'true', event: 'e.purge' })}
      repeat:
${rule({ due: again, repeat: written(each.every), set: 'count = count + 1', event: 'e.repeat' })}`;
  const model: ModelJob = {
    remind: { due: inModel(each.remind), ...(late !== undefined && { lateMinutes: late }) },
    end: { due: inModel(each.end) },
    purge: { span: each.purge },
    repeat: { every: each.every },
  };
  const rows = each.rows.map((row, n): ModelRow => {
    const time = (quarters: number | null) => (quarters === null ? null : each.base + quarters * 15 * MINUTE);
    const zone = each.zoneOfRow ? (row.zone ?? USUAL_ZONE) : each.zone;
    const day = row.at === null ? null : Math.floor(time(row.at)! / DAY) * DAY;
    return {
      ...{ id: KEYS[each.key]!(n + 1), zone, at: each.isDay && day !== null ? instant(day, zone) : time(row.at) },
      ...{
        span: row.span,
        times: row.times,
        bad: row.bad,
        open: row.open,
        remindedFor: null,
        state: 'new',
        endedAt: null,
        changedAt: null,
      },
      ...{ again: time(row.again), firstAgain: null, count: 0 },
    };
  });
  // As they are stored: a day has no zone, and a row may have none.
  const stored = rows.map((row, n) => {
    const local = each.isDay && row.at !== null ? iso(wallOf(row.at, row.zone))!.slice(0, 10) : iso(row.at);
    return { ...row, at: local, zone: each.rows[n]!.zone };
  });
  return { table, key, columns: { at, ofRow, open, state, reminded, ended, again }, sql, yaml, model, rows, stored };
}

const unquoted = (name: string) => name.slice(1, -1).replaceAll('""', '"');
type Made = ReturnType<typeof made>;

const iso = (at: number | null) => (at === null ? null : new Date(at).toISOString());

async function fill(db: TestDatabase, { table, key, columns: c, stored }: Made): Promise<void> {
  await db.query(
    `delete from ${table}; delete from "the log"; delete from scheduler.events; delete from scheduler.failures`,
  );
  for (const { id, at, span: by, open, again, zone, times, bad } of stored)
    await db.query(
      `insert into ${table} (${key}, ${c.at}, ${c.ofRow}, ${c.open}, ${c.again}, "the zone", times, bad) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [id, at, written(by), open, iso(again), zone, times, bad],
    );
}

/** What the rows have become, as the model knows it. */
async function seen(db: TestDatabase, { table, key, columns: c }: Made) {
  const ms = (sql: string) => `(extract(epoch from ${sql}) * 1000)::double precision`;
  return db.query(
    `select ${key}::text as id, ${c.state} as state, ${ms(c.reminded)} as "remindedFor", ${ms(c.ended)} as "endedAt",
       ${ms(c.again)} as again, ${ms('changed_at')} as "changedAt", count from ${table} order by 1`,
  );
}

const plain = (rows: ModelRow[]) =>
  rows
    .map(({ id, state, remindedFor, endedAt, again, changedAt, count }) => {
      return { id, state, remindedFor, endedAt, again, changedAt, count };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));

const sorted = (all: Happened[]) => all.map(({ at, rule, id }) => `${iso(at)} ${rule} ${id}`).sort();

async function told(db: TestDatabase): Promise<Happened[]> {
  const events = await db.query('select occurred_at, transition, entity_id from scheduler.events');
  const all = events.map(({ occurred_at, transition, entity_id }) => {
    return { at: occurred_at.getTime(), rule: transition, id: entity_id };
  });
  // What "also" writes, it writes once for each.
  const logged = await db.query('select id, said from "the log"');
  const ends = logged.map(({ id, said }) => ({ at: said.getTime(), rule: 'end', id }));
  assert.deepEqual(sorted(ends), sorted(all.filter(({ rule }) => rule === 'end')));
  return all;
}

async function play(each: Case): Promise<void> {
  const all = made(each);
  await using db = await database();
  await db.query(all.sql);
  await applied(db, all.yaml);
  assert.match(await applied(db, all.yaml), /Nothing has changed/);
  await fill(db, all);
  const [from, end] = [each.base, each.base + 30 * DAY];

  const expected: Happened[] = [];
  const rows = structuredClone(all.rows);
  const instants: number[] = [];
  for (let at: number | null = from; at !== null && at <= end; at = nextDue(all.model, rows, at)) {
    instants.push(at);
    expected.push(...tick(all.model, rows, at));
  }

  const span = ['--from', iso(from)!, '--until', iso(end)!, '--limit', '100000', '--timeout', '600'];
  const { out, err } = await db.cli(['rehearse', ...span, '--json'], { timeoutMs: 600_000 });
  const { timeline, stopped } = JSON.parse(out || err);
  assert.equal(stopped, null);
  type Played = { at: string; transition: string; id: string; error?: string };
  const isFailed = ({ transition }: Played) => transition === 'failed';
  const played = (timeline as Played[])
    .filter((happened) => !isFailed(happened))
    .map(({ at, transition, id }) => ({ at: Date.parse(at), rule: transition, id }));
  const bad = all.rows.filter((row) => row.bad && row.open && row.at !== null).map(({ id }) => id);
  for (const { id, error } of (timeline as Played[]).filter(isFailed))
    assert.deepEqual([bad.includes(id), error], [true, 'end: it is bad']);
  assert.deepEqual(sorted(played), sorted(expected), 'rehearsed');

  await using ticks = await ticker(db, ['random'], { by: 'the test' });
  // The minute before and after each is one in which nothing may happen.
  const more = instants.filter((_, n) => n % 7 === 0).flatMap((at) => [at - MINUTE, at + MINUTE]);
  for (const at of [...new Set([...instants, ...more])].sort((a, b) => a - b)) {
    if (at < from || at > end) continue;
    const result = await ticks.at(at);
    const { error, failures } = result.jobs[0]!;
    assert.deepEqual(
      [error, failures.filter(({ id, rule }) => rule !== 'end' || !bad.includes(id))],
      [undefined, []],
      iso(at)!,
    );
  }
  assert.deepEqual(sorted(await told(db)), sorted(expected), 'ticked');
  const ticked = await seen(db, all);
  assert.deepEqual(ticked, plain(rows), 'ticked');

  await fill(db, all);
  const late = structuredClone(all.rows);
  const lately = tick(all.model, late, end);
  const last = (await ticks.at(end)).jobs[0]!;
  const tooLate = all.rows.filter((row) => row.bad && dues(all.model, { ...row, bad: false }).end! <= end);
  assert.deepEqual(last.failures.map(({ id }) => id).sort(), tooLate.map(({ id }) => id).sort());
  assert.deepEqual(sorted(await told(db)), sorted(lately), 'one late tick');
  const atOnce = await seen(db, all);
  assert.deepEqual(atOnce, plain(late), 'one late tick');
  // Only what a rule makes of "now", or counts, tells one late tick from many.
  const same = (row: Record<string, unknown>) => ({ ...row, changedAt: null, count: null });
  assert.deepEqual(atOnce.map(same), ticked.map(same));
}

test('a month rehearsed is a month ticked, and one late tick leaves the same', async () => {
  await fc.assert(fc.asyncProperty(caseOf, play), { numRuns: shareOf(20), endOnFailure: true });
});
