import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { cli, database } from '../support/harness.ts';

/** The server at the other end may be somebody else's. */

const message = (type: string, ...numbers: number[]) => {
  const body = Buffer.concat(numbers.map((number) => Buffer.from(Uint32Array.of(number).buffer).reverse()));
  return Buffer.concat([Buffer.from(type), Buffer.from(Uint32Array.of(body.length + 4).buffer).reverse(), body]);
};
const ASKS: Record<string, Buffer> = {
  'the password in clear text': message('R', 3),
  'the password as MD5': message('R', 5, 1),
  nothing: Buffer.concat([message('R', 0), Buffer.from([0x5a, 0, 0, 0, 5, 0x49])]),
};

/** Speaks as little of PostgreSQL's protocol as it takes to be told a password. */
async function impostor(ask: Buffer): Promise<Disposable & { url: string; told: () => string }> {
  let told = '';
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(ask);
      socket.on('data', (chunk) => {
        told += chunk.toString('latin1');
      });
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `postgresql://app:hunter2@127.0.0.1:${port}/app`,
    told: () => told,
    [Symbol.dispose]: () => void server.close(),
  };
}

for (const [what, ask] of Object.entries(ASKS)) {
  test(`a server that asks for ${what} is told nothing where the settings demand a proof`, async () => {
    using server = await impostor(ask);
    for (const [option, env] of [
      ['?channel_binding=require', {}],
      ['?require_auth=scram-sha-256', {}],
      ['', { PGCHANNELBINDING: 'require' }],
    ] as const) {
      const { code, err } = await cli(['status', '--database-url', `${server.url}${option}`], { env });
      assert.equal(code, 78, err);
      assert.match(err, /and the settings demand SCRAM/);
      assert.equal(server.told(), '');
    }
  });
}

test('a server that only asks is told the password, so that the tests above can fail', async () => {
  using server = await impostor(ASKS['the password in clear text']!);
  const run = cli(['status', '--database-url', server.url], { timeoutMs: 3000 });
  await run.catch(() => {});
  assert.match(server.told(), /hunter2/);
});

test('SCRAM is demanded of a real server, which proves itself', async () => {
  await using db = await database();
  const { code, err } = await db.cli(['status', '--database-url', `${db.tcpUrl}&require_auth=scram-sha-256`]);
  assert.deepEqual([code, err], [0, '']);
  const bound = await db.cli(['status', '--database-url', `${db.tcpUrl}&channel_binding=require`]);
  assert.equal(bound.code, 78);
  assert.match(bound.err, /it offers no channel binding/);
});

test('an option of libpq that would be passed over is refused with what to write instead', async () => {
  await using db = await database();
  for (const [option, env, sentence] of [
    [
      '&hostaddr=10.0.0.1',
      {},
      /"hostaddr" in the URL is "10\.0\.0\.1", which cannot be heeded here: put the address into the host/,
    ],
    ['&target_session_attrs=read-write', {}, /name the primary as the host/],
    ['', { PGSERVICE: 'main' }, /PGSERVICE is "main", which cannot be heeded here/],
    ['', { PGHOSTADDR: '10.0.0.1' }, /PGHOSTADDR is/],
    ['&require_auth=md5', {}, /valid: scram-sha-256/],
  ] as const) {
    const { code, err } = await db.cli(['status', '--database-url', `${db.url}${option}`], { env });
    assert.equal(code, 78, err);
    assert.match(err, sentence);
  }
  const harmless = `${db.url}&target_session_attrs=any&channel_binding=prefer`;
  assert.equal((await db.cli(['status', '--database-url', harmless])).code, 0);
});

test('doctor warns of plain text on the way to another machine, and not to this one', async () => {
  await using db = await database();
  const look = async (url: string) => (await db.cli(['doctor', '--database-url', url])).out;
  assert.match(await look(db.tcpUrl), /^ok +connection/m);
  // Linux takes this address for this machine; by its name it is none.
  const elsewhere = await look(db.tcpUrl.replace('127.0.0.1', '0.0.0.0'));
  assert.match(elsewhere, /^warning +connection .*in plain text: everybody on the way can read it/m);
});
