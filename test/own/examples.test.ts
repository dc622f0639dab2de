import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { database, type TestDatabase } from '../support/harness.ts';

/** Each example says at its end what two ticks do. It does just that. */

const FOLDER = join(ROOT, 'deploy/examples');
const NAMES = readdirSync(FOLDER).flatMap((file) => (file.endsWith('.yaml') ? file.slice(0, -'.yaml'.length) : []));
const read = (file: string) => readFileSync(join(FOLDER, file), 'utf8');

const TICKS = ['2026-03-10T12:00Z', '2026-04-10T12:00Z'];

/** The comment at the end of the file, without its signs; the query in it shows the rows. */
const toldIn = (name: string) => {
  const [, comment] = /\n((?:# ?.*\n)+)$/.exec(read(`${name}.yaml`)) ?? ['', ''];
  const query = /^# (select .*)$/m.exec(comment!)?.[1];
  assert.ok(query, `${name}.yaml ends with what ticks do, and with a query`);
  return { told: comment!.replaceAll(/^# ?/gm, ''), query };
};

async function rowsOf(db: TestDatabase, query: string): Promise<string[]> {
  const rows = await db.query(query);
  return rows.map(
    (row) =>
      `  ${Object.values(row)
        .map((value) => value ?? 'null')
        .join(' | ')}`,
  );
}

test('every example does what it says', async () => {
  await using db = await database();
  assert.equal(NAMES.length, 10);
  const jobOf = (name: string) => /^jobs:\n {2}([\w-]+):/m.exec(read(`${name}.yaml`))![1]!;
  for (const name of NAMES) await db.query(read(`${name}.sql`));
  const { code, out, err } = await db.cli(['apply', FOLDER, '--backlog', 'run']);
  assert.equal(code, 0, out + err);
  const found = new Map(NAMES.map((name) => [name, [] as string[]]));
  for (const at of TICKS) {
    const { jobs } = await db.tick(at, { only: NAMES.map(jobOf) });
    for (const name of NAMES) {
      const { changed, failures, error } = jobs.find(({ job }) => job === jobOf(name))!;
      assert.equal(error, undefined, name);
      const did = Object.entries(changed).map(([rule, count]) => `${rule} ${count}`);
      const failed = failures.map(({ id, error: why }) => `row ${id} fails: ${why}`);
      const events = await rowsOf(
        db,
        `select type || ' ' || entity_id || coalesce(' on ' || nullif(array_to_string(channels, ', '), ''), '')
         from scheduler.events where job = '${jobOf(name)}' and occurred_at = '${at}' order by type, id`,
      );
      const { query } = toldIn(name);
      const lines = [`A tick at ${at}: ${[...did, ...failed].join(', ') || 'nothing'}`, ...events];
      found.get(name)!.push(...lines, query, ...(await rowsOf(db, query)));
    }
  }
  for (const name of NAMES) assert.equal(toldIn(name).told, `${found.get(name)!.join('\n')}\n`, name);
});

test('the list of examples names each of them', () => {
  const listed = [...read('README.md').matchAll(/^\| \[[\w -]+\]\(([\w-]+)\.yaml\)/gm)].map(([, name]) => name);
  assert.deepEqual(listed.sort(), NAMES.sort());
});
