import { isMap, isScalar, type Node, type YAMLMap } from 'yaml';
import type { Fault, Files, OwnJob, OwnRule, Path, UsedTable } from './definition.ts';
import { ALSO, SPAN } from './definition.ts';
import { CANNOT_BE_NAME, LOST, Nodes, type Source } from './nodes.ts';
import { pairsOf, unquoted } from './sql.ts';

/** Reads files of jobs. */

/** What a file says of a table of a built-in job. */
const OF_TABLE = ['table', 'id', 'columns', 'where', 'insert', 'set'];

const NAME = /^[a-z][a-z0-9-]{0,39}$/;

export function readFiles(sources: Source[], taken: string[]): Files {
  const faults: Fault[] = [];
  const jobs: OwnJob[] = [];
  const places = new Map<string, (path: Path, offset?: number) => Omit<Fault, 'message'>>();
  for (const source of sources) {
    const read = new Reader(source, faults);
    for (const { job, node } of read.jobs()) {
      const other = places.get(job.name);
      if (taken.includes(job.name) && job.uses?.job !== job.name)
        read.fault(
          node,
          `"${job.name}" is the name of a built-in job: give this one another, or say "uses: ${job.name}"`,
        );
      else if (other) {
        const { file, line, column } = other([]);
        read.fault(node, `there are two jobs named "${job.name}": the other one is at ${file}:${line}:${column}`);
      } else {
        jobs.push(job);
        places.set(job.name, (path, offset) => read.place(node, path, offset));
      }
    }
  }
  return { jobs, faults, at: (job, path, offset) => places.get(job)!(path, offset) };
}

class Reader extends Nodes {
  jobs(): { job: OwnJob; node: Node }[] {
    const { root, problems } = this.parsed;
    for (const { at, message } of problems) this.add(at, message);
    if (root === undefined) return [];
    const nothing = 'a file of jobs begins with "jobs:", and below it each job has a name and a map';
    if (!root) this.add(0, nothing);
    if (!root || !this.isMap(root, nothing)) return [];
    const { jobs } = this.keys(root, ['jobs'], 'a file of jobs');
    if (!jobs || !this.isMap(jobs, nothing)) return [];
    return this.pairs(jobs).flatMap(({ name, key, value }) => {
      if (!NAME.test(name))
        this.fault(
          key,
          `"${name}" is not a name for a job: up to 40 small letters, digits and "-", the first a letter`,
        );
      if (!this.isMap(value ?? key, `the job "${name}" needs a map, with "table" and "rules"`)) return [];
      const job = this.#job(name, value as YAMLMap);
      return job ? [{ job, node: value! }] : [];
    });
  }

  #job(name: string, node: YAMLMap): OwnJob | undefined {
    const isUse = node.has('uses');
    const ofJob = ['every', 'summary', 'was'];
    const valid = isUse
      ? ['uses', ...OF_TABLE, 'tables', ...ofJob]
      : ['table', 'id', 'zone', 'where', ...ofJob, 'rules'];
    const keys = this.keys(node, valid, isUse ? 'a job that uses a built-in one' : 'a job');
    if (!isUse)
      for (const needed of ['table', 'rules'])
        if (!keys[needed]) this.fault(node, `the job "${name}" has no "${needed}"`);
    const rules = this.map(keys.rules, '"rules"', (value, rule) => this.#rule(rule, value));
    if (keys.rules && isMap(keys.rules) && keys.rules.items.length === 0)
      this.fault(keys.rules, `the job "${name}" has no rule`);
    const uses = this.text(keys.uses, '"uses"');
    const table = this.text(keys.table, '"table"') ?? uses;
    const texts = Object.fromEntries(
      ['id', 'zone', 'summary', 'was'].flatMap((key) => {
        const text = this.text(keys[key], `"${key}"`);
        return text === undefined ? [] : [[key, key === 'id' || key === 'zone' ? unquoted(text) : text]];
      }),
    );
    if (table === undefined) return undefined;
    const job = {
      name,
      table,
      ...texts,
      where: this.conditions(keys.where),
      everyMinutes: this.#every(keys.every),
      rules,
    };
    if (uses === undefined) return job;
    const tables = this.map(keys.tables, '"tables"', (value, each) => this.#table(each, value));
    const isNamed = keys.table !== undefined;
    return { ...job, uses: { job: uses, main: { ...this.#used(keys), ...(isNamed && { table }) }, tables } };
  }

  #table(name: string, node: Node): UsedTable | undefined {
    if (!this.isMap(node, `"${name}" needs a map, such as { table: NAME }`)) return undefined;
    return this.#used(this.keys(node, OF_TABLE, 'a table'));
  }

  /** How a table of a built-in job is in the application. */
  #used(keys: Record<string, Node | undefined>): UsedTable {
    const [table, id] = [this.text(keys.table, '"table"'), unquoted(this.text(keys.id, '"id"'))];
    return {
      ...(table !== undefined && { table }),
      ...(id !== undefined && { id }),
      columns: this.#columns(keys.columns),
      where: this.conditions(keys.where),
      ...{ insert: this.#set(keys.insert, '"insert"'), set: this.#set(keys.set, '"set"') },
    };
  }

  #columns(node: Node | undefined): Record<string, string | null> {
    if (!node || !this.isMap(node, '"columns" is a map')) return {};
    const read = this.pairs(node).flatMap(({ name, value }) => {
      const sql = value ? this.sql(value, `"${name}"`) : null;
      return sql === undefined ? [] : [[name, sql]];
    });
    return Object.fromEntries(read);
  }

  #every(node: Node | undefined): number {
    const text = this.text(node, '"every"');
    if (text === undefined) return 1;
    const [, count, unit] = /^(\d+)?\s*(minute|hour|day)s?$/i.exec(text) ?? [];
    const minutes = Number(count ?? 1) * { minute: 1, hour: 60, day: 1440 }[(unit ?? 'minute').toLowerCase()]!;
    if (unit && minutes >= 1 && minutes <= 1440) return minutes;
    this.fault(node!, `"every" is a span from a minute to a day, such as "15 minutes", not "${text}"`);
    return 1;
  }

  #rule(name: string, node: Node): OwnRule | undefined {
    if (!this.isMap(node, `the rule "${name}" needs a map, with "due"`)) return undefined;
    if (name.length > 40 || name !== name.trim() || name === '')
      this.fault(node, `a rule's name has 1 to 40 characters`);
    if (name === 'failed' || name.endsWith(' (missed)'))
      this.fault(node, `"${name}" tells what became of a row: give this rule another name`);
    const valid = ['due', 'where', 'set', 'repeat', 'delete', 'once', 'late', 'fails', 'also', 'event'];
    const keys = this.keys(node, valid, 'a rule');
    if (!keys.due) this.fault(node, `the rule "${name}" has no "due"`);
    if (!['set', 'repeat', 'delete', 'once'].some((key) => keys[key]))
      this.fault(
        node,
        `the rule "${name}" changes nothing: it needs "set", "repeat", "delete" or "once", or it would be due for ever`,
      );
    for (const other of ['set', 'repeat', 'once'])
      if (keys.delete && keys[other]) this.fault(keys[other], `"${other}" and "delete" exclude each other`);
    if (keys.once && keys.repeat) this.fault(keys.once, '"once" and "repeat" exclude each other');
    if (keys.late && !keys.once) this.fault(keys.late, '"late" needs "once"');
    if (keys.late && !keys.event)
      this.fault(keys.late, '"late" needs an "event": a row that is too late is told of as TYPE.missed');
    const event = this.#event(keys.event);
    const [repeat, late] = [this.#span(keys.repeat, 'repeat'), this.#span(keys.late, 'late')];
    const once = unquoted(this.text(keys.once, '"once"'));
    const due = this.#due(keys.due);
    if (keys.delete && !(isScalar(keys.delete) && keys.delete.value === true))
      this.fault(keys.delete, '"delete" is true, or not there');
    return due === undefined
      ? undefined
      : {
          ...{ due, where: this.conditions(keys.where), set: this.#set(keys.set) },
          fails: this.map(keys.fails, '"fails"', (value) => this.sql(value, 'a condition')),
          also: this.list(keys.also, (each) => this.#also(each)),
          ...(keys.delete && { delete: true as const }),
          ...(repeat && { repeat }),
          ...(once && { once }),
          ...(late && { late }),
          ...(event && { event }),
        };
  }

  #due(node: Node | undefined): OwnRule['due'] | undefined {
    if (!node || !isMap(node)) return this.sql(node, '"due"');
    const keys = this.keys(node, ['date', 'time'], '"due"');
    const [date, time] = [this.text(keys.date, '"date"'), this.text(keys.time, '"time"')];
    if (date !== undefined && time !== undefined) return { date, time };
    this.fault(node, '"due" as a map has "date" and "time", a column each');
    return undefined;
  }

  /** A SET list, or a map from columns to expressions. */
  #set(node: Node | undefined, what = '"set"'): Record<string, string> {
    if (isMap(node)) return this.map(node, what, (value) => this.sql(value, 'an expression'));
    const sql = this.sql(node, what);
    if (sql === undefined) return {};
    const set: Record<string, string> = {};
    for (const { name, sql: value, offset } of pairsOf(sql)) {
      if (name === undefined) this.fault(node!, `${what} is a list of COLUMN = VALUE`, offset);
      else if (name === LOST) this.fault(node!, CANNOT_BE_NAME, offset);
      else if (Object.hasOwn(set, name)) this.fault(node!, `${what} names the column "${name}" twice`, offset);
      else if (value === '') this.fault(node!, `the column "${name}" is set to nothing`, offset);
      else set[name] = value;
    }
    return set;
  }

  #span(node: Node | undefined, key: string): string | undefined {
    const text = this.text(node, `"${key}"`);
    if (text === undefined) return undefined;
    const [, count] = SPAN.exec(text) ?? [];
    if (count && Number(count) >= 1 && Number(count) <= 10_000) return text;
    this.fault(node!, `"${key}" is a count and a unit, such as "1 day" or "3 months", not "${text}"`);
    return undefined;
  }

  #also(node: Node): string | undefined {
    const sql = this.sql(node, '"also"');
    if (sql === undefined || /^insert\s+into\s[\s\S]*\sselect\s/i.test(sql)) return sql;
    this.fault(node, ALSO);
    return undefined;
  }

  #event(node: Node | undefined): OwnRule['event'] {
    if (!node) return undefined;
    if (!isMap(node)) {
      const type = this.#type(node);
      return type === undefined ? undefined : { type, channels: [] };
    }
    const keys = this.keys(node, ['type', 'channels', 'data', 'message'], '"event"');
    if (!keys.type) this.fault(node, '"event" has no "type"');
    const type = this.#type(keys.type);
    const channels = this.list(keys.channels, (each) => this.text(each, 'a channel'));
    const data = keys.data && this.list(keys.data, (each) => this.text(each, 'a column'));
    const message = this.text(keys.message, '"message"');
    return type === undefined ? undefined : { type, channels, ...(data && { data }), ...(message && { message }) };
  }

  #type(node: Node | undefined): string | undefined {
    const type = this.text(node, 'the type of an event');
    if (type === undefined || /^[\w.:-]{1,100}$/.test(type)) return type;
    this.fault(node!, `"${type}" is not a type of event: letters, digits, ".", ":", "_" and "-"`);
    return undefined;
  }
}
