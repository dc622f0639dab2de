// Measures what the README claims, as ratios within one run: absolute times of a shared machine say little.
//   npm run bench                    the idle tick, also beside a million rows; all jobs at 1,000 to 1,000,000 rows: more than an hour
//   npm run bench -- --rows 100000 --no-idle
//   npm run bench -- --job packages --rounds 9
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { printHeading, printTable } from '../../src/base/output.ts';
import { removeServer, startServer } from '../../src/embedded/server.ts';
import { LAUNCHER } from '../support/harness.ts';
import { killer } from '../support/killer.ts';
import { CASES, type Case } from './cases.ts';

const { values: options } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000,10000,100000,1000000' },
    job: { type: 'string', multiple: true },
    rounds: { type: 'string' },
    idle: { type: 'boolean', default: true },
  },
  allowNegative: true,
});

const LOOP_SAMPLE = 500;
const IDLE_PAIRS = 21;
const IDLE_GROUP = 5;
const MANY = 1_000_000;

interface Measured {
  seconds: number;
  peakMiB: number;
}

/** A whole process, from spawn to exit. */
function time(command: string, args: string[], url: string): Promise<Measured> {
  return new Promise((resolve, reject) => {
    let peakKiB = 0;
    const begin = process.hrtime.bigint();
    const child = spawn(command, args, {
      env: { PATH: process.env.PATH, HOME: tmpdir(), DATABASE_URL: url },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const watch = setInterval(() => {
      try {
        peakKiB = Math.max(
          peakKiB,
          Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0),
        );
      } catch {}
    }, 20);
    child.on('exit', (code) => {
      clearInterval(watch);
      const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
      if (code === 0) resolve({ seconds, peakMiB: peakKiB / 1024 });
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
    });
  });
}

const median = (numbers: number[]) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
const round = (value: number, digits = 2) => Number(value.toFixed(digits));

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begin = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - begin) / 1e9;
}

interface Result {
  rows: number;
  seconds: number;
  ratio: number;
  /** How many times longer a loop with a transaction for each row would take. */
  loop: number;
  peakMiB: number;
}

/** A job of one's own needs its table, and its file applied. */
async function prepare(client: pg.Client, url: string, { table, yaml }: Case): Promise<void> {
  await client.query(table!);
  const file = join(dir, 'jobs.yaml');
  writeFileSync(file, yaml!);
  await time(LAUNCHER, ['apply', file], url);
}

async function measureJob(client: pg.Client, url: string, each: Case, rows: number): Promise<Result> {
  const fill = async (n: number) => {
    await client.query(each.empty);
    await client.query(each.fill.replaceAll(':n', String(n)));
    await client.query('vacuum analyze');
    await client.query('checkpoint');
  };
  const check = async (n: number) => {
    const { rows: found } = await client.query(each.done);
    if (found[0].n !== n) throw new Error(`${each.job}: ${found[0].n} of ${n} rows were done`);
  };
  // In turn, pair by pair, as the speed of a machine that is shared changes by half from one minute to the next.
  const rounds = Number(options.rounds ?? (rows > 100_000 ? 3 : 5));
  const bare: number[] = [];
  const ours: Measured[] = [];
  // The loop has the first few of as many rows more than the first statement has.
  const sample = Math.min(rows, LOOP_SAMPLE);
  await fill(rows + sample);
  const loop =
    (await seconds(async () => {
      for (let n = 0; n < sample; n++) await client.query(each.one);
    })) / sample;
  for (let n = 0; n < rounds; n++) {
    if (n > 0) await fill(rows);
    bare.push(await seconds(() => client.query(each.bare)));
    await check(n > 0 ? rows : rows + sample);
    await fill(rows);
    ours.push(await time(LAUNCHER, [...(each.yaml ? ['run'] : []), each.job, '--timeout', '3600'], url));
    await check(rows);
  }
  await client.query(each.empty);

  const tick = median(ours.map((run) => run.seconds));
  return {
    rows,
    seconds: tick,
    ratio: median(ours.map((run, n) => run.seconds / bare[n]!)),
    loop: (loop * rows) / tick,
    peakMiB: Math.max(...ours.map((run) => run.peakMiB)),
  };
}

const line = ({ job, bound }: Case, { rows, seconds, ratio, loop, peakMiB }: Result, before: Result | undefined) => [
  ...[job, rows, Math.round(rows / seconds), round(seconds), round(ratio), rows >= 100_000 ? (bound ?? '') : ''],
  ...[Math.round(loop), Math.round(peakMiB), before ? round(seconds / before.seconds, 1) : ''],
];

const group = (url: string): string[] => Array(IDLE_GROUP).fill(url);

/**
 * Average processor seconds of a few runs in a row, one for each URL. Bash adds up what its children used, to the millisecond.
 * The shell sh would cut off hundredths.
 */
async function cpu(
  command: string,
  args: string[],
  urls: string[],
  started: (pid: number) => void = () => {},
): Promise<number> {
  const script = 'set -f; for url in $URLS; do DATABASE_URL=$url "$@" >/dev/null & echo $!; wait; done; times';
  const shell = spawn('bash', ['-c', script, 'bash', command, ...args], {
    env: { PATH: process.env.PATH, HOME: tmpdir(), URLS: urls.join(' ') },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let last = '';
  for await (const line of createInterface(shell.stdout)) {
    if (/^\d+$/.test(line)) started(Number(line));
    last = line;
  }
  const [user, system] = [...last.matchAll(/(\d+)m([\d.]+)s/g)].map(([, m, s]) => Number(m) * 60 + Number(s));
  return (user! + system!) / urls.length;
}

/** The same for runs that are killed when their first statement is on its way. */
async function cpuToFirstStatement(command: string, args: string[], url: string): Promise<number> {
  let pid: number | undefined;
  const ways = await Promise.all(group(url).map((each) => killer(each, 1, () => process.kill(pid!, 'SIGKILL'))));
  try {
    const urls = ways.map((way) => way.url);
    const used = await cpu(command, args, urls, (next) => {
      pid = next;
    });
    if (!ways.every((way) => way.killed())) throw new Error(`${command} ended before its first statement`);
    return used;
  } finally {
    for (const way of ways) way[Symbol.dispose]();
  }
}

async function measureIdle(client: pg.Client, url: string) {
  const pairs = async () => {
    const ratios: { cpu: number; wall: number }[] = [];
    for (let n = 0; n < IDLE_PAIRS; n++) {
      const node = await time(process.execPath, ['-e', '0'], url);
      const tick = await time(LAUNCHER, ['tick'], url);
      const busy = (await cpu(LAUNCHER, ['tick'], group(url))) / (await cpu(process.execPath, ['-e', '0'], group(url)));
      ratios.push({ cpu: busy, wall: tick.seconds / node.seconds });
    }
    return { cpu: median(ratios.map((each) => each.cpu)), wall: median(ratios.map((each) => each.wall)) };
  };
  await time(LAUNCHER, ['tick'], url);
  const empty = await pairs();
  const startUps: number[] = [];
  for (let n = 0; n < IDLE_PAIRS; n++) {
    const start = await cpuToFirstStatement(LAUNCHER, ['tick'], url);
    startUps.push(start / (await cpu(process.execPath, ['-e', '0'], group(url))));
  }
  await client.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity, status, activated_at,
      deactivated_at, opened_start, opened_end, closed_end)
    select 'Package ' || n, true, begins, '1 minute', 'inactive', began, ended, began, ended, ended
    from generate_series(1, ${MANY}) as n
    cross join lateral (select now() + (n - ${MANY / 2}) * interval '1 minute' as begins) as of_window
    cross join lateral (select case when n <= ${MANY / 2} then begins end as began) as of_start
    cross join lateral (select began + interval '1 minute' as ended) as of_end
    where abs(n - ${MANY / 2}) > 600`);
  await client.query('vacuum analyze packages');
  const full = await pairs();
  const row = (name: string, each: typeof empty) => [name, round(each.cpu), round(each.wall)];
  return [
    ['no rows, up to its first statement', round(median(startUps)), ''],
    row('no rows', empty),
    row(`${MANY.toLocaleString('en')} packages waiting or past`, full),
    ['the second beside the first', round(full.cpu / empty.cpu), round(full.wall / empty.wall)],
  ];
}

const dir = mkdtempSync(join(tmpdir(), 'sch-'));
try {
  // As in production: a commit waits for the disk, and the server has the quarter of the memory that its manual advises. With
  // less, a million rows are a measure of how fast it can write pages out. Vacuum comes between the runs, and not when it likes.
  const buffers = `${Math.round(totalmem() / 4 / 2 ** 20)}MB`;
  const settings = { shared_buffers: buffers, max_wal_size: '8GB', min_wal_size: '8GB', autovacuum: 'off' };
  const server = await startServer({ dir, settings });
  await time(LAUNCHER, ['migrate', '--create', 'all'], server.url);
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    if (options.idle) {
      printHeading('An idle tick beside a bare "node -e 0" (whole processes, median of pairs)');
      printTable(['table', '× processor time', '× elapsed, server included'], await measureIdle(client, server.url));
      await client.query('truncate packages');
    }
    printHeading(
      'Due rows in one run, beside one bare SQL statement with the same writes, and a loop of one transaction a row',
    );
    const rows = [];
    for (const each of CASES.filter(({ job }) => !options.job || options.job.includes(job))) {
      let before: Result | undefined;
      if (each.table) await prepare(client, server.url, each);
      for (const count of options.rows.split(',').map(Number)) {
        const result = await measureJob(client, server.url, each, count);
        process.stderr.write(
          `${each.job}, ${count} rows: ${round(result.seconds)} s, ${round(result.ratio)} × bare SQL\n`,
        );
        rows.push(line(each, result, before));
        before = result;
      }
    }
    printTable(
      [
        ...['job', 'rows', 'rows/s', 'seconds', '× bare SQL', 'bound', 'times faster than the loop', 'peak MiB'],
        '× the line before',
      ],
      rows,
    );
  } finally {
    await client.end();
  }
} finally {
  await removeServer(dir);
  rmSync(dir, { recursive: true, force: true });
}
