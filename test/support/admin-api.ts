import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { application, type TestDatabase } from './harness.ts';
import { readPage } from './markdown.ts';
import { folder } from './playing.ts';
import { grantRole } from './roles.ts';
import { until } from './until.ts';

/** The admin API of docs/admin-api.md, whatever it is written in, is spoken to over HTTP. */

// biome-ignore lint/suspicious/noExplicitAny: a test reads the JSON as its user does
type Json = any;

/** The command that starts a handler, which listens on this port of the loopback address. */
export type Serve = (port: number) => { command: string; args: string[]; env?: Record<string, string> };

/** One as it stands on the page. */
export function handler(name: string): string {
  const file = join(folder, name);
  writeFileSync(file, readPage('docs/admin-api.md').blocks.find((block) => block.file === name)!.text);
  return file;
}

export const servePhp =
  (command = 'php', options: string[] = [], env = {}): Serve =>
  (port) => ({ command, args: [...options, '-S', `127.0.0.1:${port}`, handler('admin-api.php')], env });

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function started(serve: Serve, given: Record<string, string>) {
  const port = await freePort();
  const { command, args, env } = serve(port);
  const child: ChildProcess = spawn(command, args, {
    cwd: folder,
    env: { PATH: process.env.PATH!, ...given, ...env, PORT: String(port) },
    stdio: 'pipe',
  });
  let said = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (said += text));
  const url = `http://127.0.0.1:${port}/api/admin/scheduler`;
  const ask = async (body?: object | string, token = 'secret', { method = body ? 'POST' : 'GET', path = '' } = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: { ...(token && { authorization: `Bearer ${token}` }), 'content-type': 'application/json' },
      ...(body && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    assert.match(response.headers.get('content-type')!, /^application\/json/);
    return [response.status, (await response.json()) as Json] as const;
  };
  await until(
    `the handler answers: ${said}`,
    () =>
      fetch(url).then(
        () => true,
        () => false,
      ),
    60_000,
  );
  return { ask, said: () => said, [Symbol.asyncDispose]: async () => void child.kill() };
}

/** Every answer and every code of the page. */
export async function speakToAdminApi(db: TestDatabase, serve: Serve): Promise<void> {
  const [tick, role] = [`tick_${db.name}`, `admin_${db.name}`];
  await grantRole(db, tick);
  await db.query(`create role ${role} login; grant scheduler_admin to ${role}`);
  const [, host, port] = /@([^:/]+):(\d+)\//.exec(db.url)!;
  const env = {
    DATABASE_URL: db.url.replace('postgres@', `${role}@`),
    DATABASE_DSN: `pgsql:host=${decodeURIComponent(host!)};port=${port};dbname=${db.name};user=${role}`,
    API_USERS: JSON.stringify({ secret: { name: 'ann', isAdmin: true }, other: { name: 'bob', isAdmin: false } }),
  };
  try {
    await using api = await started(serve, { ...env, WAIT_MS: '60000' });
    await refusals(api.ask);
    await controls(db, api.ask, role);
    await activations(db, api.ask);
    await withoutDatabase(db, api, role);
    await using hasty = await started(serve, { ...env, WAIT_MS: '1' });
    const [code, { id, message }] = await hasty.ask({ action: 'activate_now' });
    assert.deepEqual([code, message], [202, 'The next tick will activate what is due']);
    const { by } = await db.one('select by from scheduler.requests where id = $1', [id]);
    assert.equal(by, 'ann');
  } finally {
    await db.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${role}';
       drop owned by ${role}; drop role ${role}; drop owned by ${tick}; drop role ${tick}`,
    );
  }
}

type Ask = Awaited<ReturnType<typeof started>>['ask'];

async function refusals(ask: Ask): Promise<void> {
  const actions = /; valid: .*start, stop, status, activate_now\.$/;
  type Case = [Promise<readonly [number, Json]>, number, RegExp];
  const all = (message: RegExp, ...bodies: (object | string)[]) =>
    bodies.map((body): Case => [ask(body), 400, message]);
  const cases: Case[] = [
    [ask(undefined, ''), 401, /a token is needed/],
    [ask({ action: 'stop' }, 'wrong'), 401, /a token is needed/],
    [ask(undefined, 'constructor'), 401, /a token is needed/],
    [ask(undefined, 'other'), 403, /^Only admins/],
    [ask({ action: 'stop' }, 'other'), 403, /^Only admins/],
    ...all(
      /^The body must be a JSON object with an action; valid: .*activate_now\.$/,
      ...['{"action": ', '"stop"', 'null', '1', '[]', '["stop"]', '{}', '{"action": null}', `"${'x'.repeat(500_000)}"`],
      { job: 'packages' },
    ),
    ...all(
      /^"action" must be a text without NUL/,
      { action: 1 },
      { action: {} },
      { action: ['stop'] },
      { action: '\0' },
    ),
    ...[7, { is: 'packages' }, ['packages'], true, 'pack\0ages'].flatMap((value) => [
      ...all(/^"job" must be a text without NUL characters\.$/, { action: 'stop', job: value }),
      ...all(/^"reason" must be a text without NUL characters\.$/, { action: 'start', reason: value }),
    ]),
    [ask({ action: 'dance' }), 400, actions],
    [ask({ action: 'stop', job: 'nosuch' }), 400, /^"nosuch" is not a job; valid: packages, .*vouchers\.$/],
    [ask({ action: 'stop', reason: 'x'.repeat(201) }), 400, /^reason has 201 characters; valid: up to 200\.$/],
    [ask(undefined, 'secret', { path: '/more' }), 404, /only \/api/],
    [ask(undefined, 'secret', { method: 'DELETE' }), 405, /GET, POST/],
  ];
  for (const [answer, code, message] of cases) {
    const [status, body] = await answer;
    assert.equal(status, code, JSON.stringify(body));
    assert.match(body.message, message);
    assert.deepEqual(Object.keys(body), ['message']);
  }
}

async function controls(db: TestDatabase, ask: Ask, role: string): Promise<void> {
  assert.deepEqual(await db.query('select from scheduler.controls'), [], 'what was refused has done nothing');
  const status = async () => (await db.one('select scheduler.status() as status')).status;
  const never = await status();
  assert.deepEqual(await ask(), [200, never]);
  assert.deepEqual(await ask(undefined, 'secret', { path: '?x=1' }), [200, never]);
  assert.deepEqual(await ask({ action: 'status' }), [200, never]);
  const off = { isRunning: false, intervalMinutes: 1, nextCheck: null };
  assert.deepEqual(await ask({ action: 'stop', job: 'subscriptions', reason: 'refunds' }), [
    200,
    { message: 'Subscription scheduler stopped', scheduler: off },
  ]);
  assert.deepEqual(await ask({ action: 'stop' }), [200, { message: 'Scheduler stopped', scheduler: off }]);
  const [code, { message, scheduler }] = await ask({ action: 'start', job: 'packages' });
  assert.deepEqual([code, message, scheduler.isRunning], [200, 'packages started', true]);
  assert.match(scheduler.nextCheck, /:00Z$/);
  assert.deepEqual(await db.query('select job, action, reason, by, role from scheduler.controls order by id'), [
    { job: 'subscriptions', action: 'stop', reason: 'refunds', by: 'ann', role },
    { job: null, action: 'stop', reason: 'by the admin page', by: 'ann', role },
    { job: 'packages', action: 'start', reason: null, by: 'ann', role },
  ]);
}

async function activations(db: TestDatabase, ask: Ask): Promise<void> {
  const activated = async () => {
    const answer = ask({ action: 'activate_now' });
    const waits = 'select from scheduler.requests where run_id is null and refused is null';
    await until('the request', async () => (await db.query(waits)).length > 0);
    await db.tick();
    const [code, { message, result, scheduler }] = await answer;
    assert.equal(code, 200);
    assert.deepEqual(scheduler, { isRunning: false, intervalMinutes: 1, nextCheck: null }, 'it stays stopped');
    return { message, result };
  };
  await db.query(`insert into customer_packages (id, "userId", status, "scheduledStartDate", "previousSubscriptionId")
    select id, 'u' || id, 'SCHEDULED', '2026-03-01', nullif(id, ltrim(id, 'x')) from unnest(array['a', 'b', 'c', 'x']) as id`);
  await db.query(`update customer_packages set "previousSubscriptionId" = case id when 'x' then 'x' end`);
  assert.deepEqual(await activated(), {
    message: 'Manually activated 3 subscription(s)',
    result: {
      activated: 3,
      errors: ['Failed to activate subscription x: it names itself as its previous subscription'],
    },
  });
  assert.deepEqual(await activated(), {
    message: 'Manually activated 0 subscription(s)',
    result: { activated: 0, errors: [] },
  });
}

async function withoutDatabase(db: TestDatabase, api: { ask: Ask; said(): string }, role: string): Promise<void> {
  await using other = await application(db);
  await other.query(`alter role ${role} nologin`);
  await other.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = $1`, [role]);
  for (const body of [undefined, { action: 'stop' }, { action: 'activate_now' }])
    assert.deepEqual(await api.ask(body), [
      500,
      { message: 'The scheduler cannot be asked right now. Try again in a minute.' },
    ]);
  assert.match(api.said(), /not permitted to log in/, 'the log has the reason');
  await other.query(`alter role ${role} login`);
  assert.equal((await api.ask())[0], 200);
}
