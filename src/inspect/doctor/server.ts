import { withoutPassword } from '../../base/config.ts';
import { EXIT, OperatorError } from '../../base/errors.ts';
import type { Database } from '../../db/client.ts';
import { type Exam, type Finding, failed, ok, quoteName, type Server, skipped, warning } from './finding.ts';

const OLDEST_VERSION = 140000;

/** On the bare client: the transactions of Database set what only the supported versions know. */
export async function meetServer(db: Database): Promise<Server> {
  const begun = performance.now();
  const client = await db.client();
  const { rows } = await client.query(
    `select current_user::text as role, current_database()::text as database,
       current_setting('server_version_num')::integer as version, current_setting('server_version') as "versionName",
       pg_is_in_recovery() as "inRecovery", current_setting('default_transaction_read_only')::boolean as "readOnly",
       pg_backend_pid() as pid`,
  );
  const milliseconds = performance.now() - begun;
  const { pid, ...server } = rows[0];
  // A pooler makes up the process id that it greets with: it could not know yet which of its connections will serve.
  const { processID } = client as unknown as { processID: number };
  const place = `${client.host}:${client.port}`;
  return { ...server, place, pooled: processID !== pid, milliseconds, ...(await compareClocks(client)) };
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

/** What is said when it cannot be met. */
export function noServer(error: unknown): Finding {
  if (!(error instanceof OperatorError)) throw error;
  return failed('connection', error.message);
}

export const isUnreachable = (error: unknown): boolean =>
  error instanceof OperatorError && error.exitCode === EXIT.unreachable;

export function checkConnection({ server, settings }: Exam): Finding {
  const place = settings.connection.url ? withoutPassword(settings.connection.url).replace(/[?].*/, '') : server.place;
  return ok(
    'connection',
    `${place} answers as ${server.role}, database ${server.database}, after ${server.milliseconds.toFixed(0)} ms`,
  );
}

export function checkVersion({ server }: Exam): Finding {
  return server.version < OLDEST_VERSION
    ? failed('version', `PostgreSQL ${server.versionName} is too old: 14 or later is needed`, [
        '# Upgrade the server (pg_upgrade), or name another one in DATABASE_URL.',
      ])
    : ok('version', `PostgreSQL ${server.versionName}`);
}

/** A tick has to write. */
export async function checkWritable({ db, server }: Exam): Promise<Finding> {
  if (server.inRecovery) return standby(db);
  if (server.readOnly) return readOnly(db, server);
  return ok('writable', 'a primary, and transactions may write');
}

async function standby(db: Database): Promise<Finding> {
  // Null for those who may not see it, and for a server that replays an archive.
  const [source] = await db.query<{ place: string | null }>(
    `select sender_host || ':' || sender_port as place from pg_stat_wal_receiver union all select null limit 1`,
  );
  const primary = source?.place ? `the primary, from which it copies, is ${source.place}` : 'name its primary instead';
  return failed('writable', `this server is a standby, which only reads: ${primary}`, [
    '# Connect to the primary, in DATABASE_URL or wherever the connection is named. Or make this one the primary, once no other is:',
    'select pg_promote();',
  ]);
}

/** Finds who said so, as that is where it has to be unsaid. */
async function readOnly(db: Database, { role, database }: Server): Promise<Finding> {
  const [setting] = await db.query<{ source: string; sourcefile: string | null; sourceline: number | null }>(
    `select source, sourcefile, sourceline from pg_settings where name = 'default_transaction_read_only'`,
  );
  const [who, where] = [quoteName(role), quoteName(database)];
  const remedies: Record<string, string[]> = {
    database: [`alter database ${where} reset default_transaction_read_only;`],
    user: [`alter role ${who} reset default_transaction_read_only;`],
    'database user': [`alter role ${who} in database ${where} reset default_transaction_read_only;`],
    'configuration file': [
      setting?.sourcefile && !setting.sourcefile.endsWith('postgresql.auto.conf')
        ? `# Take it out of ${setting.sourcefile}, line ${setting.sourceline}. Then:`
        : 'alter system reset default_transaction_read_only;',
      'select pg_reload_conf();',
    ],
    client: ['# Take "default_transaction_read_only" out of PGOPTIONS or of the connection URL.'],
  };
  return failed(
    'writable',
    `transactions may only read: default_transaction_read_only is on, set by ${setting?.source ?? 'somebody'}`,
    remedies[setting?.source ?? ''] ?? [
      'alter system reset default_transaction_read_only;',
      'select pg_reload_conf();',
    ],
  );
}

export function checkPooler({ server }: Exam): Finding {
  return server.pooled
    ? ok(
        'pooler',
        'through a pooler such as PgBouncer: everything works, in transaction mode too; only "scheduler listen" ' +
          'and LISTEN are not woken through it ("scheduler listen" looks every 2 s instead): give them a direct connection',
      )
    : ok('pooler', 'none: a direct connection, fit for "scheduler listen" too');
}

// Times in logs and in the database are compared by people, and --at is checked against this machine's clock.
const CLOCK_TOLERANCE_SECONDS = 1;

export function checkClock({ server: { clockAhead, clockError } }: Exam): Finding {
  const apart = `${Math.abs(clockAhead).toFixed(clockError < 0.05 ? 2 : 1)} s`;
  if (clockError > CLOCK_TOLERANCE_SECONDS)
    return skipped('clock', `the database answers too slowly to compare clocks (within ${clockError.toFixed(1)} s)`);
  if (Math.abs(clockAhead) - clockError <= CLOCK_TOLERANCE_SECONDS)
    return ok('clock', `this machine and the database agree within ${apart}`);
  return warning(
    'clock',
    `this machine is ${apart} ${clockAhead > 0 ? 'ahead of' : 'behind'} the database: what is due is judged by the ` +
      "database's clock, the log's times are this machine's",
    ['# On the machine whose clock is wrong:', 'sudo timedatectl set-ntp true && timedatectl status'],
  );
}
