import type { Logger } from 'pino';
import { LOG_LEVELS, type LogLevel } from './config.ts';
import { plain } from './plain.ts';

type Fields = Record<string, unknown>;

export interface Line {
  level: Exclude<LogLevel, 'silent'>;
  message: string;
  fields?: Fields | undefined;
}

/**
 * pino on standard error, JSON lines for machines and sentences on a terminal. It is loaded with the first line that is
 * really written: an idle tick under cron writes none and does not pay for it.
 */
export class Log {
  readonly #level: LogLevel;
  /** Fields of every line: the tenant at work, say. */
  about: Fields = {};
  #pino: Promise<Logger> | undefined;
  #written: Promise<void> | undefined;

  constructor(level: LogLevel) {
    this.#level = level;
  }

  write({ level, message, fields = {} }: Line): void {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(this.#level)) return;
    this.#pino ??= open(this.#level);
    const all = { ...this.about, ...fields };
    this.#written = this.#pino.then((pino) => pino[level](all, message));
  }

  debug = (message: string, fields?: Fields) => this.write({ level: 'debug', message, fields });
  info = (message: string, fields?: Fields) => this.write({ level: 'info', message, fields });
  warn = (message: string, fields?: Fields) => this.write({ level: 'warn', message, fields });
  error = (message: string, fields?: Fields) => this.write({ level: 'error', message, fields });

  /** Everything written so far is out when this resolves. */
  async flush(): Promise<void> {
    await this.#written;
  }
}

async function open(level: LogLevel): Promise<Logger> {
  const { pino } = await import('pino');
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const terminal = { write: (json: string) => process.stderr.write(sentence(json)) };
  return pino(options, process.stderr.isTTY ? terminal : pino.destination({ dest: 2, sync: true }));
}

function sentence(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Fields & { level: string; time: string; msg: string };
  const extra = Object.entries(fields).map(
    ([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `${time.slice(11, 19)} ${level.toUpperCase().padEnd(5)} ${plain(msg + extra.join(''))}\n`;
}
