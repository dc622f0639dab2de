import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import pg from 'pg';
import { ROOT } from '../src/base/version.ts';
import { tablesOf } from '../src/job/tables.ts';
import { loadJobs } from '../src/jobs/index.ts';
import { SCHEMA } from '../src/own/schema.ts';
import { cli, database, type TestDatabase } from './support/harness.ts';
import { commandsOf, PAGES, readPage } from './support/markdown.ts';
import { folder, isHere, NOT_HERE, play, shell } from './support/playing.ts';
import { here, ofPublic } from './support/schema.ts';
import { record, SESSION, wordsOf } from './support/session.ts';

/** Every command that the documentation shows is run, and every name in it exists. */

// ---- Form

test('every block says what it is, and the exemptions are in use', () => {
  const blocks = PAGES.flatMap((name) => readPage(name).blocks.map((block) => ({ name, block })));
  for (const { name, block } of blocks) {
    assert.match(block.language, /^(sh|sql|ts|php|yaml|text|)$/, `${name}, line ${block.line}`);
    if (block.language === '') assert.deepEqual(commandsOf(block).filter(isHere), [], `${name}, line ${block.line}`);
  }
  const commands = blocks.flatMap(({ block }) => (block.language === 'sh' || !block.language ? commandsOf(block) : []));
  for (const [pattern, why] of NOT_HERE)
    assert.ok(
      commands.some((each) => pattern.test(each)),
      why,
    );
});

test('README has at most 1,000 words', () => {
  const count = readPage('README.md').text.split(/\s+/).filter(Boolean).length;
  assert.ok(count <= 1000, `${count}`);
});

test('links lead somewhere', () => {
  const anchors = new Map(PAGES.map((name) => [name, readPage(name).anchors]));
  for (const name of PAGES) {
    for (const link of readPage(name).links.filter((each) => !/^https?:/.test(each))) {
      const [path, hash] = link.split('#');
      const target = path ? normalize(join(dirname(name), path)) : name;
      assert.ok(existsSync(join(ROOT, target)), `${name}: ${link}`);
      if (hash) assert.ok(anchors.get(target)?.includes(hash), `${name}: ${link}`);
    }
  }
});

test('each page begins with what its reader wants', () => {
  for (const name of PAGES.filter((page) => page.startsWith('docs/')))
    assert.match(readPage(name).text, /^# [^\n]+\n\nYou want /, name);
});

test('README leads to every page', () => {
  const { links } = readPage('README.md');
  for (const name of PAGES.slice(1)) assert.ok(links.includes(name), name);
});

test('every command and option that is named exists, also in sentences and where it cannot run here', async () => {
  const helps = new Map<string, string>();
  const help = async (command: string) => {
    const known = helps.get(command) ?? (await cli([...(command ? [command] : []), '--help'])).out;
    helps.set(command, known);
    return known;
  };
  const all = await help('');
  let seen = 0;
  for (const name of PAGES) {
    const { blocks, inline } = readPage(name);
    const lines = [...blocks.filter(({ language }) => language === 'sh' || !language).flatMap(commandsOf), ...inline];
    for (const line of lines) {
      for (const [, words] of line.matchAll(
        /(?:^|[;&|(] ?|sudo |\* |bin\/|[A-Z_]+=(?:"[^"]*"|\S+) )scheduler(?:\.js)? ([a-z][^|;&)>]*)/g,
      )) {
        const [command = '', ...rest] = words!
          .replace(/^help (?=\w)/, '')
          .trim()
          .split(/\s+/);
        // The example of docs/writing-a-job.md is a command only once it has been built: test/job/writing-a-job.slow.test.ts.
        if (command === 'reminders') continue;
        assert.match(all, new RegExp(`^  ${command} `, 'm'), `${name}: ${line}`);
        const text = await help(command);
        for (const [option] of rest.join(' ').matchAll(/(?<![\w-])--[a-z][a-z-]*/g)) {
          assert.match(text, new RegExp(`${option}(?![a-z-])`), `${name}: ${line}`);
        }
        seen++;
      }
    }
  }
  assert.ok(seen > 60, `${seen}`);
});

// ---- Page by page, as somebody reads it

const story = (name: string, db: TestDatabase, env: Record<string, string> = {}) => {
  const { sections } = readPage(name);
  return {
    async all() {
      for (const section of sections) await play(section, { db, env: { DATABASE_URL: db.url, ...env } });
    },
    block: (file: string) => sections.flatMap(({ blocks }) => blocks).find((block) => block.file === file)!,
  };
};

const sales = (db: TestDatabase, count: number) =>
  db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, status)
    select 'p' || n, true, now() - interval '1 hour', 'inactive' from generate_series(1, ${count}) as n`);

test('README.md: six commands at most lead to a rule that works on a table of the reader; what is shown is what is printed', async () => {
  await using db = await database({ empty: true });
  const env = { DATABASE_URL: db.url };
  await db.query(`create table bookings (id integer primary key, state text not null, hold_until timestamptz);
    insert into bookings values (1, 'held', now() - interval '20 seconds'), (2, 'paid', now()), (3, 'held', now() + interval '5 hours')`);
  const readme = readPage('README.md');
  const file = readme.blocks.find((block) => block.file)!;
  writeFileSync(join(folder, file.file!), file.text);
  const section = (heading: string) => readme.sections.find((each) => each.heading === heading)!;
  const [first] = section('Try it').blocks.flatMap(commandsOf);
  const use = section('On your own table');
  const commands = [first!, ...use.blocks.flatMap(commandsOf)].flatMap((line) => line.split(/ && | ; /));
  assert.equal(first, 'npm install');
  assert.ok(commands.length <= 6, commands.join('\n'));
  const printed = await play(use, { db, env });
  assert.deepEqual(await db.query('select id from bookings where state = $1', ['released']), [{ id: 1 }]);
  for (const shown of readme.blocks
    .find(({ language }) => language === 'text')!
    .text.split(/^\$ /m)
    .slice(1)) {
    const [command, ...lines] = shown.split('\n');
    const said = command === 'scheduler tick' ? printed : (await shell(command!, env)).out;
    assert.ok(timeless(said).endsWith(timeless(lines.join('\n'))), `${command}\n${said}`);
  }
});

test(
  'README.md: the session that it shows is what the commands print; "npm run session" draws it anew',
  ofPublic('events of another one have a column more'),
  async () => {
    await using db = await database({ empty: true });
    const recorded = stripVTControlCharacters(await record(db.url, folder));
    const drawn = wordsOf(readFileSync(join(ROOT, SESSION), 'utf8'));
    // A line that is too long is broken in the drawing.
    const joined = (text: string) => timeless(text).replaceAll(' ', '');
    assert.equal(joined(drawn), joined(recorded));
  },
);

/** Times and spans differ from run to run. */
const timeless = (text: string) =>
  text
    .replace(/(\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:[\d.]+(Z|\+00:00)?/g, 'TIME')
    .replace(/\b\d+ (s|min|h|d)\b( \d+ (s|min|h)\b)*/g, 'SPAN')
    .replace(/\s+/g, ' ')
    .trim();

test('reference.md names every command', async () => {
  const { out } = await cli(['--help']);
  const commands = [...out.matchAll(/^ {2}([a-z][a-z-]+) /gm)].map(([, command]) => command!);
  assert.ok(commands.length > 20);
  const { inline, text } = readPage('docs/reference.md');
  const named = [...inline, ...[...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!)].map(
    (code) => code.split(' ')[0],
  );
  for (const command of commands) assert.ok(named.includes(command), command);
});

test('installing.md and reference.md', async () => {
  await using db = await database();
  for (const page of ['docs/installing.md', 'docs/reference.md']) await story(page, db).all();
});

test('adopting.md, with the hotspot in Laravel', async () => {
  await using db = await database({ empty: true });
  const files = { 'dump.sql': 'schema.sql', 'scheduler.yaml': 'scheduler.yaml' };
  for (const [name, example] of Object.entries(files))
    copyFileSync(join(ROOT, 'deploy/examples/laravel', example), join(folder, name));
  try {
    const zones = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi', SCHEDULER_TIMEZONE: 'Africa/Nairobi' };
    await story('docs/adopting.md', db, zones).all();
    assert.equal((await db.query(`select from packages where name = 'Weekend' and status = 'active'`)).length, 1);
    const roles = await db.query(`select from pg_roles where rolname = 'scheduler_tick'`);
    if (roles.length > 0) {
      const [can] = await db.query(`select has_table_privilege('scheduler_tick', 'packages', 'update') as update,
        has_table_privilege('scheduler_tick', 'packages', 'delete') as delete`);
      assert.deepEqual(can, { update: true, delete: false });
    }
  } finally {
    for (const name of Object.keys(files)) rmSync(join(folder, name));
    await db.query(`do $$ begin if exists (select from pg_roles where rolname = 'scheduler_tick') then
      drop owned by scheduler_tick; drop role scheduler_tick; end if; end $$`);
  }
});

test('adopting.md: the columns that make a table recognisable are those of the definitions', async () => {
  const rows = readPage('docs/adopting.md').text.matchAll(/^\| (`[a-z-]+`(?:, `[a-z-]+`)?) \| `(\w+)` \| (.*) \|$/gm);
  const jobs = await loadJobs();
  let seen = 0;
  for (const [, names, table, columns] of rows) {
    const job = jobs.find(({ name }) => name === names!.split('`')[1])!;
    assert.equal(job.table.name, table);
    const words = [...columns!.matchAll(/`(\w+)`/g)].map(([, word]) => word);
    assert.deepEqual(words, job.table.recognisedBy, table);
    seen++;
  }
  assert.equal(seen, 9);
});

test('adopting.md: which tables are made unasked is as in the definitions', async () => {
  const rows = [...readPage('docs/adopting.md').text.matchAll(/^\| (`[^|]+) \| (with|when you ask)/gm)];
  const said = rows.flatMap(([, names, when]) => [...names!.matchAll(/`(\w+)`/g)].map(([, name]) => `${name} ${when}`));
  const tables = (await loadJobs()).flatMap(tablesOf);
  assert.deepEqual(
    said.sort(),
    [...new Set(tables.map(({ name, ours }) => `${name} ${ours ? 'with' : 'when you ask'}`))].sort(),
  );
});

test('events.md', async () => {
  await using db = await database();
  await sales(db, 3);
  await db.tick();
  await story('docs/events.md', db).all();
  assert.equal((await db.query('select from heard_events')).length, 3);
  const types = join(folder, 'types.txt');
  if (existsSync(types)) assert.equal(readFileSync(types, 'utf8'), 'package.status.changed\n'.repeat(3));
});

test('events.md: the listener hears each event once: from before, live, over a lost connection', async () => {
  await using db = await database();
  const { text } = story('docs/events.md', db).block('listener.ts');
  const file = join(folder, 'listener.ts');
  writeFileSync(file, text);
  await db.query('create table heard_events (id bigint primary key)');
  await sales(db, 2);
  await db.tick();
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    cwd: folder,
    env: { ...process.env, DATABASE_URL: db.url },
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  const heard = async (count: number) => {
    for (let n = 0; n < 400 && out.split('\n').length <= count; n++) await sleep(25);
    const lines = out.trim().split('\n');
    assert.equal(lines.length, count, out + err);
    assert.equal(new Set(lines).size, count);
    for (const line of lines)
      assert.match(line, /^\d+ package\.status\.changed Package 'p\d' status changed from inactive to active$/);
  };
  try {
    await heard(2);
    const live = performance.now();
    await sales(db, 1);
    await db.tick();
    await heard(3);
    assert.ok(performance.now() - live < 8000, 'woken, and not by its ten seconds');
    await db.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
    );
    await sales(db, 3);
    await db.tick();
    await heard(6);
  } finally {
    child.kill();
  }
});

test('events.md: the inbox loses no event whose transaction commits after a later one', async () => {
  await using db = await database();
  const inbox = readPage('docs/events.md')
    .blocks.filter(({ language }) => language === 'sql')
    .map(({ text }) => text);
  await db.query(inbox[0]!);
  const event = `insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    values ('package.status.changed', 'packages', 'activate', '1', now(), array['private-packages'], '{}')`;
  const slow = new pg.Client({ connectionString: db.url });
  await slow.connect();
  try {
    await slow.query(`begin; ${event}`);
    await db.query(event);
    const ids = async () => (await db.query(inbox[1]!)).map(({ id }) => Number(id));
    assert.deepEqual(await ids(), [2]);
    await slow.query('commit');
    assert.deepEqual(await ids(), [1]);
    assert.deepEqual(await ids(), []);
  } finally {
    await slow.end();
  }
});

test('events.md names every type and its channels', () => {
  const { text } = readPage('docs/events.md');
  const sources = readdirSync(join(ROOT, 'src/jobs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(ROOT, 'src/jobs', name), 'utf8'));
  const found = sources.flatMap((source) => [
    ...source.matchAll(
      /'((?:package|special_package|subscription|text_session)(?:\.[a-z]+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+)'(?= as type|,? '| end as type|, \w+::text|, array|, id|,\n|, \$\{CHANNELS)/g,
    ),
  ]);
  const types = new Set(found.map(([, type]) => type!).filter((type) => type !== 'Cleartext'));
  const table = text.split('\n').filter((line) => /^\| `[a-z-]+`/.test(line) && line.split('|').length === 5);
  const named = new Set(
    table.flatMap((line) => [...line.split('|')[2]!.matchAll(/`([^`]+)`/g)].map(([, type]) => type!)),
  );
  assert.deepEqual([...named].sort(), [...types].sort());
});

test('own-jobs.md: from an empty file to a change of it; what is shown is what is printed', async () => {
  await using db = await database({ empty: true });
  rmSync(join(folder, 'scheduler.yaml'), { force: true });
  const words = (text: string) => text.replace(/\s+/g, ' ').trim();
  for (const section of readPage('docs/own-jobs.md').sections) {
    let printed = '';
    for (const block of section.blocks) {
      if (block.file) writeFileSync(join(folder, block.file), block.text);
      else if (block.language === 'text') assert.ok(words(printed).includes(words(here(block.text))), printed);
      else
        printed += await play(
          { ...section, blocks: [block] },
          {
            ...{ db, env: { DATABASE_URL: db.url } },
            codes: section.heading === 'A table and an empty file' ? { 'scheduler apply': 1 } : {},
          },
        );
    }
    if (section.heading === 'The first rule')
      assert.match(printed, /\[\{"id":1,"state":"released"\},\{"id":2,"state":"paid"\},\{"id":3,"state":"held"\}\]/);
  }
  assert.equal((await db.query('select from scheduler.jobs')).length, 3);
});

test('jobs-file.md: its file fits its tables, and it has every key and option', async () => {
  await using db = await database({ empty: true });
  await db.cli(['migrate']);
  const page = readPage('docs/jobs-file.md');
  const file = page.blocks.find((block) => block.file)!;
  writeFileSync(join(folder, file.file!), file.text);
  const [tables, ...rest] = page.sections.filter(({ blocks }) => blocks.length > 0);
  assert.match(await play(tables!, { db, env: { DATABASE_URL: db.url } }), /^\+ invoices {2}on/m);
  assert.deepEqual(rest, []);

  const keysOf = (heading: string) => {
    const section = page.text.split(/^## /m).find((text) => text.startsWith(`${heading}\n`))!;
    return [...section.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) =>
      [...cell!.matchAll(/`([\w-]+)/g)].map(([, key]) => key!),
    );
  };
  const [own, use] = JSON.parse(JSON.stringify(SCHEMA.properties.jobs.additionalProperties.oneOf));
  const rule = own.properties.rules.additionalProperties;
  const shapes = {
    'Keys of a job': own.properties,
    'Keys of a rule': rule.properties,
    'Keys of an event': rule.properties.event.oneOf[1].properties,
    'Keys for a built-in job': use.properties,
  };
  for (const [heading, properties] of Object.entries(shapes)) {
    const elsewhere = heading === 'Keys for a built-in job' ? ['every', 'summary', 'was'] : [];
    assert.deepEqual([...keysOf(heading), ...elsewhere].sort(), Object.keys(properties).sort(), heading);
  }
  const { out } = await cli(['apply', '--help']);
  const options = [...out.split('Global Options')[0]!.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(
    ([, option]) => option!,
  );
  assert.deepEqual(new Set(keysOf('Options of apply')), new Set(options.filter((option) => option !== '--help')));
});

test('guarantees.md: each promise names tests that are there', () => {
  const promises = readPage('docs/guarantees.md').text.split(/^### /m).slice(1);
  assert.ok(promises.length > 8);
  for (const promise of promises) {
    const files = [...promise.matchAll(/`(test\/[^`]*)`/g)].map(([, file]) => file!);
    assert.ok(files.length > 0, promise);
    for (const file of files) assert.ok(existsSync(join(ROOT, file)) && file.endsWith('.test.ts'), file);
  }
});

test('benchmarks.md explains each column and option that the benchmark has', () => {
  const bench = readFileSync(join(ROOT, 'test/bench/run.ts'), 'utf8');
  const { inline, text } = readPage('docs/benchmarks.md');
  const cells = [...text.split('## Figures')[0]!.matchAll(/^\| (`.*?) \|/gm)].map(([, cell]) => cell!);
  const columns = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, column]) => column!));
  assert.ok(columns.length > 9);
  for (const column of columns) assert.ok(bench.includes(`'${column}'`), column);
  for (const [, option] of [...inline, text].join(' ').matchAll(/--(?:no-)?(\w+)/g))
    assert.ok(bench.includes(`${option}: {`), option);
});

test('scaling.md', async () => {
  await using db = await database();
  await sales(db, 30);
  await story('docs/scaling.md', db).all();
});
