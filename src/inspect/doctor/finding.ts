import type { Settings } from '../../base/config.ts';
import { withoutPassword } from '../../base/connection.ts';
import type { Database } from '../../db/client.ts';
import type { Job } from '../../job/define.ts';

/** What one check found. */
export interface Result {
  /** A warning does not fail; what was skipped could not be looked at because of another failure. */
  outcome: 'ok' | 'warning' | 'failed' | 'skipped';
  message: string;
  /** What mends it: commands and SQL to be copied as they are; a line that starts with "#" or "--" explains. */
  remedy?: string[];
}

export interface Finding extends Result {
  check: string;
}

/** The server and the way to it. */
export interface Server {
  place: string;
  /** The same in a URL. */
  address: string;
  /** Unencrypted, and to another machine. */
  isReadable: boolean;
  role: string;
  database: string;
  /** The role that owns the schema "scheduler", or that may make it. */
  owner: string;
  /** This connection has that role. */
  mayMigrate: boolean;
  version: number;
  versionName: string;
  inRecovery: boolean;
  readOnly: boolean;
  /** Between this program and the server, as PgBouncer is. */
  pooled: boolean;
  milliseconds: number;
  /** How far this machine's clock is ahead of the database's, and by how much that may be wrong. */
  clockAhead: number;
  clockError: number;
}

/** What the checks look at. */
export interface Exam {
  db: Database;
  settings: Settings;
  jobs: Job[];
  server: Server;
  /** This program, as a shell would call it with the same settings. */
  program: Program;
}

export interface Program {
  /** A command with the options of this one: scheduler migrate --env-file /etc/scheduler.env. A URL makes it one of another role. */
  command(name: string, url?: string): string;
  /** As cron has to, which has nearly no PATH. */
  crontab: string;
}

const result =
  (outcome: Result['outcome']) =>
  (message: string, remedy?: string[]): Result => ({ outcome, message, ...(remedy && { remedy }) });
export const ok = result('ok');
export const warning = result('warning');
export const failed = result('failed');
export const skipped = result('skipped');

/** "scheduler migrate", by the role that may; with the name of a job it makes tables, too. */
export function migrate({ program, server, settings }: Exam, create?: string): string[] {
  const { owner, address, database, mayMigrate } = server;
  const command = create === undefined ? 'migrate' : `migrate --create ${create}`;
  if (mayMigrate) return [program.command(command)];
  const options = /[?].*/.exec(withoutPassword(settings.connection.url ?? ''))?.[0] ?? '';
  const url = `postgresql://${encodeURIComponent(owner)}@${address}/${encodeURIComponent(database)}${options}`;
  return [`# As ${owner}, whose password is in PGPASSWORD or .pgpass:`, program.command(command, url)];
}

/** A name as SQL reads it, for what an operator copies. */
export const quoteName = (name: string): string =>
  /^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
