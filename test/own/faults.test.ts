import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';
import { apply } from '../support/own.ts';

/** The faults that a file of jobs can have. Each fault is expected where its mark stands, and with the sentence after the file. */

const MARK = '¦';

/** The places of the marks, and the file without them. */
function marked(yaml: string): { yaml: string; places: string[] } {
  const places: string[] = [];
  const lines = yaml.split('\n').map((line, n) => {
    for (let at = line.indexOf(MARK); at >= 0; at = line.indexOf(MARK)) {
      places.push(`${n + 1}:${at + 1}`);
      line = line.replace(MARK, '');
    }
    return line;
  });
  return { yaml: lines.join('\n'), places };
}

async function hasFaults(db: TestDatabase, text: string, sentences: string[]): Promise<void> {
  const { yaml, places } = marked(text);
  const { code, out, err, file } = await apply(db, yaml);
  const told = out
    .trim()
    .split('\n')
    .filter((line) => line.startsWith(file))
    .map((line) => line.slice(file.length + 1));
  const expected = sentences.map((sentence, n) => `${places[n]}: ${sentence}`);
  assert.deepEqual(told, expected, err);
  assert.equal(places.length, sentences.length);
  assert.equal(code, 1);
}

const TABLES = `create schema app;
  create type app.state as enum ('trialing', 'expired');
  create table app.accounts (id integer primary key, state app.state, ends_at timestamptz, opens time, day date, days integer, name text, zone text,
    password text, done_for timestamptz, n integer, twice integer generated always as (n * 2) stored, meta jsonb);
  create table app.log (id serial, what text, at timestamptz);
  create view app.some as select * from app.log;
  create view app.open as select * from app.accounts;
  create table app.keyless (at timestamptz);
  create function app.later(text) returns timestamptz language sql immutable return null::timestamptz;`;

const ALL = `
¦job: {}
jobs:
  keys:
    table: app.accounts
    ¦whens: x
    ¦table: app.log
    ¦summary:
    every: ¦2 weeks
    rules:
      first:
        due: ends_at
        ¦wher: name = 'a'
        ¦unlike: x
        set: name = 'b'
      second: ¦once
      third: ¦¦{ where: name = 'a' }
      fourth:
        due: ends_at
        delete: true
        set: ¦name = 'b'
      fifth: { due: ends_at, once: ¦done_early, repeat: 1 day }
      sixth: { due: ends_at, set: name = 'a', late: ¦1 day, event: a.b }
      seventh: { due: ends_at, once: done_late, late: ¦3 fortnights, event: a.b }
      eighth: { due: ends_at, delete: ¦yes }
      ninth: { due: &when ends_at, set: name = 'a' }
      tenth: { due: ¦*when, set: name = 'a' }
      eleventh: { due: ends_at, set: ¦[name = 'a'] }
  ¦Nice Name:
    table: app.accounts
    rules: { a: { due: ends_at, delete: true } }
  ¦packages2:
  bare:
    ¦table: app.accounts
  packages:
    ¦table: app.accounts
    rules: { a: { due: ends_at, delete: true } }
  ¦keys:
    table: app.accounts
  gone:
    table: ¦app.acounts
    rules: { a: { due: ends_at, delete: true } }
  view:
    table: ¦app.open
    rules: { a: { due: ends_at, delete: true } }
  keyless:
    table: ¦app.keyless
    rules: { a: { due: at, delete: true } }
  id:
    table: app.accounts
    id: ¦nr
    zone: ¦Mars/Base
    rules: { a: { due: ends_at, delete: true } }
  parts:
    table: app.accounts
    rules:
      semicolon: { due: ends_at, delete: true, where: n = 1¦; drop table app.log }
      comment: { due: ends_at, delete: true, where: "n = 1 ¦-- one" }
      quote: { due: ends_at, delete: true, where: name = ¦'x }
      bracket: { due: ends_at, delete: true, where: ¦(n = 1 }
      closing:
        due: ends_at
        delete: true
        where: |
          n = 1
            and n = 2¦)
      hidden: { due: ends_at, delete: true, where: "name = E'\\\\''¦; drop table app.log; select E'\\\\''" }
      ends: { due: ends_at, delete: true, where: n =¦ }
  conditions:
    table: app.accounts
    where: ¦deleted_at is null
    rules:
      column: { due: ends_at, delete: true, where: { it is open: "n = 1 and ¦stat = 'a'" } }
      folded:
        due: ends_at
        delete: true
        where: >
          n = 1
          and ¦nam = 'a'
      lines:
        due: ends_at
        delete: true
        where: n = 1 and
          n = 2 and ¦nam = 'a'
      single: { due: ends_at, delete: true, where: 'name = ''x'' and ¦nam = 1' }
      double: { due: ends_at, delete: true, where: "name = '\\"\\n\\"' and ¦nam = 1" }
      rows: { due: ends_at, delete: true, where: ¦"generate_series(1, 2) > 1" }
      function: { due: ends_at, delete: true, where: n = 1 and ¦lenght(name) = 2 }
      type: { due: ends_at, delete: true, where: ¦name }
      clock: { due: ends_at, delete: true, where: ¦ends_at < now() }
      date: { due: ends_at, delete: true, where: ¦day < current_date }
      word: { due: ends_at, delete: true, where: ¦ends_at < now }
      together: { due: ends_at, delete: true, where: ¦count(*) > 1 }
      window: { due: ends_at, delete: true, where: ¦row_number() over () = 1 }
      sequence: { due: ends_at, delete: true, where: ¦"nextval('app.log_id_seq') > 1" }
      notify: { due: ends_at, delete: true, where: ¦"pg_notify('a', 'b') is null" }
      lock: { due: ends_at, delete: true, where: ¦pg_try_advisory_lock(1) }
      sleep: { due: ends_at, delete: true, where: ¦pg_sleep(1) is null }
      random: { due: ends_at, delete: true, where: ¦random() > 0.5 }
      enum: { due: ends_at, delete: true, where: state = ¦'ended' }
      fails: { due: ends_at, delete: true, fails: { it has no name: ¦name } }
      secret: { due: ends_at, delete: true, fails: { "the {password} is bad": ¦name is null } }
      set: { due: ends_at, delete: true, where: (select ¦x from app.log) }
  dues:
    table: app.accounts
    rules:
      column: { due: ¦end_at, delete: true }
      time: { due: ¦opens, delete: true }
      text: { due: ¦name, delete: true }
      unit: { due: ends_at + 3 ¦fortnights, delete: true }
      hour: { due: ends_at at ¦25:00, delete: true }
      count: { due: ¦ends_at + name days, delete: true }
      span: { due: ¦ends_at + days, delete: true }
      clock: { due: ¦"now() + interval '1 day'", delete: true }
      type: { due: ¦length(name), delete: true }
      own: { due: ¦app.later(name), delete: true }
      map: { due: ¦{ date: ends_at, time: opens }, delete: true }
      half: { due: ¦{ date: day }, delete: true }
      reads: { due: ¦(select max(at) from app.log), delete: true }
  changes:
    table: app.accounts
    rules:
      column: { due: ends_at, set: "name = 'a', ¦nam = 'b'" }
      key: { due: ends_at, set: ¦id = id + 1 }
      generated: { due: ends_at, set: ¦twice = 4 }
      type: { due: ends_at, set: "name = 'a', n = ¦true" }
      literal: { due: ends_at, set: n = ¦'x' }
      enum: { due: ends_at, set: state = ¦'ended' }
      list: { due: ends_at, set: "name = 'a', ¦ends_at" }
      twice: { due: ends_at, set: "name = 'a', ¦name = 'b'" }
      empty: { due: ends_at, set: ¦"name =" }
      notify: { due: ends_at, set: ¦"name = pg_notify('a', 'b')::text" }
      repeat: { due: ends_at + 1 day, repeat: ¦1 day }
      repeats: { due: ends_at, repeat: 1 day, set: ¦ends_at = null }
      once: { due: ends_at, once: ¦ends_at }
      name: { due: ends_at, once: ¦name }
      both: { due: ends_at, once: ¦done_for, set: done_for = null }
  tells:
    table: app.accounts
    rules:
      type: { due: ends_at, delete: true, event: ¦a b }
      no: { due: ends_at, delete: true, event: ¦{ data: [name] } }
      key: { due: ends_at, delete: true, event: { type: a.b, ¦chanels: [x] } }
      column: { due: ends_at, delete: true, event: { type: a.b, channels: [all, ¦"a.{nam}"] } }
      data: { due: ends_at, delete: true, event: { type: a.b, data: [id, ¦nam] } }
      secret: { due: ends_at, delete: true, event: { type: a.b, message: ¦"the {password}" } }
      set: { due: ends_at, set: password = null, event: ¦a.b }
      long: { due: ends_at, delete: true, event: { type: a.b, channels: ¦${'c'.repeat(64)} } }
  also:
    table: app.accounts
    rules:
      update: { due: ends_at, delete: true, also: ¦"update app.log set what = 'a'" }
      values: { due: ends_at, delete: true, also: ¦"insert into app.log (what) values ('a')" }
      view: { due: ends_at, delete: true, also: [insert into app.log (what) select name from changed, ¦insert into app.some (what) select name from changed] }
      returning: { due: ends_at, delete: true, also: ¦insert into app.log (what) select name from changed returning id }
      unread: { due: ends_at, delete: true, also: ¦"insert into app.log (what) select 'a'" }
      writes: { due: ends_at, delete: true, also: ¦insert into app.log (what) with gone as (delete from app.log returning what) select what from gone }
      column: { due: ends_at, delete: true, also: ¦insert into app.log (wat) select name from changed }
      notify: { due: ends_at, delete: true, also: ¦"insert into app.log (what) select pg_notify('a', name) from changed" }
`;

const NOTHING = 'a file of jobs begins with "jobs:", and below it each job has a name and a map';

const SENTENCES = [
  '"job" is not a key of a file of jobs; did you mean "jobs"?',
  '"whens" is not a key of a job; valid: table, id, zone, where, every, summary, was, rules',
  '"table" is there twice',
  '"summary" has no value',
  '"every" is a span from a minute to a day, such as "15 minutes", not "2 weeks"',
  '"wher" is not a key of a rule; did you mean "where"?',
  '"unlike" is not a key of a rule; valid: due, where, set, repeat, delete, once, late, fails, also, event',
  'the rule "second" needs a map, with "due"',
  'the rule "third" has no "due"',
  'the rule "third" changes nothing: it needs "set", "repeat", "delete" or "once", or it would be due for ever',
  '"set" and "delete" exclude each other',
  '"once" and "repeat" exclude each other',
  '"late" needs "once"',
  '"late" is a count and a unit, such as "1 day" or "3 months", not "3 fortnights"',
  '"delete" is true, or not there',
  'an alias such as *when is not read: write the value out',
  '"set" is a text, and not a list',
  '"Nice Name" is not a name for a job: up to 40 small letters, digits and "-", the first a letter',
  'the job "packages2" needs a map, with "table" and "rules"',
  'the job "bare" has no "rules"',
  '"packages" is the name of a built-in job: give this one another, or say "uses: packages"',
  '"keys" is there twice',
  'there is no table app.acounts; did you mean app.accounts?',
  'app.open is not a table: a job works on the rows of one, not of a view',
  'the primary key of app.keyless has 0 columns: say with "id" which column names a row',
  'the table has no column "nr"; did you mean "n"?',
  '"Mars/Base" is neither a column of the table nor a time zone that the server knows, such as Europe/Berlin',
  '"where": ";" does not belong here: it is one expression',
  '"where": a comment does not belong here: write it as a comment of YAML',
  `"where": the ' that begins here has no end`,
  '"where": the "(" has no end',
  '"where": the ")" has no beginning',
  '"where": ";" does not belong here: it is one expression',
  'this ends before it is complete',
  'column "deleted_at" does not exist',
  'column "stat" does not exist; Perhaps you meant to reference the column "state".',
  'column "nam" does not exist; Perhaps you meant to reference the column "name".',
  'column "nam" does not exist; Perhaps you meant to reference the column "name".',
  'column "nam" does not exist; Perhaps you meant to reference the column "name".',
  'column "nam" does not exist; Perhaps you meant to reference the column "name".',
  'this is not about one row: aggregates, window functions and sets of rows have no place here',
  'function lenght(text) does not exist; No function matches the given name and argument types. You might need to add explicit type casts.',
  'a condition is true or false, and this is of type text',
  'a condition does not read the clock: what becomes true with time is a due time',
  'a condition does not read the clock: what becomes true with time is a due time',
  'a condition does not read the clock: what becomes true with time is a due time',
  'this is not about one row: aggregates, window functions and sets of rows have no place here',
  'this is not about one row: aggregates, window functions and sets of rows have no place here',
  'nextval may act, or answer another thing each time: an expression only reads the row',
  'pg_notify may act, or answer another thing each time: an expression only reads the row',
  'pg_try_advisory_lock may act, or answer another thing each time: an expression only reads the row',
  'pg_sleep may act, or answer another thing each time: an expression only reads the row',
  'random may act, or answer another thing each time: an expression only reads the row',
  'invalid input value for enum app.state: "ended"',
  'a condition is true or false, and this is of type text',
  'the column "password" looks like a secret: it has no place in a sentence that is logged',
  'column "x" does not exist',
  'the table has no column "end_at"; did you mean "ends_at"?',
  '"opens" is of type time without time zone, which is neither a timestamp nor a date; write { date: COLUMN, time: COLUMN } for a time of a day',
  '"name" is of type text, which is neither a timestamp nor a date; write { date: COLUMN, time: COLUMN } for a time of a day',
  '"fortnights" is not a unit; valid: second, minute, hour, day, week, month, year',
  '"25:00" is not a time of the day, from 00:00 to 23:59',
  '"name" is of type text, and a count of days is a whole number',
  '"days" is of type integer: write its unit behind it, as in "days hours"',
  'a due time does not read the clock: it is a time that the row tells',
  'a due time is a timestamp or a date, and this is of type integer',
  'a due time uses functions of PostgreSQL, and not app.later(text): keep it in a column, a generated one for instance, and name that',
  '"date" is a column of type date and "time" one of type time, not timestamp with time zone and time without time zone',
  '"due" as a map has "date" and "time", a column each',
  'a due time is of the row alone, and this reads other rows',
  'the table has no column "nam"; did you mean "name"?',
  'the column "id" names the row: a rule does not change it',
  'the column "twice" is generated: nobody can set it',
  'column "n" is of type integer but expression is of type boolean; You will need to rewrite or cast the expression.',
  'invalid input syntax for type integer: "x"',
  'invalid input value for enum app.state: "ended"',
  '"set" is a list of COLUMN = VALUE',
  '"set" names the column "name" twice',
  'the column "name" is set to nothing',
  'pg_notify may act, or answer another thing each time: an expression only reads the row',
  '"repeat" needs a due time that is a column and no more',
  '"repeat" sets "ends_at": leave it out of "set"',
  '"ends_at" is the due time itself: name a column that keeps which one was done',
  '"name" is of type text: it must be timestamptz, to keep the time exactly',
  '"once" sets "done_for", and so does "set": leave it out there',
  '"a b" is not a type of event: letters, digits, ".", ":", "_" and "-"',
  '"event" has no "type"',
  '"chanels" is not a key of "event"; did you mean "channels"?',
  'the table has no column "nam"; did you mean "name"?',
  'the table has no column "nam"; did you mean "name"?',
  'the column "password" looks like a secret: name it in "data" if listeners may read it',
  'the column "password" looks like a secret: name it in "data" if listeners may read it',
  `a channel has up to 63 bytes, and "${'c'.repeat(64)}" has more`,
  '"also" is one statement, "insert into … select … from changed", without "returning"',
  '"also" is one statement, "insert into … select … from changed", without "returning"',
  '"also" inserts into a table: app."some" is not one',
  '"also" is one statement, "insert into … select … from changed", without "returning"',
  '"also" inserts what it reads from "changed", the rows that were changed: this does not read it',
  'WITH clause containing a data-modifying statement must be at the top level',
  'column "wat" of relation "log" does not exist',
  'pg_notify may act, or answer another thing each time: an expression only reads the row',
];

test('every kind of fault is named at its place, all of a file at once, and nothing is applied', async () => {
  await using db = await database();
  await db.query(TABLES);
  await hasFaults(db, ALL, SENTENCES);
  assert.deepEqual(await db.query('select from scheduler.jobs'), []);
  assert.equal((await db.query(`select from pg_class where relname = 'log' and relkind = 'r'`)).length, 1);
});

const FILES: [string, ...string[]][] = [
  ['¦', NOTHING],
  ['¦# jobs', NOTHING],
  ['¦jobs', NOTHING],
  ['¦- jobs', NOTHING],
  ['¦jobs:\n', '"jobs" has no value'],
  ['jobs:\n  ¦- a: {}\n', NOTHING],
  ['jobs:\n¦\ta: {}\n', 'this is not YAML: Tabs are not allowed as indentation'],
  [
    'jobs:\n  a: { table: b\n¦',
    'this is not YAML: Flow map in block collection must be sufficiently indented and end with a }',
  ],
  ["jobs:\n  a:\n    table: 'b\n¦", "this is not YAML: a text that began with ' has no end"],
  ['jobs:\n  a:\n    table: b\n¦   rules: c\n', 'this is not YAML: All mapping items must start at the same column'],
  ['jobs:\n  a: ¦*none\n', 'an alias such as *none is not read: write the value out'],
  ['jobs:\n  ? ¦[a, b]\n  : {}\n', 'a key is a word'],
  ['jobs: {}\n¦---\njobs: {}\n', 'a second document begins here: make it a file of its own'],
  [
    'jobs:\r\n  a:\r\n    ¦¦tabel: x\r\n    rules: ¦x\r\n',
    '"tabel" is not a key of a job; did you mean "table"?',
    'the job "a" has no "table"',
    '"rules" is a map',
  ],
];

test('a fault of YAML, or of the form of the file, is said where it begins', async () => {
  await using db = await database();
  for (const [text, ...sentences] of FILES) await hasFaults(db, text, sentences);
});
