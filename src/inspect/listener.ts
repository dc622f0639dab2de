import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { environmentForOthers } from '../base/config.ts';
import { EXIT, OperatorError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Database } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import { type Event, eventWriters, type Gap, lastEventId, readNews, recentGaps } from '../store/events.ts';

/**
 * Events as they come, without gap or repetition. The log is what counts, and a notification only a reason to look at it
 * at once: so nothing is lost with a connection, and it works behind a pooler, where LISTEN does not.
 *
 * Ids are handed out before the commit, so an event can appear below one already seen. The listener therefore remembers
 * the ids missing below the highest one it has seen, and looks there again until no transaction is left that could fill
 * them.
 */
export interface Listening {
  channels: string[];
  /** The id of the last event already known; without it, those that come from now on. */
  since?: number;
  stop: AbortSignal;
  /** Between two looks without a notification. */
  everyMs?: number;
  /** A look that takes longer has no connection any more: half-open ones say nothing for ever. */
  patienceMs?: number;
}

interface OpenGap extends Gap {
  /** Those who may still fill it. */
  writers: string[];
}

const EVERY_MS = 2000;
const PATIENCE_MS = 10_000;
const LONGEST_PAUSE_MS = 30_000;
const PAGE = 1000;
// How far below the end of the log an uncommitted event may be when a listener starts: beyond the largest batch.
const REACH = 200_000;

export async function* listen(db: Database, log: Log, options: Listening): AsyncGenerator<Event> {
  const { channels, since, stop, everyMs = EVERY_MS, patienceMs = PATIENCE_MS } = options;
  const bell = makeBell();
  const end = () => {
    db.abandon();
    bell.ring();
  };
  stop.addEventListener('abort', end);
  try {
    const place = await findPlace(db, log, since);
    const subscribe = subscriber(db, channels, bell.ring);
    log.info('Listening', { channels, after: place.top });
    let pauseMs = 0;
    while (!stop.aborted) {
      try {
        const tooLong = setTimeout(() => db.abandon(), patienceMs);
        const { events, more } = await subscribe()
          .then(() => look(db, place, channels))
          .finally(() => clearTimeout(tooLong));
        if (pauseMs > 0) log.warn('The database is reached again; what happened in the meantime follows.');
        pauseMs = 0;
        yield* events;
        if (!more) await bell.heardWithin(everyMs);
      } catch (error) {
        if (stop.aborted) return;
        if (!isPassing(error)) throw error;
        const { message, cause } = error as Error;
        const reason = (cause as Error | undefined)?.message ?? message;
        if (pauseMs === 0) log.warn('The database does not answer; trying again until it does.', { reason });
        pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2 || 250);
        await bell.heardWithin(pauseMs);
      }
    }
  } finally {
    stop.removeEventListener('abort', end);
  }
}

interface Place {
  top: number;
  gaps: OpenGap[];
  /** As they were after the last look. */
  writers: string[];
}

async function findPlace(db: Database, log: Log, since: number | undefined): Promise<Place> {
  const last = await lastEventId(db);
  if (since !== undefined && since > last) {
    log.warn(`The log ends with event ${last}: nothing is shown until there is one after ${since}.`);
  }
  const top = since ?? last;
  const writers = await eventWriters(db);
  const gaps = writers.length > 0 ? await recentGaps(db, top, REACH) : [];
  return { top, gaps: gaps.map((gap) => ({ ...gap, writers })), writers };
}

/** One look at the log; moves the place on. */
async function look(db: Database, place: Place, channels: string[]): Promise<{ events: Event[]; more: boolean }> {
  const news = await readNews(db, place, channels, PAGE);
  const before = new Set(place.writers);
  const gaps = news.more
    ? place.gaps
    : place.gaps.filter(({ writers }) => writers.some((writer) => before.has(writer)));
  const waiting = gaps.length + news.gaps.length > 0;
  // Read after the log: who still writes then is among those who could fill the new gaps.
  const writers = waiting ? await eventWriters(db) : [];
  place.gaps = [...news.late.reduce(without, gaps), ...news.gaps.map((gap) => ({ ...gap, writers }))];
  place.writers = writers;
  place.top = news.top;
  return news;
}

function without(gaps: OpenGap[], id: number): OpenGap[] {
  return gaps.flatMap((gap) => {
    if (id < gap.first || id > gap.last) return gap;
    const parts = [
      { ...gap, last: id - 1 },
      { ...gap, first: id + 1 },
    ];
    return parts.filter(({ first, last }) => first <= last);
  });
}

/** LISTENs once on each connection that the database opens. */
function subscriber(db: Database, channels: string[], ring: () => void): () => Promise<void> {
  let subscribed: unknown;
  return async () => {
    const client = await db.client();
    if (client === subscribed) return;
    client.on('notification', ring);
    for (const channel of channels) {
      await client.query(`listen ${client.escapeIdentifier(channel)}`).catch((error: Error) => {
        throw sqlState(error) ? error : new OperatorError(EXIT.unreachable, error.message, { cause: error });
      });
    }
    subscribed = client;
  };
}

/** A ring that nobody waited for is heard by whoever waits next. */
function makeBell() {
  let rung = new AbortController();
  return {
    ring: () => rung.abort(),
    heardWithin: async (ms: number) => {
      await sleep(ms, undefined, { signal: rung.signal }).catch(() => {});
      rung = new AbortController();
    },
  };
}

/** What goes away when the database is back. */
function isPassing(error: unknown): boolean {
  if (error instanceof OperatorError) return error.exitCode === EXIT.unreachable;
  return /^(08|25P|40|53|55|57)/.test(sqlState(error) ?? '');
}

/** Runs a shell command with the event on its standard input; answers how it failed, if it did. */
export function runFor(event: Event, command: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, { shell: true, stdio: ['pipe', 'inherit', 'inherit'], env: environmentForOthers() });
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) =>
      resolve(code === 0 ? undefined : signal ? `signal ${signal}` : `exit code ${code}`),
    );
    child.stdin.on('error', () => {}); // a command need not read what it is given
    child.stdin.end(`${JSON.stringify(event)}\n`);
  });
}
