import pg from 'pg';
import type { Settings } from '../base/config.ts';
import { keepAndPin, OURS, pathOf } from './search-path.ts';

// Bounds on every transaction, so that one stuck statement cannot hold rows or the run.
const STATEMENT_TIMEOUT = '60s'; // the largest batch allowed takes a few seconds
export const LOCK_TIMEOUT = '2s'; // claims skip locked rows; only a wallet or a credit shared with the application is waited for
const IDLE_TIMEOUT = '60s'; // a runner that hangs between two statements lets go of its rows
const WORK_MEMORY = '32MB'; // a batch of the largest size and its events, so that none of it goes to temporary files
const CLIENT_CHECK = '500ms'; // a backend whose client was killed notices inside a statement

/**
 * How long a run may wait for locks of others in all. With a hundred tenants, each of which has a locked row, there is no time for more
 * than a glance at the last of them.
 */
export class Patience {
  #leftMs: number;

  constructor(ms: number) {
    this.#leftMs = ms;
  }

  get isOver(): boolean {
    return this.#leftMs <= 0;
  }

  /** As long as a wait may be, of the time that is left. */
  bound(most: string): string {
    const ms = Number.parseFloat(most) * (most.endsWith('ms') ? 1 : 1000);
    return `${Math.max(GLANCE_MS, Math.min(ms, this.#leftMs))}ms`;
  }

  spend(ms: number): void {
    this.#leftMs -= ms;
  }
}

const GLANCE_MS = 5;

export interface TransactionOptions {
  idleTimeout?: string;
  /** All its statements read the same state of the database, and none of them writes. */
  snapshot?: boolean;
  /** For what may take hours, such as building an index. */
  unbounded?: boolean;
  attempts?: number;
  /** A row that somebody else holds for longer than one wait is a passing fault, too: the next attempt waits again. */
  patient?: boolean;
  /**
   * Take rows from indexes, in their order. Left to statistics from before a large import or a long pause, PostgreSQL may
   * collect and sort all that is due for every batch of it. And as a batch is small and its rows were read a moment ago,
   * looking them up costs less than the planner's disks suggest: it would rather scan a middling table whole. A cache of what
   * was looked up is of no use to it, as nearly every key is another one.
   */
  inIndexOrder?: boolean;
  /** Its SQL is that of an application, whose tables are found by their bare names. */
  asApplication?: boolean;
}

// The settings of a role, a database or a session must not decide what a row means.
const MEANINGS = {
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  timezone_abbreviations: 'Default',
  extra_float_digits: '1',
  bytea_output: 'hex',
  standard_conforming_strings: 'on',
  transform_null_equals: 'off',
  array_nulls: 'on',
  quote_all_identifiers: 'off',
};

function setAll(settings: Record<string, string>, isLocal: boolean): string {
  const rows = Object.entries(settings).map(([name, value]) => `('${name}', ${pg.escapeLiteral(value)})`);
  return `select pg_catalog.count(pg_catalog.set_config(name, value, ${isLocal})) from (values ${rows.join(', ')}) as s (name, value)`;
}

/** For what is no part of a transaction. "reset all" undoes it. */
export const PIN_SESSION = setAll({ ...MEANINGS, search_path: OURS }, false);

/** The start of a transaction with its bounds, in one message: each one saved is felt by whoever has nothing to do. */
export function begin(
  { dbTimezone }: Settings,
  tenant: string | undefined,
  patience: Patience | undefined,
  options: TransactionOptions,
): string {
  const settings = {
    ...MEANINGS,
    TimeZone: dbTimezone,
    statement_timeout: options.unbounded ? '0' : STATEMENT_TIMEOUT,
    lock_timeout: patience?.bound(LOCK_TIMEOUT) ?? LOCK_TIMEOUT,
    idle_in_transaction_session_timeout: options.idleTimeout ?? IDLE_TIMEOUT,
    client_connection_check_interval: CLIENT_CHECK,
    jit: 'off',
    ...(options.inIndexOrder && {
      enable_seqscan: 'off',
      enable_bitmapscan: 'off',
      enable_memoize: 'off',
      random_page_cost: '0.1',
      seq_page_cost: '0.1',
      work_mem: WORK_MEMORY,
    }),
    row_security: 'off', // hidden rows are an error, and not an empty pass
  };
  const asTenant = tenant === undefined ? '' : `; select pg_catalog.set_config('search_path', ${pathOf(tenant)}, true)`;
  const path = options.asApplication ? asTenant : `; ${keepAndPin(tenant)}`;
  // Never the role's default: what others committed meanwhile must be seen, and nothing is to fail for having been changed.
  const level = options.snapshot ? 'repeatable read, read only' : 'read committed';
  return `begin isolation level ${level}; ${setAll(settings, true)}${path}`;
}
