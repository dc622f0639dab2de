import type { Logger } from 'pino';
import { readable, readableIn } from './calendar.ts';
import { LOG_LEVELS, type LogFormat, type LogLevel } from './config.ts';
import { plain } from './plain.ts';
import { eraseLine } from './status-line.ts';

type Fields = Record<string, unknown>;

export interface Line {
  level: Exclude<LogLevel, 'silent'>;
  message: string;
  fields?: Fields | undefined;
}

/**
 * pino on standard error: sentences for people, JSON lines for machines. It is loaded with the first line that is really
 * written: an idle tick under cron writes none and does not pay for it.
 */
export class Log {
  readonly #level: LogLevel;
  readonly #format: LogFormat;
  /** Fields of every line: the tenant at work, say. */
  about: Fields = {};
  #pino: Promise<Logger> | undefined;
  #written: Promise<void> | undefined;

  constructor(level: LogLevel, format: LogFormat = 'json') {
    this.#level = level;
    this.#format = format;
  }

  write({ level, message, fields = {} }: Line): void {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(this.#level)) return;
    this.#pino ??= open(this.#level, this.#format);
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

async function open(level: LogLevel, format: LogFormat): Promise<Logger> {
  const { pino } = await import('pino');
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const lines = pino.destination({ dest: 2, sync: true });
  const write = (json: string) => {
    eraseLine();
    lines.write(format === 'text' ? sentence(json) : json);
  };
  return pino(options, { write });
}

function sentence(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Fields & { level: string; time: string; msg: string };
  const extra = Object.entries(fields).map(
    ([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  // A mail or a file is read on another day.
  const at = readable(time.replace(/\.\d+/, ''));
  return `${process.stderr.isTTY ? at.slice(11, 19) : at} ${level.toUpperCase().padEnd(5)} ${plain(readableIn(msg) + extra.join(''))}\n`;
}
