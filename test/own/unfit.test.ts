import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { here } from '../support/schema.ts';

/** A file may say things of a built-in job's tables that cannot be so. */

const CODES = `
  create table codes (no serial primary key, word text, state text not null default 'unused', until timestamptz, seen timestamptz);
  insert into codes (word, until) values ('w', '2026-03-01Z');`;
const COLUMNS = 'columns: { code: word, status: state, expires_at: until }';
const CODES_FILE = `jobs:\n  codes: { uses: vouchers, table: codes, id: no, ${COLUMNS} }\n`;

test('a key that would do nothing, or cannot work yet, is refused with what would work', async () => {
  await using db = await database();
  await db.query(`${CODES}
    create table offers (id serial primary key, title text, on_sale boolean, opens timestamptz, closes timestamptz, state text, last timestamptz);
    create table lists (id serial primary key, word text[], state text[], until timestamptz);
    create table pairs (a integer, b integer, word text, state text not null default 'unused', until timestamptz, primary key (a, b));
    create table words (word text, state text not null default 'unused', until timestamptz);`);
  const said = async (yaml: string) => {
    const { code, out } = await apply(db, yaml);
    assert.equal(code, 1, out);
    return out.replaceAll(/^\S+yaml:/gm, '');
  };
  const on = (table: string) => `{ uses: vouchers, table: ${table}, ${COLUMNS} }`;
  const out = await said(`jobs:
  codes: { uses: vouchers, table: codes, id: no, insert: { seen: now }, ${COLUMNS} }
  offers:
    uses: packages
    table: offers
    columns: { name: title, type: "'x'", enable_schedule: "true", scheduled_activation_time: opens, scheduled_deactivation_time: closes, status: state, is_active: on_sale, activated_at: last, validity: null, repeats: null }
    set: { opened_start: now, title: opened_end::text }
  lists: ${on('lists')}
  pairs: ${on('pairs')}
  words: ${on('words')}
  keyed: ${on('codes')}
  half: { uses: vouchers, table: pairs, id: a, ${COLUMNS} }
  catalog: ${on('pg_class')}
  ours: ${on('scheduler.events')}
  named: ${on('events')}
`);
  const lines = out.split('\n');
  const expected = [
    [2, here(/vouchers inserts no row of public\.codes, and "insert" would do nothing: leave it out$/)],
    [7, /the job itself fills "opened_start", and apply adds it: leave it out here$/],
    [
      7,
      /"opened_end" does not exist yet, and apply adds it for the job: apply the file without this first, and then with/,
    ],
    [
      8,
      here(/"word" of public\.lists is of type text\[\], and the job takes it for text: write an expression, code: …/),
    ],
    [8, here(/"state" of public\.lists is of type text\[\], .* it writes "status", so name a column of that type/)],
    [
      9,
      here(
        /public\.pairs has no column "id", and a primary key of 2 columns \(a, b\): say with "id" .* alter table public\.pairs/,
      ),
    ],
    [
      10,
      here(
        /public\.words has no column "id", and no primary key: say with "id" .*add column id bigint generated always/,
      ),
    ],
    [11, here(/public\.codes has no column "id": say with "id" which column names a row, id: no$/)],
    [
      12,
      here(
        /two rows of public\.pairs may have the same "a": .* If none has a unique index of its own, add one: alter table/,
      ),
    ],
    [13, /pg_class is in the schema pg_catalog, which is not the application's: a job works on a table of yours$/],
    [14, /scheduler\.events is in the schema scheduler, which is not the application's/],
    [15, /there is no table events; /],
  ] as const;
  for (const [line, sentence] of expected)
    assert.ok(
      lines.some((each) => each.startsWith(`${line}:`) && sentence.test(each)),
      `${line} ${sentence}\n${out}`,
    );
  const faults = `Nothing is applied: ${expected.length} faults.`;
  assert.ok(out.includes(faults), out);
  // The remedy helps.
  await db.query(here('alter table public.pairs add column id bigint generated always as identity unique'));
  await applied(db, `jobs:\n  pairs: ${on('pairs')}\n`, '--dry-run');
});

test('a change of "uses" says what it was, a row that a trial fails on is told once, and names are listed', async () => {
  await using db = await database();
  await db.query(CODES);
  const unknown = async (name: string) => (await db.cli(['jobs', 'show', name])).err;
  assert.match(await unknown('codez'), /"codez" is not a job of your own; "scheduler apply" has made none yet\./);
  await db.query(`create function no() returns trigger language plpgsql as $$ begin raise 'not today'; end $$;
    create trigger no before update on codes for each row execute function no()`);
  const { code, out, err } = await apply(db, CODES_FILE, '--backlog', 'run');
  assert.equal(code, 0, out + err);
  assert.equal(`${out}${err}`.match(/not today/g)!.length, 1, out + err);
  assert.match(out, /^ {4}row 1 fails by the rule "expire": not today$/m);
  assert.match(await unknown('codez'), /"codez" is not a job of your own; valid: codes\./);

  const changed = await applied(
    db,
    CODES_FILE.replace('word,', 'word, updated_at: seen,').replace(' }\n', ', set: { word: "upper(word)" } }\n'),
    '--dry-run',
  );
  assert.match(changed, /^ {4}"columns" is another\n {4}"set" is another\n/m);
  assert.doesNotMatch(changed, /"uses" is another/);
  const rules =
    "jobs:\n  codes: { table: codes, rules: { go: { due: until, where: state = 'unused', set: state = 'x' } } }\n";
  const own = await apply(db, rules, '--dry-run');
  assert.match(own.out, /"uses" is another: it was "vouchers", and is rules of its own now/);
});
