import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { EXIT } from '../base/errors.ts';
import { print, printHeading, printTable, withoutColor } from '../base/output.ts';
import { Stop } from '../base/stop.ts';
import type { CommonOptions, Context } from '../context.ts';
import type { Database, Row } from '../db/client.ts';
import { type RunResult, run } from '../engine/run.ts';
import { SAMPLES } from '../setup/samples/index.ts';
import { listFailures } from '../store/failures.ts';
import { migrate } from '../store/migrate.ts';
import { all } from '../store/standing.ts';
import { command } from './command.ts';
import { printChanges } from './pass.ts';

export function demoCommand(): Command {
  return command('demo', 'see it work: a PostgreSQL server of its own, sample rows, a tick, and what came of it', {
    examples: ['scheduler demo', 'scheduler demo --keep && scheduler status --embedded'],
    exits: { [EXIT.stopped]: 'interrupted by a signal; nothing is left behind' },
  })
    .option('--keep', 'leave it all on the server of "scheduler embedded"; an earlier demo there is deleted first')
    .action(async (_, command: Command) => {
      const { keep = false, debug = false, color } = command.optsWithGlobals<CommonOptions & { keep?: boolean }>();
      if (color === false) withoutColor();
      const { withTrialDatabase } = await import('../setup/demo.ts');
      const trial = withTrialDatabase({ keep, debug }, async (context) => {
        await narrate(context);
        printNextSteps(keep);
      });
      print('One tick, from rows to events, on a real PostgreSQL server.');
      print(
        keep
          ? 'It is the server of "scheduler embedded", and stays. A few seconds …'
          : 'It starts in a temporary folder and is gone afterwards. A few seconds …',
      );
      await trial;
    });
}

async function narrate(context: Context): Promise<void> {
  const { db, settings, jobs } = context;
  await migrate({ db, settings, jobs, create: jobs.map(({ name }) => name), report: () => {} });
  const [clock] = await db.query('select now()::text as now');
  for (const { fill } of SAMPLES) await asApplication(db, fill, clock);

  const before = await look(db);
  printHeading('Before: what applications have put in their tables');
  for (const [n, { title, story }] of SAMPLES.entries()) {
    print(`\n${title}`);
    print(`${story}\n`);
    printRows(before[n]!);
  }

  const listener = await connectListener(db, [...new Set(SAMPLES.map(({ channel }) => channel))]);
  try {
    printHeading('scheduler tick');
    print('Cron calls this every minute: one pass over everything whose time has come.\n');
    const first = await tick(context);
    printChanges(first.result.jobs);
    const second = await tick(context);
    print(`\nThat took ${first.ms} ms. A second tick finds nothing more to do, in ${second.ms} ms.`);

    printHeading('After: the same rows');
    for (const [n, rows] of (await look(db)).entries()) {
      print('');
      printRows(rows.map((row, m) => difference(before[n]![m]!, row)));
    }

    printHeading('What a listener heard');
    print('A client that says LISTEN gets these the moment the changes are committed. The channels here:');
    print(`${listener.channels.join(', ')}\n`);
    printTable(['event', 'message'], await listener.heard());
  } finally {
    await listener.close();
  }

  printHeading('What could not be done');
  print('A bad row holds up nobody else. It is tried again later, and set aside after three attempts.\n');
  for (const row of await listFailures(db, {})) print(`${row.job} ${row.entityId}: ${row.error}`);
}

async function tick({ db, settings, log, jobs }: Context): Promise<{ result: RunResult; ms: number }> {
  const started = performance.now();
  const request = { jobs: all(jobs), dryRun: false, timeoutSeconds: 60, debug: false, stop: new Stop() };
  const result = await run(db, settings, log, request);
  return { result, ms: Math.round(performance.now() - started) };
}

async function look(db: Database): Promise<Row[][]> {
  const tables: Row[][] = [];
  for (const { show } of SAMPLES) tables.push(await asApplication(db, show));
  return tables;
}

const asApplication = (db: Database, sql: string, values?: Row): Promise<Row[]> =>
  db.transaction((tx) => tx.query(sql, values), { asApplication: true });

function printRows(rows: Row[]): void {
  const cells = rows.map((row) => Object.values(row) as (string | null)[]);
  printTable(Object.keys(rows[0] ?? {}), cells);
}

/** The row after the tick, with what was before where that differs, and without the remark. */
function difference(before: Row, after: Row): Row {
  const cell = ([name, value]: [string, unknown]) =>
    [name, value === before[name] ? value : `${before[name] ?? '–'} → ${value ?? '–'}`] as const;
  return Object.fromEntries(Object.entries(after).slice(0, -1).map(cell));
}

// Notifications are there when the commit is; this bounds the wait for a listener that never hears its last one.
const HEARING_MS = 2000;

async function connectListener(db: Database, channels: string[]) {
  const listener = db.another('scheduler demo listener');
  const client = await listener.client();
  const payloads: { event: string; data?: { message?: string } }[] = [];
  client.on('notification', ({ payload }) => payloads.push(JSON.parse(payload!)));
  for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`);
  return {
    channels,
    async heard() {
      const [{ count } = { count: 0 }] = await db.query<{ count: number }>(
        `select count(*)::integer from scheduler.events cross join unnest(channels) as channel
         where channel = any(:channels::text[])`,
        { channels },
      );
      for (let waited = 0; payloads.length < count && waited < HEARING_MS; waited += 10) await sleep(10);
      return payloads.map(({ event, data }) => [event, short(data?.message ?? JSON.stringify(data ?? {}))]);
    },
    close: () => listener.close(),
  };
}

// The table fits in 100 columns.
const short = (text: string) => (text.length > 67 ? `${text.slice(0, 66)}…` : text);

function printNextSteps(keep: boolean): void {
  const printCommands = (uses: Record<string, string>) => printTable(['command', 'for'], Object.entries(uses));
  printHeading('What to try next');
  if (keep) {
    print('With what is on the embedded server now:\n');
    printCommands({
      'scheduler status --embedded': 'is it running, is anything failing',
      'scheduler events --embedded': 'what happened',
      'scheduler failures --embedded': 'what could not be done, and why',
      'scheduler tick --embedded --dry-run --at 2099-01-01': 'what a tick would do then',
      'psql "$(scheduler embedded url)"': 'change rows, and tick again',
      'scheduler embedded stop': 'the end',
    });
  } else print('Add --keep, and all this stays on a server to play with.');
  print('\nWith a database of your own:\n');
  printCommands({
    'export DATABASE_URL=postgresql://user:password@host/db': 'saying where it is',
    'scheduler migrate --dry-run': 'what it would add to tables that it knows',
    'scheduler migrate': 'adding it; "--create JOB" makes tables, too',
    'scheduler tick --dry-run': 'what a tick would do; nothing is kept',
    'scheduler install --cron': 'the line that a crontab needs',
  });
}
