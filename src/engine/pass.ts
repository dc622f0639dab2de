import type { CompiledRule, Installed } from '../job/compile.ts';
import { type Job, linesOf } from '../job/define.ts';
import { emptyResult, FINISH_RUN, finished, type JobResult, RECORD_STOPPED } from '../store/runs.ts';
import { type Asking, type Due, type Question, whatIsDue, whatIsDueApart } from './ask.ts';
import { isForAllJobs, jobError } from './faults.ts';
import type { JobRecord, Run } from './records.ts';
import { sweep } from './sweep.ts';

export interface Options {
  /** A tick's jobs are recorded as idle where they are, and old history is looked at. */
  isTick: boolean;
  records: boolean;
}

/** Rules that keep each other busy must not keep the run. */
const MOST_SWEEPS = 100;

// Nobody reads more rows than this in a day.
const SURVEYED = 10_000;

/**
 * Asks which rules have a due row, works on the first job that has any, and asks again: what was done may have made
 * something else due, in another job too. It ends when nothing is due, or when what is due cannot be done now.
 */
export class Pass {
  readonly #run: Run;
  readonly #jobs: Installed[];
  readonly #options: Options;
  readonly #records = new Map<string, JobRecord>();
  readonly #sweeps = new Map<CompiledRule, number>();
  /** Rules whose due rows could not be changed: somebody else holds them, say. */
  readonly #givenUp = new Set<CompiledRule>();
  readonly #stopped = new Set<string>();
  readonly #idle = new Set<Job>();
  /** Jobs whose record is open. */
  readonly #unfinished = new Set<string>();
  #asking: Asking | undefined;
  #anyFailures: boolean;
  /** Old history can go. */
  expired = false;
  /** An error at this moment was one of the question. */
  isAsking = false;

  constructor(run: Run, jobs: Installed[], anyFailures: boolean, options: Options) {
    this.#run = run;
    this.#jobs = jobs;
    this.#anyFailures = anyFailures;
    this.#options = options;
  }

  resultOf(job: Job): JobResult {
    return this.#records.get(job.name)?.result ?? emptyResult(job.name);
  }

  /** Asks on the given connection; with none, each job by itself. It can be called again when that connection is lost. */
  async run(asking: Asking | undefined): Promise<void> {
    this.#asking = asking;
    const { stop } = this.#run;
    let due = await this.#ask(this.#options.records);
    await this.#sayIdle(due);
    while (due.length > 0 && !stop.reason) {
      const installed = this.#jobs.find(({ job }) => due.some((rule) => rule.job === job.name))!;
      await this.#work(
        installed,
        due.filter((rule) => rule.job === installed.job.name),
      );
      if (!stop.reason) due = await this.#ask(false);
    }
    if (stop.reason) this.#leave(due);
    for (const name of [...this.#unfinished]) await this.#finish(name);
    this.#sayFinished();
  }

  /** The rules that have a due row. The same question closes the record of the job that was just worked on. */
  async #ask(first: boolean): Promise<CompiledRule[]> {
    const [worked] = this.#asking ? this.#unfinished : [];
    const record = worked === undefined ? undefined : this.#records.get(worked)!;
    const question: Question = {
      jobs: this.#jobs.filter(({ job }) => !this.#stopped.has(job.name)),
      ...{ anyFailures: this.#anyFailures, first },
      ...(record && { finish: finished(record.run, record.result) }),
    };
    this.isAsking = true;
    const due = await this.#due(question);
    this.isAsking = false;
    if (worked !== undefined) this.#unfinished.delete(worked);
    if (first && this.#options.isTick) this.expired = due.expired;
    return due.rules.filter((rule) => !this.#givenUp.has(rule) && !this.#stopped.has(rule.job));
  }

  #due(question: Question): Promise<Due> {
    const { db, values } = this.#run;
    if (this.#asking) return whatIsDue(this.#asking, question, values);
    return whatIsDueApart(db, question, values, ({ job }, error) => this.#stop(job, error));
  }

  /** Works on a job's due rules, in their order. */
  async #work({ job }: Installed, rules: CompiledRule[]): Promise<void> {
    const record = this.#recordOf(job);
    try {
      if (this.#run.debug && record.surveyed === undefined) {
        const surveyed = await this.#survey(job);
        if (surveyed !== undefined) record.surveyed = surveyed;
      }
      for (const rule of rules) {
        const times = (this.#sweeps.get(rule) ?? 0) + 1;
        this.#sweeps.set(rule, times);
        const changed = await sweep(this.#run, rule, record);
        // A row that a gateway gave back unanswered is due at once, and must not be tried again and again.
        if (!changed || rule.outside || times === MOST_SWEEPS) this.#givenUp.add(rule);
        if (this.#run.stop.reason) break;
      }
    } catch (error) {
      if (isForAllJobs(error)) throw error;
      await this.#stop(job, error);
    }
    if (record.result.failed > 0) this.#anyFailures = true;
    if (record.run !== null) this.#unfinished.add(job.name);
  }

  #recordOf(job: Job): JobRecord {
    const known = this.#records.get(job.name);
    if (known) return known;
    const record: JobRecord = { run: null, result: emptyResult(job.name), lines: linesOf(job) };
    this.#records.set(job.name, record);
    this.#run.log.write(record.lines.started);
    return record;
  }

  /** One job's error does not stop the next. It is in the job's record. */
  async #stop(job: Job, error: unknown): Promise<void> {
    const { db, log, values, debug } = this.#run;
    const { run, result } = this.#recordOf(job);
    this.#stopped.add(job.name);
    const explained = jobError(job, error);
    result.error = explained.message;
    result.errorCode = explained.exitCode;
    log.error(explained.message, debug ? { stack: (error as Error).stack } : undefined);
    if (run === null)
      await db.query(RECORD_STOPPED, { ...values, job: job.name, left: result.workLeft, error: result.error });
  }

  /** The run must end: what is due waits for the next one. */
  #leave(due: CompiledRule[]): void {
    for (const { job } of this.#jobs) {
      if (!due.some((rule) => rule.job === job.name)) continue;
      const record = this.#recordOf(job);
      record.result.workLeft = true;
      if (record.run !== null) this.#unfinished.add(job.name);
    }
  }

  async #finish(name: string): Promise<void> {
    const { run, result } = this.#records.get(name)!;
    await this.#run.db.query(FINISH_RUN, finished(run, result));
    this.#unfinished.delete(name);
  }

  async #sayIdle(due: CompiledRule[]): Promise<void> {
    const { log, debug } = this.#run;
    for (const { job } of this.#jobs) {
      if (this.#idle.has(job) || this.#records.has(job.name) || due.some((rule) => rule.job === job.name)) continue;
      this.#idle.add(job);
      const lines = linesOf(job);
      log.write(lines.started);
      const surveyed = debug ? await this.#survey(job) : undefined;
      for (const line of lines.finished({}, [], 0, surveyed)) log.write(line);
    }
  }

  #sayFinished(): void {
    for (const { result, lines, surveyed } of this.#records.values()) {
      if (result.error) continue;
      for (const line of lines.finished(result.changed, result.failures, result.failed, surveyed))
        this.#run.log.write(line);
    }
  }

  /** With --debug, one line for everything that the job watches, due or not. */
  async #survey(job: Job): Promise<number | undefined> {
    const { db, log, values } = this.#run;
    const survey = this.#jobs.find((each) => each.job === job)!.survey;
    if (!survey) return undefined;
    const rows = await db.query(`${survey} limit ${SURVEYED}`, values);
    for (const row of rows) log.write(job.survey!.line(row));
    return rows.length;
  }
}
