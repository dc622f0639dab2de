import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Nas } from '../../src/jobs/hotspot/radius/client.ts';
import { findPrograms, lastLines, libraryPath } from '../debian/apt.ts';
import type { TestDatabase } from './harness.ts';

// A real FreeRADIUS on free loopback ports, on the tables of a test's own database. It plays both sides: the server
// that logs users in, and the NAS that is asked to disconnect them. Nothing is installed as a service: Debian's packages
// are unpacked into a folder, once.

export interface FreeRadius extends AsyncDisposable {
  /** Answers Disconnect-Requests: ACK when radacct has that session open, else NAK 503. Its row in `nas` was added. */
  nas: Nas;
  login(username: string, password: string): Promise<Login>;
  accounting(kind: 'Start' | 'Interim-Update' | 'Stop', usage: Usage): Promise<void>;
  /** Stops the server, so that NAS and logins go dead; what it logged stays readable. */
  stop(): Promise<void>;
  log(): string;
}

export interface Login {
  accepted: boolean;
  /** The reply's attributes, such as Session-Timeout. */
  attributes: Record<string, string>;
}

export interface Usage {
  username: string;
  sessionId: string;
  framedIp?: string;
  macAddress?: string;
  seconds?: number;
  bytesIn?: number;
  bytesOut?: number;
  cause?: string;
}

const PACKAGES = [
  ...['freeradius', 'freeradius-postgresql', 'freeradius-utils'],
  // They may be installed, yet with a configuration that only root may read.
  ...['freeradius-common', 'freeradius-config', 'libfreeradius3'],
];

const ETC = 'etc/freeradius/3.0';
const QUERIES = `${ETC}/mods-config/sql/main/postgresql/queries.conf`;
const SCHEMA = `${ETC}/mods-config/sql/main/postgresql/schema.sql`;
const COUNTER = `${ETC}/mods-config/sql/counter/postgresql/noresetcounter.conf`;
const NEEDED = [
  'usr/sbin/freeradius',
  'usr/bin/radclient',
  'usr/lib/freeradius/rlm_sql_postgresql.so',
  'usr/share/freeradius/dictionary',
  `${ETC}/policy.d/accounting`,
  QUERIES,
  SCHEMA,
  COUNTER,
];

const PATIENCE_MS = 15_000;

// A port that was free a moment ago may be taken.
const ATTEMPTS = 3;

// ── The server

export async function startFreeRadius(db: TestDatabase): Promise<FreeRadius> {
  const root = await findPrograms({ name: 'freeradius', packages: PACKAGES, needed: NEEDED });
  const { stock } = await db.one<{ stock: boolean }>(`select to_regclass('radacct') is not null as stock`);
  if (!stock) await db.query(readFileSync(join(root, SCHEMA), 'utf8'));

  const secret = randomBytes(12).toString('hex');
  await db.query(`delete from nas where nasname = '127.0.0.1'`);
  await db.insert('nas', { nasname: '127.0.0.1', shortname: 'test', secret });

  const folder = await mkdtemp(join(tmpdir(), 'sch-radius-'));
  for (let attempt = 1; ; attempt++) {
    const [auth, acct, coa] = (await freePorts(3)) as [number, number, number];
    await writeFile(join(folder, 'radiusd.conf'), configuration(root, folder, db.tcpUrl, { auth, acct, coa }));
    const server = run(root, 'usr/sbin/freeradius', ['-f', '-l', 'stdout', '-x', '-d', folder, '-n', 'radiusd']);
    if (await isReady(server)) return control(root, folder, server, secret, { auth, acct, coa });
    if (attempt < ATTEMPTS && /bind|in use/i.test(server.output())) continue;
    await rm(folder, { recursive: true, force: true });
    throw new Error(`FreeRADIUS does not start: ${lastLines(server.output())}`);
  }
}

interface Ports {
  auth: number;
  acct: number;
  coa: number;
}

function control(root: string, folder: string, server: Running, secret: string, ports: Ports): FreeRadius {
  const ask = (port: number, kind: string, attributes: Record<string, string | number | undefined>) =>
    radclient(root, `127.0.0.1:${port}`, kind, secret, attributes);
  const stop = async () => {
    server.child.kill('SIGTERM');
    await server.ended;
  };
  return {
    nas: { host: '127.0.0.1', port: ports.coa, secret },
    async login(username, password) {
      const output = await ask(ports.auth, 'auth', {
        'User-Name': username,
        'User-Password': password,
        'NAS-IP-Address': '127.0.0.1',
        'NAS-Port': 1,
      });
      return { accepted: output.includes('Received Access-Accept'), attributes: attributesOf(output) };
    },
    async accounting(kind, { username, sessionId, framedIp, macAddress, seconds, bytesIn, bytesOut, cause }) {
      const output = await ask(ports.acct, 'acct', {
        'User-Name': username,
        'Acct-Status-Type': kind,
        'Acct-Session-Id': sessionId,
        'NAS-IP-Address': '127.0.0.1',
        'NAS-Port': 1,
        'Framed-IP-Address': framedIp,
        'Calling-Station-Id': macAddress,
        'Acct-Session-Time': seconds,
        ...octets('Input', bytesIn),
        ...octets('Output', bytesOut),
        'Acct-Terminate-Cause': cause,
      });
      if (!output.includes('Received Accounting-Response')) {
        throw new Error(`FreeRADIUS did not take the accounting record: ${lastLines(output)}`);
      }
    },
    stop,
    log: server.output,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A counter is 32 bits wide on the wire; its overflows travel beside it. */
const octets = (direction: 'Input' | 'Output', bytes: number | undefined) =>
  bytes === undefined
    ? {}
    : {
        [`Acct-${direction}-Octets`]: bytes % 2 ** 32,
        [`Acct-${direction}-Gigawords`]: Math.floor(bytes / 2 ** 32),
      };

async function isReady(server: Running): Promise<boolean> {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    if (server.output().includes('Ready to process requests')) return true;
    if (server.child.exitCode !== null || server.child.signalCode !== null) return false;
    await sleep(20);
  }
  server.child.kill('SIGKILL');
  return false;
}

function configuration(root: string, folder: string, url: string, { auth, acct, coa }: Ports): string {
  const { hostname, port, username, password, pathname } = new URL(url);
  const quoted = (text: string) => `"${decodeURIComponent(text).replace(/["\\]/g, '\\$&')}"`;
  const listen = (type: string, at: number) => `
  listen {
    type = ${type}
    ipaddr = 127.0.0.1
    port = ${at}
  }`;
  return `
name = freeradius
libdir = ${join(root, 'usr/lib/freeradius')}
confdir = ${join(root, ETC)}
modconfdir = \${confdir}/mods-config
raddbdir = ${folder}
logdir = ${folder}
run_dir = ${folder}
db_dir = ${folder}
cleanup_delay = 1
hostname_lookups = no
log {
  auth = yes
}
security {
  reject_delay = 0
  allow_vulnerable_openssl = yes
}
thread pool {
  start_servers = 2
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 3
}
modules {
  expr {
  }
  pap {
  }
  expiration {
  }
  always ok {
    rcode = ok
  }
  always reject {
    rcode = reject
  }
  sql {
    driver = "rlm_sql_postgresql"
    dialect = "postgresql"
    server = ${quoted(hostname)}
    port = ${port}
    login = ${quoted(username)}
    password = ${quoted(password)}
    radius_db = ${quoted(pathname.slice(1))}
    acct_table1 = "radacct"
    acct_table2 = "radacct"
    postauth_table = "radpostauth"
    authcheck_table = "radcheck"
    authreply_table = "radreply"
    groupcheck_table = "radgroupcheck"
    groupreply_table = "radgroupreply"
    usergroup_table = "radusergroup"
    client_table = "nas"
    read_clients = yes
    delete_stale_sessions = yes
    group_attribute = "SQL-Group"
    pool {
      start = 1
      min = 1
      max = 4
      spare = 1
      retry_delay = 1
    }
    $INCLUDE ${join(root, QUERIES)}
  }
  sqlcounter total_time {
    sql_module_instance = sql
    dialect = postgresql
    counter_name = Max-All-Session-Time
    check_name = Max-All-Session
    key = User-Name
    reset = never
    $INCLUDE ${join(root, COUNTER)}
  }
}
instantiate {
  expr
}
policy {
  $INCLUDE ${join(root, ETC, 'policy.d/accounting')}
}
server logins {${listen('auth', auth)}${listen('acct', acct)}
  authorize {
    sql
    total_time
    expiration
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
  }
  preacct {
    acct_unique
  }
  accounting {
    sql
  }
  session {
    sql
  }
  post-auth {
    sql
    Post-Auth-Type REJECT {
      sql
    }
  }
}
server nas {${listen('coa', coa)}
  recv-coa {
    update reply {
      &Message-Authenticator := 0x00
    }
    if ("%{sql:select count(*) from radacct where acctsessionid = '%{Acct-Session-Id}' and username = '%{User-Name}' and acctstoptime is null}" != "0") {
      ok
    }
    else {
      update reply {
        &Error-Cause := Session-Context-Not-Found
      }
      reject
    }
  }
}
`;
}

async function freePorts(count: number): Promise<number[]> {
  const sockets = Array.from({ length: count }, () => createSocket('udp4'));
  await Promise.all(sockets.map((each) => new Promise<void>((done) => each.bind(0, '127.0.0.1', done))));
  const ports = sockets.map((each) => each.address().port);
  await Promise.all(sockets.map((each) => new Promise<void>((done) => each.close(done))));
  return ports;
}

// ── The client

async function radclient(
  root: string,
  to: string,
  kind: string,
  secret: string,
  attributes: Record<string, string | number | undefined>,
): Promise<string> {
  const client = run(root, 'usr/bin/radclient', ['-x', '-r', '2', '-t', '3', to, kind, secret]);
  const lines = Object.entries(attributes).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} = "${String(value).replace(/["\\]/g, '\\$&')}"`],
  );
  client.child.stdin!.end(`${lines.join('\n')}\n`);
  await client.ended;
  return client.output();
}

function attributesOf(output: string): Record<string, string> {
  const answer = output.slice(Math.max(0, output.indexOf('Received ')));
  return Object.fromEntries(
    [...answer.matchAll(/^\t([\w-]+) = (.*)$/gm)].map(([, name, value]) => [name, value!.replace(/^"(.*)"$/, '$1')]),
  );
}

// ── The programs

interface Running {
  child: ChildProcess;
  ended: Promise<void>;
  output(): string;
}

function run(root: string, program: string, args: string[]): Running {
  const child = spawn(join(root, program), ['-D', join(root, 'usr/share/freeradius'), ...args], {
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', LD_LIBRARY_PATH: libraryPath(root, 'freeradius') },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  child.stdin.on('error', () => {}); // a program that failed reads no more; its output says so
  const orphaned = () => child.kill('SIGKILL');
  process.once('exit', orphaned);
  const ended = new Promise<void>((done) => {
    child.on('error', (error) => {
      output += error.message;
      done();
    });
    child.on('close', () => {
      process.off('exit', orphaned);
      done();
    });
  });
  return { child, ended, output: () => output };
}
