import type { OperatorError } from '../base/errors.ts';
import type { Values } from '../db/bind.ts';
import type { CompiledRule, Installed } from '../job/compile.ts';
import { info, type Job, linesOf } from '../job/define.ts';
import { valuesOf } from '../store/requests.ts';
import {
  emptyResult,
  FINISHING,
  finished,
  type JobResult,
  namesWhere,
  RECORD_STOPPED,
  recordIdle,
} from '../store/runs.ts';
import { type Due, isOfOneJob, type Question, type RecordsIdle, whatIsDue, whatIsDueApart } from './ask.ts';
import { AllRefused, endless, isForAllJobs, jobError } from './faults.ts';
import { narrow } from './narrow.ts';
import { type JobRecord, type Run, say } from './records.ts';
import { sweep } from './sweep.ts';

/** The one question about all jobs failed, by the fault of one of them perhaps. */
export class QuestionFailed extends Error {}

/**
 * Rules that keep each other busy must not keep the run. A rule may sweep so often; from its second sweep on, each batch counts
 * as one, as rows that make two others due are soon a million.
 */
const MOST_SWEEPS = 100;

/** Instead of the sweeps that are left to a rule: its due rows cannot be changed now. */
const GIVEN_UP = -1;

// Nobody reads more rows than this in a day.
const SURVEYED = 10_000;

/**
 * Asks which rules have a due row, works on the first job that has any, and asks again: what was done may have made
 * something else due, in another job too. It ends when nothing is due, or when what is due cannot be done now.
 */
export class Pass {
  readonly #run: Run;
  readonly #jobs: Installed[];
  readonly #recordsIdle: RecordsIdle;
  readonly #records = new Map<string, JobRecord>();
  /** How often a rule may still be swept; or GIVEN_UP, because somebody holds its rows, say. */
  readonly #sweepsLeft = new Map<CompiledRule, number>();
  readonly #idle = new Set<string>();
  #anyFailures: boolean;
  /** Why some rules of a job are not done. */
  readonly #left = new Map<string, OperatorError>();
  /** Old history can go. */
  expired = false;
  /** Nothing was due at first. */
  wasIdle = false;

  constructor(run: Run, jobs: Installed[], anyFailures: boolean, recordsIdle: RecordsIdle) {
    this.#run = run;
    this.#jobs = [...jobs];
    this.#anyFailures = anyFailures;
    this.#recordsIdle = recordsIdle;
  }

  resultOf(job: Job): JobResult {
    return this.#records.get(job.name)?.result ?? emptyResult(job.name);
  }

  /** It can be called again when the connection that asks is lost. */
  async run(): Promise<void> {
    const { db, stop, asking } = this.#run;
    // The lost connection's transaction may have closed records, and is undone.
    for (const record of this.#records.values()) record.isOpen = record.run !== null;
    let due = await this.#ask(this.#recordsIdle);
    this.wasIdle = due.length === 0 && this.#records.size === 0;
    await this.#sayIdle(due);
    while (due.length > 0 && !stop.reason) {
      const name = due[0]!.job;
      const ofJob = due.filter((rule) => rule.job === name);
      await this.#work(this.#jobs.find(({ job }) => job.name === name)!, ofJob);
      // Also where the run must end: whether work is left decides its exit code.
      due = await this.#ask();
    }
    if (stop.reason) this.#leave(due);
    else await this.#recordUntouched();
    for (const [name, error] of this.#left) {
      if (this.#isStopped(name)) continue;
      const installed = this.#jobs.find(({ job }) => job.name === name)!;
      const record = this.#recordOf(installed.job);
      record.isOpen = record.run !== null;
      await this.#stop(installed, error);
    }
    for (const record of this.#records.values()) {
      if (!record.isOpen) continue;
      // The transaction that asks may have closed it before, and holds its row.
      await (asking ?? db).query(`with ${FINISHING} select`, this.#finished(record));
      record.isOpen = false;
    }
    for (const record of this.#records.values()) this.#sayFinished(record);
  }

  /** The rules that have a due row. The same question closes the record of the job that was just worked on. */
  async #ask(first?: RecordsIdle): Promise<CompiledRule[]> {
    const worked = this.#run.asking && [...this.#records.values()].find(({ isOpen }) => isOpen);
    const { rules, expired } = await this.#due({
      jobs: this.#jobs.filter(({ job }) => !this.#isStopped(job.name)),
      ...{ anyFailures: this.#anyFailures, ...(first && { first }) },
      // One that was worked on before a connection was lost is answered by its record.
      requests: first ? [...this.#run.requests.values()].filter(({ job }) => !this.#records.has(job)) : [],
      ...(worked && { finish: this.#finished(worked) }),
    });
    if (worked) worked.isOpen = false;
    this.expired ||= expired;
    for (const rule of rules) if (this.#sweepsLeft.get(rule) === 0) await this.#stopEndless(rule);
    return rules.filter((rule) => this.#sweepsLeft.get(rule) !== GIVEN_UP && !this.#isStopped(rule.job));
  }

  #finished({ run, result }: JobRecord): Values {
    const { tenant } = this.#jobs.find(({ job }) => job.name === result.job)!;
    return {
      ...valuesOf(this.#run.requests, this.#run.values, { job: result.job, tenant }),
      ...finished(run, result),
    };
  }

  async #due(question: Question): Promise<Due> {
    const { db, values, asking } = this.#run;
    if (!asking) return whatIsDueApart(db, question, values, (job, error) => this.#narrow(job, error));
    try {
      return await whatIsDue(asking, question, values);
    } catch (error) {
      throw isOfOneJob(error) ? new QuestionFailed('', { cause: error }) : error;
    }
  }

  /** Some rules of a job cannot be done. The others go on, and then the job tells why it is not whole. */
  async #narrow(installed: Installed, error: unknown): Promise<Installed | undefined> {
    const narrowed = await narrow(this.#run.db, installed, error);
    if (!narrowed) {
      await this.#stop(installed, error);
      return undefined;
    }
    this.#jobs[this.#jobs.indexOf(installed)] = narrowed.rest;
    this.#left.set(installed.job.name, narrowed.error);
    return narrowed.rest;
  }

  async #stopEndless({ job: name, name: rule }: CompiledRule): Promise<void> {
    const record = this.#records.get(name)!;
    record.result.workLeft = true;
    record.isOpen = record.run !== null;
    await this.#stop(this.#jobs.find(({ job }) => job.name === name)!, endless(name, rule));
  }

  #isStopped(name: string): boolean {
    return this.#records.get(name)?.result.error !== undefined;
  }

  /** Works on a job's due rules, in their order. */
  async #work(installed: Installed, rules: CompiledRule[]): Promise<void> {
    const { job } = installed;
    const record = this.#recordOf(job);
    try {
      record.surveyed ??= await this.#survey(installed);
      let fault: AllRefused | undefined;
      for (const rule of rules) {
        const count = await sweep(this.#run, rule, record).catch((error) => {
          if (!(error instanceof AllRefused)) throw error;
          fault ??= error;
          return 0;
        });
        // The last question tells what is left.
        if (this.#run.stop.reason) break;
        // A row that a gateway gave back unanswered is due at once, and must not be tried again and again.
        const isGivenUp = count === 0 || rule.outside;
        this.#sweepsLeft.set(rule, isGivenUp ? GIVEN_UP : this.#leftAfter(rule, count));
      }
      // One rule's broken trigger must not hide the others.
      if (fault) throw fault;
    } catch (error) {
      if (isForAllJobs(error)) throw error;
      await this.#stop(installed, error);
    }
    if (record.result.failed > 0) this.#anyFailures = true;
    record.isOpen = record.run !== null;
  }

  #leftAfter(rule: CompiledRule, count: number): number {
    const left = this.#sweepsLeft.get(rule);
    if (left === undefined) return MOST_SWEEPS - 1;
    // One sweep alone is not endless, however much another job has handed on.
    return Math.max(left > 1 ? 1 : 0, left - Math.ceil(count / this.#run.batchSize));
  }

  #recordOf(job: Job): JobRecord {
    const record = this.#records.get(job.name) ?? this.#begin(job);
    this.#records.set(job.name, record);
    return record;
  }

  #begin(job: Job): JobRecord {
    const record = {
      run: null,
      isOpen: false,
      result: emptyResult(job.name),
      lines: linesOf(job),
      seen: new Map(),
      surveyed: undefined,
    };
    this.#run.log.write(record.lines.started);
    return record;
  }

  /** One job's error does not stop the next. It is in the job's record. */
  async #stop({ job, tenant }: Installed, error: unknown): Promise<void> {
    const { db, log, values, debug, requests } = this.#run;
    const { run, result } = this.#recordOf(job);
    const explained = jobError(job, error);
    result.error = explained.message;
    result.errorCode = explained.exitCode;
    log.error(explained.message, debug ? { stack: (error as Error).stack } : undefined);
    if (run === null)
      await db.query(RECORD_STOPPED, {
        ...valuesOf(requests, values, { job: job.name, tenant }),
        left: result.workLeft,
        error: result.error,
      });
  }

  /** The run must end: what is due waits for the next one. */
  #leave(due: CompiledRule[]): void {
    for (const { job } of this.#jobs) {
      if (!due.some((rule) => rule.job === job.name)) continue;
      const record = this.#recordOf(job);
      record.result.workLeft = true;
      record.isOpen = record.run !== null;
    }
  }

  /** Another job has done the row that was due, or somebody holds it: the tick came to this job all the same. */
  async #recordUntouched(): Promise<void> {
    const { db, asking, values, requests } = this.#run;
    if (this.#recordsIdle === 'never') return;
    const isTouched = ({ job: { name } }: Installed) => {
      const record = this.#records.get(name);
      return this.#idle.has(name) || requests.has(name) || (record && (record.run !== null || record.result.error));
    };
    const untouched = this.#jobs.filter((each) => !isTouched(each));
    if (untouched.length === 0) return;
    const [names, tenants] = [untouched.map(({ job }) => job.name), untouched.map(({ tenant }) => tenant)];
    await (asking ?? db).query(recordIdle(namesWhere('true')), { ...values, names, tenants });
  }

  async #sayIdle(due: CompiledRule[]): Promise<void> {
    for (const installed of this.#jobs) {
      const { job } = installed;
      if (this.#idle.has(job.name) || this.#records.has(job.name) || due.some((rule) => rule.job === job.name))
        continue;
      this.#idle.add(job.name);
      const record = this.#begin(job);
      this.#sayFinished({ ...record, surveyed: await this.#survey(installed) });
    }
  }

  #sayFinished({ lines, result, surveyed }: JobRecord): void {
    if (result.error) return;
    const { job, changed, failures, failed } = result;
    const ends = result.workLeft ? [info(`${job} stopped with work left`)] : undefined;
    for (const line of ends ?? lines.finished(changed, failures, failed, surveyed)) say(this.#run, line);
  }

  /** With --debug, one line for everything that the job watches, due or not. */
  async #survey(installed: Installed): Promise<number | undefined> {
    const { db, log, values, debug } = this.#run;
    if (!debug || !installed.survey) return undefined;
    const rows = await db.query(`${installed.survey} limit ${SURVEYED}`, values);
    for (const row of rows) log.write(installed.job.survey!.line(row));
    return rows.length;
  }
}
