import { spawn } from 'node:child_process';
import pg from 'pg';
import { type Finished, finished, LAUNCHER, type TestDatabase } from './harness.ts';

/** The real command, lingering, and what a listener hears of it. */

export interface Started {
  ended: Promise<Finished & { seconds: number }>;
  kill(signal: NodeJS.Signals): void;
}

export function startLingering(
  db: TestDatabase,
  seconds: number,
  args: string[] = [],
  env: Record<string, string> = {},
): Started {
  const began = performance.now();
  const child = spawn(LAUNCHER, ['tick', '--linger', String(seconds), ...args], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', HOME: '/', DATABASE_URL: db.programUrl, ...env },
    timeout: 120_000,
  });
  const ended = finished(child).then((end) => ({ ...end, seconds: (performance.now() - began) / 1000 }));
  return { ended, kill: (signal) => void child.kill(signal) };
}

export interface Heard {
  id: string;
  status: string;
  at: number;
}

/** Changes of packages as they are committed: an event's own time is the pass's "now", which is before that. */
export async function listenTo(db: TestDatabase): Promise<AsyncDisposable & { heard: Heard[] }> {
  const client = new pg.Client({ connectionString: db.url });
  client.on('error', () => {});
  await client.connect();
  const heard: Heard[] = [];
  client.on('notification', ({ payload }) => {
    const { data } = JSON.parse(payload!);
    heard.push({ id: String(data.package_id), status: data.new_status, at: Date.now() });
  });
  await client.query('listen "private-packages"');
  return { heard, [Symbol.asyncDispose]: () => client.end() };
}

/** Packages that go on sale in so many seconds. */
export async function goingOnSale(db: TestDatabase, inSeconds: number[]): Promise<{ id: string; due: number }[]> {
  const rows = await db.query(
    `insert into packages (name, enable_schedule, status, scheduled_activation_time)
     select 'n' || s, true, 'inactive', clock_timestamp() + make_interval(secs => s) from unnest($1::double precision[]) as s
     returning id, scheduled_activation_time as due`,
    [inSeconds],
  );
  return rows.map(({ id, due }) => ({ id: String(id), due: due.getTime() }));
}

/** How late each was heard of, in milliseconds, the least late first; each of them exactly once. */
export function lateness(due: { id: string; due: number }[], heard: Heard[]): number[] {
  const late = due.map((row) => {
    const times = heard.filter(({ id }) => id === row.id);
    if (times.length !== 1) throw new Error(`package ${row.id} was changed ${times.length} times`);
    return times[0]!.at - row.due;
  });
  return late.sort((a, b) => a - b);
}
