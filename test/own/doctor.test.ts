import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied } from '../support/own.ts';

test('doctor finds what has changed under a job before a tick meets it, and its remedy works', async () => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, at timestamptz, gone boolean default false, n integer, spare text);
    create function wanted(integer) returns boolean immutable language sql return $1 > 0`);
  const yaml = `
jobs:
  items:
    table: items
    rules: { go: { due: at, where: { it is there: not gone, it is wanted: wanted(n) }, set: gone = true, once: told } }
`;
  await applied(db, yaml);
  const found = async () => {
    const { checks } = JSON.parse((await db.cli(['doctor', '--json'])).out);
    const { outcome, message } = checks.find(({ check }: { check: string }) => check === 'items');
    return { outcome, message };
  };
  assert.equal((await found()).outcome, 'ok', (await found()).message);
  const finds = async (sql: string, what: RegExp, outcome = 'failed', undo?: string) => {
    await db.query(sql);
    const { outcome: is, message } = await found();
    assert.equal(is, outcome, message);
    assert.match(message, what);
    if (undo) await db.query(undo);
    await applied(db, yaml);
    assert.equal((await found()).outcome, 'ok', sql);
  };
  await finds('alter table items add more text', /the column "more" is new/, 'warning');
  await finds(
    'alter table items alter n type bigint',
    /no function|does not exist/,
    'failed',
    'alter table items alter n type integer',
  );
  await finds('alter table items alter spare type varchar(9)', /"spare" is of type character varying\(9\) now/);
  await finds('alter table items drop told', /the column "told" is gone/);
  await finds('alter table items drop spare', /the column "spare" is gone/);
  await finds(
    'create or replace function wanted(integer) returns boolean immutable language sql return $1 > 1',
    /the function .*wanted\(integer\) is another/,
  );
  await finds(
    'alter table items rename at to begins_at',
    /"?at"?/,
    'failed',
    'alter table items rename begins_at to at',
  );
  const { name } = await db.one(`select indexname as name from pg_indexes where indexname like 'items_items%'`);
  await finds(`drop index "${name}"`, /the index .* is missing or invalid/);

  await db.tick();
  await db.query(`insert into items (at, n) values (now() - interval '1 hour', 2)`);
  const { checks } = JSON.parse((await db.cli(['doctor', '--json'])).out);
  const backlog = checks.find(({ check }: { check: string }) => check === 'backlog');
  assert.match(backlog.remedy[1], /^scheduler run items --debug/);
  assert.match((await db.cli(['run', 'items', '--debug'])).out, /go +1/);
});
