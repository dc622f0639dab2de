import { withoutPassword } from '../../base/connection.ts';
import type { Database } from '../../db/client.ts';
import { type Exam, failed, ok, quoteName, type Result, type Server, skipped, warning } from './finding.ts';

const OLDEST_VERSION = 140000;

/** On the bare client: the transactions of Database set what only the supported versions know. */
export async function meetServer(db: Database): Promise<Server> {
  const begun = performance.now();
  const client = await db.client();
  const { rows } = await client.query(
    `select current_user::text as role, current_database()::text as database,
       current_setting('server_version_num')::integer as version, current_setting('server_version') as "versionName",
       pg_is_in_recovery() as "inRecovery", current_setting('default_transaction_read_only')::boolean as "readOnly",
       pg_backend_pid() as pid, pg_get_userbyid(coalesce(n.nspowner, d.datdba)) as owner,
       coalesce(pg_get_userbyid(n.nspowner) = current_user, has_database_privilege(d.oid, 'create')) as "mayMigrate"
     from pg_database d left join pg_namespace n on n.nspname = 'scheduler' where d.datname = current_database()`,
  );
  const milliseconds = performance.now() - begun;
  const { pid, ...server } = rows[0];
  // A pooler makes up the process id that it greets with: it could not know yet which of its connections will serve.
  const { processID } = client as unknown as { processID: number };
  const place = `${client.host}:${client.port}`;
  const host = client.host.startsWith('/') ? encodeURIComponent(client.host) : client.host;
  const address = `${host.includes(':') ? `[${host}]` : host}:${client.port}`;
  const isReadable = !('encrypted' in client.connection.stream) && !/^(\/|127\.|::1$|localhost$)/.test(client.host);
  return {
    ...server,
    place,
    address,
    isReadable,
    pooled: processID !== pid,
    milliseconds,
    ...(await compareClocks(client)),
  };
}

type Client = Awaited<ReturnType<Database['client']>>;

const SAMPLES = 5;

/** The quickest of some round trips tells most: the database read its clock somewhere within it. */
async function compareClocks(client: Client): Promise<Pick<Server, 'clockAhead' | 'clockError'>> {
  const samples: { clockAhead: number; clockError: number }[] = [];
  for (let n = 0; n < SAMPLES; n++) {
    const [from, begun] = [Date.now(), performance.now()];
    const { rows } = await client.query('select extract(epoch from clock_timestamp())::double precision as at');
    const half = (performance.now() - begun) / 2000;
    samples.push({ clockAhead: from / 1000 + half - rows[0].at, clockError: half });
  }
  return samples.sort((a, b) => a.clockError - b.clockError)[0]!;
}

export function checkConnection({ server, settings }: Exam): Result {
  const place = settings.connection.url ? withoutPassword(settings.connection.url).replace(/[?].*/, '') : server.place;
  const { role, database, milliseconds } = server;
  const message = `${place} answers as ${role}, database ${database}, after ${milliseconds.toFixed(0)} ms`;
  if (!server.isReadable) return ok(message);
  return warning(`${message}. The connection is in plain text: everybody on the way can read it`, [
    '# Let the server offer TLS (ssl = on), and add to the URL:',
    '#   ?sslmode=verify-full&sslrootcert=/path/to/ca.pem',
  ]);
}

export function checkVersion({ server }: Exam): Result {
  return server.version < OLDEST_VERSION
    ? failed(`PostgreSQL ${server.versionName} is too old: 14 or later is needed`, [
        '# Upgrade the server (pg_upgrade), or name another one in DATABASE_URL.',
      ])
    : ok(`PostgreSQL ${server.versionName}`);
}

/** A tick has to write. */
export async function checkWritable({ db, server }: Exam): Promise<Result> {
  if (server.inRecovery) return standby(db);
  if (server.readOnly) return readOnly(db, server);
  return ok('a primary, and transactions may write');
}

async function standby(db: Database): Promise<Result> {
  // Null for those who may not see it, and for a server that replays an archive.
  const [source] = await db.query<{ place: string | null }>(
    `select sender_host || ':' || sender_port as place from pg_stat_wal_receiver union all select null limit 1`,
  );
  const primary = source?.place ? `the primary, from which it copies, is ${source.place}` : 'name its primary instead';
  return failed(`this server is a standby, which only reads: ${primary}`, [
    '# Connect to the primary, in DATABASE_URL or wherever the connection is named. Or make this one the primary, once no other is:',
    'select pg_promote();',
  ]);
}

/** Finds who said so, as that is where it has to be unsaid. */
async function readOnly(db: Database, { role, database, pooled }: Server): Promise<Result> {
  const [setting] = await db.query<{ source: string; sourcefile: string | null; sourceline: number | null }>(
    `select source, sourcefile, sourceline from pg_settings where name = 'default_transaction_read_only'`,
  );
  const [who, where] = [quoteName(role), quoteName(database)];
  const reset = 'reset default_transaction_read_only;';
  const { source = 'somebody', sourcefile, sourceline } = setting ?? {};
  const ofServer = ['-- As a superuser:', `alter system ${reset}`, 'select pg_reload_conf();'];
  const ofFile = [`# Take it out of ${sourcefile}, line ${sourceline}. Then:`, 'select pg_reload_conf();'];
  // The default holds for the session, too, that takes it back.
  const change = (sql: string) => ['begin read write;', `${sql} ${reset}`, 'commit;'];
  const remedies: Record<string, string[]> = {
    database: ['-- As the owner of the database:', ...change(`alter database ${where}`)],
    user: change(`alter role ${who}`),
    'database user': change(`alter role ${who} in database ${where}`),
    'configuration file': sourcefile && !sourcefile.endsWith('postgresql.auto.conf') ? ofFile : ofServer,
    client: ['# Take "default_transaction_read_only" out of PGOPTIONS or of the connection URL.'],
  };
  return failed(`transactions may only read: default_transaction_read_only is on, set by ${source}`, [
    ...(remedies[source] ?? ofServer),
    ...(pooled ? ['# Then have the pooler connect anew: "reconnect" on its console.'] : []),
  ]);
}

export function checkPooler({ server }: Exam): Result {
  if (!server.pooled) return ok('none: a direct connection, fit for "scheduler listen" too');
  return ok(
    'through a pooler such as PgBouncer: everything works, in transaction mode too; only "scheduler listen" ' +
      'and LISTEN are not woken through it ("scheduler listen" looks every 2 s instead): give them a direct connection',
  );
}

// Times in logs and in the database are compared by people, and --at is checked against this machine's clock.
const CLOCK_TOLERANCE_SECONDS = 1;

export function checkClock({ server: { clockAhead, clockError } }: Exam): Result {
  const apart = `${Math.abs(clockAhead).toFixed(clockError < 0.05 ? 2 : 1)} s`;
  if (clockError > CLOCK_TOLERANCE_SECONDS)
    return skipped(`the database answers too slowly to compare clocks (within ${clockError.toFixed(1)} s)`);
  if (Math.abs(clockAhead) - clockError <= CLOCK_TOLERANCE_SECONDS)
    return ok(`this machine and the database agree within ${apart}`);
  return warning(
    `this machine is ${apart} ${clockAhead > 0 ? 'ahead of' : 'behind'} the database: what is due is judged by the ` +
      "database's clock, the log's times are this machine's",
    ['# On the machine whose clock is wrong:', 'sudo timedatectl set-ntp true && timedatectl status'],
  );
}
