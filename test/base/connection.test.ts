import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConnection } from '../../src/base/connection.ts';
import { cli, database } from '../support/harness.ts';
import { CERTIFICATE, tlsOnly } from '../support/tls.ts';

const read = (env: Record<string, string>, url?: string) => {
  const faults: string[] = [];
  return { ...readConnection(env, url, faults), faults };
};
const URL_OF_ALL = 'postgresql://u:p@h:1/d';

// From the list of PostgreSQL 18's documentation.
const VARIABLES =
  `HOST HOSTADDR PORT DATABASE USER SERVICE OPTIONS SSLMODE REQUIRESSL SSLNEGOTIATION SSLCERT SSLKEY SSLCERTMODE SSLROOTCERT
  SSLCRL SSLCRLDIR SSLSNI REQUIREPEER SSLMINPROTOCOLVERSION SSLMAXPROTOCOLVERSION MINPROTOCOLVERSION MAXPROTOCOLVERSION
  GSSENCMODE CLIENTENCODING TARGETSESSIONATTRS CHANNELBINDING REQUIREAUTH`.split(/\s+/);
const OPTIONS =
  `host hostaddr port dbname user password passfile require_auth channel_binding client_encoding options replication gssencmode
  sslmode requiressl sslnegotiation sslcert sslkey sslkeylogfile sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni
  requirepeer ssl_min_protocol_version ssl_max_protocol_version min_protocol_version max_protocol_version service servicefile
  target_session_attrs scram_client_key scram_server_key oauth_issuer oauth_client_id oauth_client_secret oauth_scope`.split(
    /\s+/,
  );

test('each variable and each option of libpq is heeded or refused, and never passed over', () => {
  const before = JSON.stringify(read({}, 'postgresql://'));
  for (const name of VARIABLES) {
    const after = read({ [`PG${name}`]: 'a,b' }, 'postgresql://');
    assert.notEqual(JSON.stringify(after), before, name);
    for (const fault of after.faults) assert.match(fault, /is "a,b"[;,] .+\.$/);
  }
  for (const name of OPTIONS) {
    const after = read({}, `postgresql://?${name}=a,b`);
    assert.notEqual(JSON.stringify({ ...after, url: 'postgresql://' }), before, name);
    for (const fault of after.faults) assert.match(fault, /^"?\w+"? .+\.$/);
  }
  assert.deepEqual(read({}, `${URL_OF_ALL}?sslmod=require`).faults, [
    '"sslmod" in the URL is not heeded here: take it out, or check how it is spelt.',
  ]);
  for (const port of ['abc', '65536', '0'])
    assert.deepEqual(read({ PGPORT: port }).faults, [`PGPORT is "${port}"; valid: one port, such as 5432.`]);
});

test('an option goes before the part of a URL, and both before a variable', () => {
  const env = { PGHOST: 'e', PGPORT: '3', PGDATABASE: 'e', PGUSER: 'e', PGOPTIONS: '-c a=b' };
  const of = (url: string) => read(env, url).client as Record<string, unknown>;
  assert.deepEqual(of('postgresql://'), { host: 'e', port: 3, database: 'e', user: 'e', options: '-c a=b' });
  const all = { ...of('postgresql://'), host: 'h', port: 1, database: 'd', user: 'u', password: 'p' };
  assert.deepEqual(of(URL_OF_ALL), all);
  assert.deepEqual(of(`${URL_OF_ALL}?dbname=x&host=y&port=2&user=z`), {
    ...{ ...all, host: 'y', port: 2, database: 'x', user: 'z' },
  });
  assert.equal(read({}, `${URL_OF_ALL}?schema=app&pgbouncer=true&connection_limit=1&keepalives=1`).schema, 'app');
});

test('without PGUSER and USER, as under cron, the user is the one of the system', async () => {
  await using db = await database();
  const { hostname, port } = new URL(db.url);
  const env = { PGHOST: decodeURIComponent(hostname), PGPORT: port, PGDATABASE: db.name };
  const { code, err } = await cli(['status'], { env: { ...env, LOGNAME: 'postgres' } });
  assert.deepEqual([code, err], [0, '']);
  const nobody = await cli(['status'], { env: { ...env, LOGNAME: '' } });
  const { username } = userInfo();
  if (username !== 'postgres') assert.match(nobody.err, new RegExp(`role "${username}" does not exist`));
  assert.doesNotMatch(nobody.err, /no PostgreSQL user name|undefined/);
});

test('sslmode means what libpq means by it, in a URL and in a variable', async () => {
  await using db = await database();
  await using tls = await tlsOnly(db.tcpUrl);
  const folder = mkdtempSync(join(tmpdir(), 'tls-'));
  const ca = join(folder, 'ca.pem');
  writeFileSync(ca, CERTIFICATE);
  const NO = [78, 69];
  try {
    for (const [url, settings, expected, asked] of [
      [db.tcpUrl, { sslmode: 'prefer' }, 0],
      [db.tcpUrl, { sslmode: 'allow' }, 0],
      [db.tcpUrl, { sslmode: 'require' }, NO],
      [tls.url, {}, NO, ['plain']],
      [tls.url, { sslmode: 'disable' }, NO, ['plain']],
      [tls.url, { sslmode: 'allow' }, 0, ['plain', 'TLS']],
      [tls.url, { sslmode: 'prefer' }, 0, ['TLS']],
      [tls.url, { sslmode: 'require' }, 0, ['TLS']],
      [tls.url, { sslmode: 'verify-ca', sslrootcert: ca }, 0, ['TLS']],
      [tls.url, { sslmode: 'verify-full', sslrootcert: ca }, NO, ['TLS']],
      [tls.url, { sslmode: 'verify-full' }, NO, ['TLS']],
      [db.url, { sslmode: 'require' }, 0],
    ] as const) {
      for (const way of ['URL', 'variable']) {
        tls.asked.length = 0;
        const options = Object.entries(settings as Record<string, string>);
        const query = options.map(([name, value]) => `&${name}=${encodeURIComponent(value)}`).join('');
        const env = Object.fromEntries(options.map(([name, value]) => [`PG${name.toUpperCase()}`, value]));
        const given = url.replace(/[?].*/, way === 'URL' ? `?${query}` : '');
        const { code, err } = await cli(['status', '--database-url', given], way === 'URL' ? {} : { env });
        const what = `${way} ${JSON.stringify(settings)} ${err}`;
        if (expected === 0) assert.deepEqual([code, err], [0, ''], what);
        else assert.ok(NO.includes(code!), what);
        if (asked) assert.deepEqual([...new Set(tls.asked)], asked, what);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
