/** The errors of PostgreSQL and of the network, and their meaning for a run. */

/** The connection broke under a statement. Nobody knows what it did, but the guards make doing it again harmless. */
export class ConnectionLost extends Error {}

export const NOTIFY_QUEUE_FULL = '54000';

// Worth another try in the same run: nothing was done, and the same statement may well work in a moment.
const TRANSIENT = new Set([
  '40001', // serialization failure
  '40P01', // deadlock
  '57P01', // admin shutdown
  '57P02', // crash shutdown
  '57P03', // cannot connect now
  '57P05', // idle session timeout
  '25P03', // idle in transaction timeout
  '53300', // too many connections
]);

export const ROW_HELD = '55P03'; // a row beside it that somebody else holds

// No row brings these about: the connection, the transaction, a deadlock, want of resources, a shutdown, a disk. A trigger may
// raise everything else.
const NO_ROW = '08|25|40|53|57|58|F0';

/** The states that spare a row, for us and for SQL, which reads such a pattern as we do. */
export const SPARING = `^(${NO_ROW})`;
/** The same beside another connection of the same run: what is held may be held by that one. */
export const SPARING_OF_TWO = `^(${NO_ROW}|${ROW_HELD})`;

// Bad data, a constraint, a trigger that raises. Classes that PostgreSQL does not use are an application's own.
const OF_ROWS = new RegExp(`^(21|22|23|27|44|45|P0|[6-9G-OQ-W]|${ROW_HELD})`);

/** A state that every row meets alike if a right or a function is missing, say. */
export const mayBeOfAll = (state: string) => !OF_ROWS.test(state);

export const CONNECTION_FAULTS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'EPIPE',
  'ENOENT',
  'EACCES',
]);

export const sqlState = (error: unknown): string | undefined => {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown };
  // The operating system's EPIPE, for one, is as long.
  return typeof code === 'string' && syscall === undefined && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
};

export function blamesRow(error: unknown, spares = SPARING): boolean {
  const code = sqlState(error);
  return code !== undefined && !new RegExp(spares).test(code);
}

export const isTransient = (error: unknown) => {
  const code = sqlState(error);
  return code ? TRANSIENT.has(code) || code.startsWith('08') : error instanceof ConnectionLost;
};
