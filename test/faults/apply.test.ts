import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { killer } from '../support/killer.ts';
import { applied } from '../support/own.ts';
import { FIRST, STRIDE } from '../support/share.ts';
import { untilGone } from '../support/world.ts';

const AT = '2026-03-10T12:00:00Z';

const file = (state: string, more = '') => `
jobs:
  one: { table: items, rules: { go: { due: at, where: state = '${state}', set: state = 'over'${more} } } }
  two: { table: parts, id: id, rules: { go: { due: at, where: state = '${state}', set: state = 'over'${more} } } }
`;
const OLD = file('a');
const NEW = file('b', ', once: told');

/** What is left of it: which jobs count, and indexes that are broken or that no job needs. */
const LEFT = `
  select (select array_agg(distinct j.compiled -> 'job' -> 'rules' -> 'go' ->> 'where') from (
      select distinct on (name) * from scheduler.jobs order by name, id desc) as j) as conditions,
    (select count(*)::integer from pg_index i join pg_class c on c.oid = i.indrelid
      where c.relname in ('items', 'parts', 'part_1') and not i.indisprimary and not i.indisvalid) as broken,
    (select count(*)::integer from pg_index i join pg_class c on c.oid = i.indrelid
      where c.relname in ('items', 'parts', 'part_1') and not i.indisprimary) as indexes`;

// An odd number, so that both what is sent and what is answered are among the steps.
const SOME = 31;

test('an apply that is killed at any step leaves nothing half, and the next one ends it', async (t) => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, at timestamptz, state text default 'a');
    create table parts (id integer, at timestamptz, state text default 'a', part integer, primary key (id, part)) partition by list (part);
    create table part_1 partition of parts for values in (1)`);
  const folder = mkdtempSync(join(tmpdir(), 'jobs-'));
  const path = join(folder, 'jobs.yaml');
  writeFileSync(path, NEW);
  const states = new Set<string>();
  try {
    for (let step = FIRST; ; step += SOME * STRIDE) {
      await db.query('alter table items drop column if exists told; alter table parts drop column if exists told');
      await applied(db, OLD);
      let child: ChildProcess | undefined;
      using way = await killer(db.programUrl, step, () => child!.kill('SIGKILL'));
      const started = (process: ChildProcess) => {
        child = process;
      };
      const { code, err } = await db.cli(['apply', path], { env: { DATABASE_URL: way.url }, started });
      assert.equal(code, way.killed() ? null : 0, err);
      await untilGone(db);
      const { conditions } = await db.one(LEFT);
      // Both jobs, or none of them.
      assert.equal(conditions.length, 1, `killed at step ${step}: ${conditions}`);
      states.add(/'a'/.test(conditions[0]) ? 'old' : 'new');
      await db.query(`truncate items, parts; insert into items (at) values ('2026-03-01Z');
        insert into parts (id, at, part) values (1, '2026-03-01Z', 1)`);
      const { jobs } = await db.tick(AT, { only: ['one', 'two'] });
      const expected = /'a'/.test(conditions[0]) ? { go: 1 } : {};
      for (const { error, changed } of jobs) assert.deepEqual([error, changed], [undefined, expected], `step ${step}`);
      await db.query('truncate items, parts');
      await applied(db, NEW);
      const { broken, indexes } = await db.one(LEFT);
      assert.deepEqual([broken, indexes], [0, 3], `after step ${step}`);
      assert.match(await applied(db, NEW, '--check'), /^= one .*\n= two .*\n$/);
      if (!way.killed()) {
        t.diagnostic(`${step - 1} steps`);
        break;
      }
    }
    assert.deepEqual([...states].sort(), ['new', 'old']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
