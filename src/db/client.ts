import type { Socket } from 'node:net';
import pg from 'pg';
import type { Settings } from '../base/config.ts';
import { withoutPassword } from '../base/connection.ts';
import { EXIT, OperatorError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { bind, type Values } from './bind.ts';
import { begin, type Patience, type TransactionOptions } from './bounds.ts';
import { insistOn } from './demands.ts';
import { opens, PIN } from './search-path.ts';
import { blamesRow, CONNECTION_FAULTS, ConnectionLost, isTransient, ROW_HELD, sqlState } from './states.ts';

export type Row = Record<string, unknown>;

/** The calls that a piece of work has inside its transaction. */
export interface Transaction {
  query<T extends object = Row>(sql: string, values?: Values): Promise<T[]>;
  /**
   * Runs the work in a part of the transaction, and answers the error if a row of it was to blame: then that part is undone
   * and the transaction lives on.
   */
  attempt(work: () => Promise<void>): Promise<unknown>;
}

// So long a server that is there never keeps silent. A connection may look open for hours after the other end has gone.
const SILENCE_MS = 65_000;
const ROLLBACK_MS = 5_000; // undoing is quick; and a connection that ends is undone, too
const FOR_EVER_MS = 2 ** 31 - 1;

// How long a connection may be quiet before the other end is asked whether it is still there.
const KEEP_ALIVE_MS = 10_000;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * One connection, opened when first needed and again when lost. Every statement runs in a transaction with its own
 * bounds: a pooler in transaction mode gives no other place to set them, and refuses them as startup parameters.
 */
export class Database {
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #name: string;
  /** The schema of one tenant, in which its tables are looked for; undefined: the search path leads to them. */
  tenant: string | undefined;
  patience: Patience | undefined;
  #client: pg.Client | undefined;
  #broken = false;
  #rehearsal: Transaction | undefined;

  constructor(settings: Settings, log: Log, name = 'scheduler') {
    this.#settings = settings;
    this.#log = log;
    this.#name = name;
    this.tenant = settings.connection.schema;
  }

  another(name: string): Database {
    const other = new Database(this.#settings, this.#log, name);
    other.tenant = this.tenant;
    other.patience = this.patience;
    return other;
  }

  /** Does the work for this tenant. */
  async as<T>(tenant: string | undefined, work: () => Promise<T>): Promise<T> {
    const before = this.tenant;
    this.tenant = tenant;
    try {
      return await work();
    } finally {
      this.tenant = before;
    }
  }

  /** Runs the work in a transaction, up to three times when the fault is a passing one. */
  async transaction<T>(work: (tx: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    if (this.#rehearsal) return rehearsed(this.#rehearsal, work);
    const attempts = options.attempts ?? 3;
    for (let attempt = 1; ; attempt++) {
      const began = performance.now();
      try {
        return await this.#once(work, options);
      } catch (error) {
        const isHeld = sqlState(error) === ROW_HELD;
        if (isHeld) this.patience?.spend(performance.now() - began);
        const passing = isTransient(error) || (options.patient && isHeld && !this.patience?.isOver);
        if (!passing || attempt >= attempts) throw error instanceof ConnectionLost ? lost(error) : error;
        this.#log.warn(
          `The database interrupted the work (${(error as Error).message}); attempt ${attempt + 1} of ${attempts} follows`,
        );
        await pause(100 * 4 ** (attempt - 1));
      }
    }
  }

  query<T extends object = Row>(sql: string, values: Values = {}): Promise<T[]> {
    return this.transaction((tx) => tx.query<T>(sql, values));
  }

  /** Everything inside happens in one transaction that is rolled back at the end. */
  async rehearse<T>(work: () => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const undone = new Error('rolled back, as a dry run is');
    let result: { value: T } | undefined;
    try {
      await this.#once(async (tx) => {
        this.#rehearsal = tx;
        result = { value: await work() };
        throw undone;
      }, options);
    } catch (error) {
      if (error !== undone) throw error;
    } finally {
      this.#rehearsal = undefined;
    }
    return result!.value;
  }

  /** The bare client, for what is more than transactions: LISTEN, say. */
  async client(): Promise<pg.Client> {
    if (this.#client && !this.#broken) return this.#client;
    await this.close();
    this.#client = await this.#connect();
    return this.#client;
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (!client) return;
    // Said is enough: waiting for the server to hang up would cost an idle tick a twentieth of its time.
    (client.connection.stream as Socket).unref();
    void client.end().catch(() => {});
  }

  /** Lets go at once, whatever is running; the server rolls back. */
  abandon(): void {
    this.#client?.connection.stream.destroy();
  }

  async #once<T>(work: (tx: Transaction) => Promise<T>, options: TransactionOptions): Promise<T> {
    const client = await this.client();
    const sent = async <R extends object>(query: pg.QueryConfig, patienceMs = SILENCE_MS): Promise<R[]> => {
      try {
        const { rows } = await heard(client, client.query(query), options.unbounded ? FOR_EVER_MS : patienceMs);
        return rows as R[];
      } catch (error) {
        throw this.#broken && !sqlState(error) ? new ConnectionLost((error as Error).message, { cause: error }) : error;
      }
    };
    let isOpen = false;
    const send = async <R extends object>(sql: string, values?: Values) => {
      if (isOpen && !/^(commit|rollback)/.test(sql)) await sent({ text: PIN });
      isOpen = opens(sql);
      return sent<R>(bind(sql, values));
    };
    const tx: Transaction = {
      query: (sql, values) => send(sql, values),
      attempt: async (piece) => {
        await send('savepoint piece');
        let fault: unknown;
        try {
          await piece();
        } catch (error) {
          if (!blamesRow(error)) throw error;
          fault = error;
        }
        await send(fault ? 'rollback to savepoint piece' : 'release savepoint piece');
        return fault;
      },
    };
    try {
      // Here a pooler looks for a connection: no answer is as if there were none.
      await sent(
        { text: begin(this.#settings, this.tenant, this.patience, options) },
        this.#settings.connectTimeout * 1000,
      );
      const result = await work(tx);
      await send('commit');
      return result;
    } catch (error) {
      if (!this.#broken) await heard(client, client.query('rollback'), ROLLBACK_MS).catch(() => {});
      throw error;
    }
  }

  async #connect(): Promise<pg.Client> {
    const deadline = Date.now() + this.#settings.connectTimeout * 1000;
    const { demand, client: config, ways } = this.#settings.connection;
    for (let [attempt, way] = [1, 0]; ; attempt++) {
      const client = new pg.Client({
        ...config,
        ssl: ways[way]!,
        enableChannelBinding: demand === 'binding',
        application_name: this.#name,
        connectionTimeoutMillis: Math.max(1, deadline - Date.now()),
        keepAlive: true,
        keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      });
      const insist = demand && insistOn(demand, client);
      this.#broken = false;
      client.on('error', () => {
        this.#broken = true;
      });
      client.on('end', () => {
        if (this.#client === client || !this.#client) this.#broken = true;
      });
      try {
        await client.connect();
        insist?.();
        return client;
      } catch (error) {
        const wait = 100 * 4 ** (attempt - 1);
        const again = isTransient(error) || CONNECTION_FAULTS.has((error as NodeJS.ErrnoException).code ?? '');
        if (!again && way + 1 < ways.length) {
          way++;
          continue;
        }
        if (!again || attempt >= 3 || Date.now() + wait > deadline)
          throw this.#refused(error as NodeJS.ErrnoException, client);
        await pause(wait);
      }
    }
  }

  #refused(error: NodeJS.ErrnoException, client: pg.Client): OperatorError {
    const { url } = this.#settings.connection;
    const place = url ? withoutPassword(url) : `${client.user}@${client.host}:${client.port}/${client.database}`;
    const state = sqlState(error) ?? '';
    // A server that answers and says no will say no again in a minute: that is configuration, not an outage.
    const misconfigured = state.startsWith('28') || state === '3D000';
    const reason =
      error.message || (error as unknown as AggregateError).errors?.[0]?.message || error.code || 'no answer';
    return new OperatorError(
      misconfigured ? EXIT.configuration : EXIT.unreachable,
      misconfigured
        ? `The database at ${place} refuses the connection: ${reason}. Check the user, the password and the database name.`
        : `The database at ${place} cannot be reached: ${reason}. Check that it runs and that this machine may connect.`,
      { cause: error },
    );
  }
}

/** The answer; or, when it does not come in time, the end of the connection. */
async function heard<T>(client: pg.Client, answer: Promise<T>, ms: number): Promise<T> {
  const silence = setTimeout(
    () => client.connection.stream.destroy(new Error(`no answer for ${ms / 1000} seconds`)),
    ms,
  );
  try {
    return await answer;
  } finally {
    clearTimeout(silence);
  }
}

/** A transaction within a dry run: it can fail without ending the whole. */
async function rehearsed<T>(tx: Transaction, work: (tx: Transaction) => Promise<T>): Promise<T> {
  await tx.query('savepoint rehearsed');
  try {
    const result = await work(tx);
    // What a real commit would check. Deferred again, for the next one.
    await tx.query('set constraints all immediate');
    await tx.query('set constraints all deferred');
    await tx.query('release savepoint rehearsed');
    return result;
  } catch (error) {
    // Also what is no word of the server's: a real transaction would be undone by it, too.
    if (!(error instanceof ConnectionLost)) await tx.query('rollback to savepoint rehearsed');
    throw error;
  }
}

const lost = (error: ConnectionLost) =>
  new OperatorError(
    EXIT.unreachable,
    `The connection to the database was lost: ${error.message}. Work that was not committed is undone; the next run does it.`,
    {
      cause: error,
    },
  );
