import type { Logger } from 'pino';
import type { LogLevel } from './config.ts';
import { LOG_LEVELS } from './config.ts';

type Fields = Record<string, unknown>;

export interface Line {
  level: Exclude<LogLevel, 'silent'>;
  message: string;
  fields?: Fields;
}

/**
 * pino on standard error, JSON lines for machines and sentences on a terminal. It is loaded with the first line that is
 * really written: an idle tick under cron writes none and does not pay for it.
 */
export class Log {
  #level: LogLevel;
  #pending: Promise<unknown> | undefined;
  #pino: Logger | undefined;
  #waiting: Line[] = [];

  constructor(level: LogLevel) {
    this.#level = level;
  }

  enabled(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(this.#level);
  }

  write(line: Line): void {
    if (!this.enabled(line.level)) return;
    if (this.#pino) {
      this.#pino[line.level](line.fields ?? {}, line.message);
      return;
    }
    this.#waiting.push(line);
    this.#pending ??= this.#open();
  }

  debug = (message: string, fields?: Fields) => this.write({ level: 'debug', message, ...(fields && { fields }) });
  info = (message: string, fields?: Fields) => this.write({ level: 'info', message, ...(fields && { fields }) });
  warn = (message: string, fields?: Fields) => this.write({ level: 'warn', message, ...(fields && { fields }) });
  error = (message: string, fields?: Fields) => this.write({ level: 'error', message, ...(fields && { fields }) });

  /** Everything written so far is out when this resolves. */
  async flush(): Promise<void> {
    await this.#pending;
  }

  async #open(): Promise<void> {
    const { pino } = await import('pino');
    const sink = process.stderr.isTTY
      ? { write: (json: string) => process.stderr.write(sentence(json)) }
      : pino.destination({ dest: 2, sync: true });
    this.#pino = pino(
      {
        level: this.#level,
        base: null,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      sink,
    );
    for (const line of this.#waiting.splice(0)) this.write(line);
  }
}

function sentence(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Fields & { level: string; time: string; msg: string };
  const extra = Object.entries(fields).map(
    ([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `${time.slice(11, 19)} ${level.toUpperCase().padEnd(5)} ${msg}${extra.join('')}\n`;
}
