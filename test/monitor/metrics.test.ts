import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { collect, METRICS, render } from '../../src/monitor/metrics.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';

const due = { name: 'Weekend Special', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };

function folder() {
  const path = mkdtempSync(join(tmpdir(), 'sch-metrics-'));
  return { path, file: join(path, 'scheduler.prom'), [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

/** Prometheus's text format, read as strictly as its specification allows: each sample by its name and labels. */
function parse(text: string): Record<string, number> {
  assert.ok(text.endsWith('\n'), 'the last line ends');
  const samples: Record<string, number> = {};
  const told: Record<string, string[]> = {};
  let current = '';
  for (const line of text.trimEnd().split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line);
    if (comment) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      if (kind === 'HELP') {
        assert.ok(!(name in told), `${name} comes in one group`);
        assert.doesNotMatch(rest, /\\(?![\\n])/);
      } else assert.match(rest, /^(gauge|counter)$/);
      if (kind === 'TYPE') assert.equal(rest === 'counter', name.endsWith('_total'), `${name} is named as its type`);
      told[name] = [...(told[name] ?? []), kind];
      current = name;
      continue;
    }
    const sample =
      /^([a-zA-Z_:][\w:]*)(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*"(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*")*\})? (-?[\d.]+(?:e[+-]?\d+)?)$/.exec(
        line,
      );
    assert.ok(sample, `not a sample: ${line}`);
    const [, name, labels = '', value] = sample;
    assert.equal(name, current, 'samples stand under their HELP and TYPE');
    assert.deepEqual(told[name!], ['HELP', 'TYPE']);
    assert.ok(!(`${name}${labels}` in samples), `twice: ${line}`);
    assert.ok(!/[{,]job=/.test(labels), 'Prometheus has a label of that name');
    samples[`${name}${labels}`] = Number(value);
  }
  return samples;
}

const read = (file: string) => parse(readFileSync(file, 'utf8'));

async function tick(db: TestDatabase, file: string, env: Record<string, string> = {}) {
  return db.cli(['tick', '--metrics-file', file], { env });
}

test('a tick writes what it did, whole, readable for everybody, and leaves nothing else', async () => {
  await using db = await database();
  using at = folder();
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 65_000) });
  await db.insert('packages', { ...due, validity: 'banana' });
  await db.insert('packages', { ...due, id: 77, validity: 'apple' });
  await db.query(
    `insert into scheduler.failures values ('${SCHEMA}', 'packages', 'activate', '77', 3, 'x', now(), now(), 'infinity', now())`,
  );
  const before = Date.now() / 1000;
  const { code, err } = await db.cli(['tick'], { env: { SCHEDULER_METRICS_FILE: at.file } });
  assert.equal(code, 1, err);
  const samples = read(at.file);
  const now = samples.scheduler_last_tick_timestamp_seconds!;
  assert.ok(now >= before && now <= Date.now() / 1000, String(now));
  assert.ok(!('scheduler_last_success_timestamp_seconds' in samples), 'rows failed, and none was before');
  assert.ok(samples.scheduler_tick_duration_seconds! > 0.02 && samples.scheduler_tick_duration_seconds! < 60);
  const expected: Record<string, number> = {
    scheduler_tick_exit_code: 1,
    scheduler_tick_locked: 0,
    'scheduler_ticks_total{exit_code="1"}': 1,
    'scheduler_transitions_total{job_name="packages",transition="activate"}': 1,
    'scheduler_failed_rows_total{job_name="packages"}': 1,
    'scheduler_failed_rows_total{job_name="vouchers"}': 0,
    'scheduler_job_failing_rows{job_name="packages"}': 1,
    'scheduler_job_quarantined_rows{job_name="packages"}': 1,
    'scheduler_job_backlog_rows{job_name="packages"}': 0,
    'scheduler_job_installed{job_name="packages"}': 1,
    'scheduler_job_paused{job_name="packages"}': 0,
    'scheduler_job_error{job_name="packages"}': 0,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(samples[name], value, name);
  // The server's, and other tests notify, too.
  const queue = samples.scheduler_notification_queue_ratio!;
  assert.ok(queue >= 0 && queue < 0.01, String(queue));
  const late = samples['scheduler_job_late_seconds{job_name="packages"}']!;
  assert.ok(late >= 65 && late < 120, String(late));
  assert.deepEqual(readdirSync(at.path), ['scheduler.prom']);
  assert.equal(statSync(at.file).mode & 0o777, 0o644);
});

test('every metric that is declared is written, and has a name after the conventions', async () => {
  await using db = await database();
  using at = folder();
  await db.insert('packages', due);
  assert.equal((await tick(db, at.file)).code, 0);
  const written = new Set(Object.keys(read(at.file)).map((name) => name.replace(/\{.*/, '')));
  assert.deepEqual([...written].sort(), Object.keys(METRICS).sort());
  for (const name of written) assert.match(name, /^scheduler_[a-z_]+$/);
});

test('counters go on from one tick to the next, and an unreadable file starts them anew', async () => {
  await using db = await database();
  using at = folder();
  const changed = 'scheduler_transitions_total{job_name="packages",transition="activate"}';
  for (const total of [1, 2]) {
    await db.insert('packages', due);
    await tick(db, at.file);
    assert.equal(read(at.file)[changed], total);
  }
  await tick(db, at.file);
  assert.equal(read(at.file)[changed], 2, 'nothing due');
  assert.equal(read(at.file)['scheduler_ticks_total{exit_code="0"}'], 3);
  writeFileSync(at.file, 'scheduler_transitions_total{job_name=\nscheduler_ticks_total{exit_code="0"} banana\n');
  assert.equal((await tick(db, at.file)).code, 0);
  assert.equal(read(at.file)['scheduler_ticks_total{exit_code="0"}'], 1);
});

test('a tick that cannot reach the database writes that, and keeps the last success', async () => {
  await using db = await database();
  using at = folder();
  await tick(db, at.file);
  const before = read(at.file);
  const { code } = await tick(db, at.file, { DATABASE_URL: 'postgresql://x@127.0.0.1:9/x', PGCONNECT_TIMEOUT: '1' });
  assert.equal(code, 69);
  const after = read(at.file);
  assert.equal(after.scheduler_tick_exit_code, 69);
  assert.equal(after['scheduler_ticks_total{exit_code="69"}'], 1);
  assert.equal(after['scheduler_ticks_total{exit_code="0"}'], 1);
  assert.equal(after.scheduler_last_success_timestamp_seconds, before.scheduler_last_success_timestamp_seconds);
  assert.ok(after.scheduler_last_tick_timestamp_seconds! > before.scheduler_last_tick_timestamp_seconds!);
  assert.ok(!('scheduler_job_backlog_rows{job_name="packages"}' in after), 'what is not known is not told');
});

test('a tick on an unmigrated database writes its exit code', async () => {
  await using db = await database({ empty: true });
  using at = folder();
  assert.equal((await tick(db, at.file)).code, 78);
  assert.equal(read(at.file).scheduler_tick_exit_code, 78);
});

test('a tick that finds the lock held says so, and counts as no success', async () => {
  await using db = await database();
  using at = folder();
  await db.query('begin');
  await db.query(`select pg_advisory_xact_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
  assert.equal((await tick(db, at.file)).code, 0);
  await db.query('rollback');
  const samples = read(at.file);
  assert.equal(samples.scheduler_tick_locked, 1);
  assert.ok(!('scheduler_last_success_timestamp_seconds' in samples));
});

test('rows that stay due are the backlog: those of a paused job, say', async () => {
  await using db = await database();
  using at = folder();
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 100_000) });
  await db.cli(['stop', 'packages', '--reason', 'x']);
  await tick(db, at.file);
  const samples = read(at.file);
  assert.equal(samples['scheduler_job_paused{job_name="packages"}'], 1);
  assert.equal(samples['scheduler_job_backlog_rows{job_name="packages"}'], 1);
  const seconds = samples['scheduler_job_backlog_seconds{job_name="packages"}']!;
  assert.ok(seconds >= 100 && seconds < 130, String(seconds));
});

test('a file that cannot be written is a warning; the tick does its work', async () => {
  await using db = await database();
  using at = folder();
  mkdirSync(at.file);
  await db.insert('packages', due);
  for (const file of [at.file, join(at.path, 'none', 'x.prom')]) {
    const { code, err } = await tick(db, file);
    assert.equal(code, 0);
    const line = JSON.parse(err);
    assert.equal(line.level, 'warn');
    assert.match(
      line.msg,
      /^The metrics file ".*\.prom" could not be written: .*\. The tick itself is not affected\.$/,
    );
  }
  assert.equal((await db.one('select status from packages')).status, 'active');
  assert.deepEqual(readdirSync(at.path), ['scheduler.prom']);
});

test('a dry run writes nothing', async () => {
  await using db = await database();
  using at = folder();
  await db.cli(['tick', '--dry-run', '--metrics-file', at.file]);
  assert.ok(!existsSync(at.file));
});

test('a path that the collector would not read is refused', async () => {
  await using db = await database();
  for (const path of ['scheduler.prom', '/tmp/scheduler.txt', '/tmp/.prom']) {
    const { code, err } = await tick(db, path);
    assert.equal(code, 2, err);
    assert.match(err, /--metrics-file is ".*"; valid: an absolute path that ends in "\.prom"/);
  }
  const { code, err } = await db.cli(['tick'], { env: { SCHEDULER_METRICS_FILE: 'x', SCHEDULER_PING_URL: 'ftp://x' } });
  assert.equal(code, 78);
  assert.match(err, /SCHEDULER_METRICS_FILE is "x"; valid: .*\nSCHEDULER_PING_URL is not usable; valid: /);
});

test('an unusual file keeps its mode out of the new one', async () => {
  await using db = await database();
  using at = folder();
  writeFileSync(at.file, '');
  chmodSync(at.file, 0o600);
  await tick(db, at.file);
  assert.equal(statSync(at.file).mode & 0o777, 0o644);
});

test('label values are escaped', () => {
  const job = {
    job: 'a"b\\c\nd',
    changed: { activate: 1 },
    failed: 0,
    failures: [],
    lateSeconds: 0,
    unsent: 0,
    workLeft: false,
  };
  const pass = { locked: false, idle: false, now: '', jobs: [job], skipped: [], exitCode: 0 as const };
  const samples = parse(render(collect(new Map(), { exitCode: 0, passes: [pass] }, undefined)));
  assert.equal(samples['scheduler_transitions_total{job_name="a\\"b\\\\c\\nd",transition="activate"}'], 1);
});

// ── what is built on them

const deployed = (name: string) => readFileSync(join(ROOT, `deploy/${name}`), 'utf8');
const named = (text: string) => [...new Set(text.match(/\bscheduler_\w+/g))].sort();

test('the alerts are well formed, and ask only for metrics that are written', () => {
  const rules = deployed('alerts.yml')
    .split(/^ {6}- alert: /m)
    .slice(1);
  assert.ok(rules.length > 10);
  for (const rule of rules) {
    assert.match(
      rule,
      /^Scheduler\w+\n {8}expr: .+\n( {8}for: \d+m\n)? {8}labels: \{ severity: (page|ticket) \}\n {8}annotations:\n {10}summary: .+\n {10}description: .+\n$/,
    );
    // A plain YAML scalar must neither begin with a quote or a brace nor hold ": " or " #".
    for (const [, text] of rule.matchAll(/^ +(?:expr|summary|description): (.+)$/gm)) {
      assert.ok(/^"[^"]*"$|^'[^']*'$/.test(text!) || (/^\w/.test(text!) && !/: | #/.test(text!)), text);
    }
    assert.equal(rule.split('(').length, rule.split(')').length);
  }
  const expressions = rules.map((rule) => /expr: (.*)/.exec(rule)![1]!).join('\n');
  for (const name of named(expressions)) assert.ok(name in METRICS, name);
});

test('the dashboard asks only for metrics that are written, and for all that change', () => {
  const { panels } = JSON.parse(deployed('grafana.json')) as { panels: { targets: { expr: string }[] }[] };
  const asked = named(panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)).join('\n'));
  for (const name of asked) assert.ok(name in METRICS, name);
  const unasked = Object.keys(METRICS).filter((name) => !asked.includes(name));
  assert.deepEqual(unasked, ['scheduler_build_info', 'scheduler_tick_locked', 'scheduler_unsent_notifications_total']);
});
