import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { inWords } from '../base/calendar.ts';
import { MEANINGS } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { RunResult } from '../engine/run.ts';
import { type Answer, type Lost, post } from '../net/http.ts';

// A tick may take so much longer for the sake of its monitor.
const BOUND_MS = 5000;
// The start gets so much of it, should the tick have been quicker.
const START_MS = 1000;
const PAUSE_MS = 200;

/**
 * Tells a monitor such as Healthchecks that a tick began, and answers what tells it how the tick ended: URL/start, then
 * URL/<exit code>. It raises the alarm when nobody calls any more, which no program can do for itself. The URL is the
 * monitor's only password: nothing but its host is ever said.
 */
export function startPing(url: string, log: Log) {
  const run = randomUUID();
  const ended = new AbortController();
  // Under way while the work is done; whether it arrives is seen at the end.
  const started = post(request(url, 'start', run, ''), BOUND_MS, ended.signal);
  return async (exitCode: number, passes: RunResult[]): Promise<void> => {
    const summary = summarize(exitCode, performance.now() / 1000, passes);
    const deadline = performance.now() + BOUND_MS;
    // Should the start arrive after the end, the monitor would wait for another end.
    await Promise.race([started, sleep(START_MS, undefined, { ref: false })]);
    ended.abort();
    const left = () => Math.max(1, deadline - performance.now());
    const attempt = (patience: number) =>
      post(request(url, String(exitCode), run, summary), patience, new AbortController().signal);
    let answer = await attempt((left() - PAUSE_MS) / 2);
    if (mayPass(answer)) {
      await sleep(PAUSE_MS);
      answer = await attempt(left());
    }
    const wrong = complaint(new URL(url).host, answer);
    if (wrong) log.warn(`The monitor was not told that the tick ended: ${wrong}. The tick itself is not affected.`);
  };
}

function complaint(host: string, answer: Answer | Lost): string | undefined {
  if (!('status' in answer)) return answer.reason;
  if (answer.status < 200 || answer.status > 299) return `${host} answered ${answer.status}`;
  // Healthchecks says so to a URL that it does not know, with status 200.
  return /^OK \(([\w ]+)\)/.test(answer.body) ? `${host} answered "${answer.body.slice(0, 40)}"` : undefined;
}

const mayPass = (answer: Answer | Lost) => !('status' in answer) || answer.status >= 500;

/** The run's id tells overlapping ticks apart. The query of the URL stays. */
function request(url: string, signal: string, run: string, body: string) {
  const target = new URL(url);
  target.pathname = `${target.pathname.replace(/\/+$/, '')}/${signal}`;
  if (!target.searchParams.has('rid')) target.searchParams.set('rid', run);
  return { url: target.href, headers: { 'content-type': 'text/plain; charset=utf-8' }, body };
}

// A monitor keeps the first 10 kB or so.
const LINES = 50;

/** For somebody else's server: counts, and no message that could quote a row. */
function summarize(exitCode: number, seconds: number, passes: RunResult[]): string {
  const jobs = passes.flatMap((pass) => pass.jobs);
  const busy = jobs.filter((job) => Object.keys(job.changed).length > 0 || job.failed > 0 || job.error);
  return [
    `exit code ${exitCode}: ${MEANINGS[exitCode] ?? 'unknown'}, after ${seconds.toFixed(1)} s`,
    ...(passes.at(-1)?.locked ? ['another run holds the lock and does the work'] : []),
    ...busy.map((job) => {
      const words = Object.entries(job.changed).map(([transition, count]) => `${transition} ${count}`);
      if (job.failed > 0) words.push(`failed ${job.failed}`);
      if (job.error) words.push('stopped by an error');
      if (job.lateSeconds >= 1) words.push(`late by up to ${inWords(job.lateSeconds)}`);
      return `${job.job}: ${words.join(', ')}`;
    }),
  ]
    .slice(0, LINES)
    .join('\n');
}
