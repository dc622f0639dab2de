import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import pg from 'pg';
import { finished } from './harness.ts';
import { readPage } from './markdown.ts';

/** The terminal session that README shows: recorded on a pseudo-terminal, and drawn as SVG. */

export const SESSION = 'docs/session.svg';

const COLUMNS = 104;

/** Bookings of README, with a row that the table's own check refuses. */
const BOOKINGS = `
  create table bookings (id integer primary key, guest text, state text not null, hold_until timestamptz,
    constraint has_guest check (state <> 'released' or guest is not null));
  insert into bookings values (1, 'Ann', 'held', now() - interval '20 seconds'), (2, 'Bob', 'paid', now()),
    (3, 'Cem', 'held', now() + interval '5 hours'), (4, null, 'held', now() - interval '9 seconds')`;

const BEFORE = ['scheduler migrate', 'scheduler apply scheduler.yaml --backlog run'];
const SHOWN = ['scheduler tick', 'scheduler failures', 'scheduler explain bookings 4', 'scheduler events'];

/** Commands on an empty database and what they print, with its colors. The folder has the command in its "bin". */
export async function record(url: string, folder: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(BOOKINGS).finally(() => client.end());
  const file = readPage('README.md').blocks.find((block) => block.file)!;
  writeFileSync(join(folder, file.file!), file.text);
  for (const command of BEFORE) await onTerminal(command, url, folder);
  let printed = '';
  for (const command of SHOWN) printed += `$ ${command}\n${await onTerminal(command, url, folder)}\n`;
  return printed.trimEnd();
}

async function onTerminal(command: string, url: string, folder: string): Promise<string> {
  const child = spawn('script', ['-qec', `stty cols ${COLUMNS} rows 40; ${command}`, '/dev/null'], {
    cwd: folder,
    env: {
      ...{ HOME: folder, TERM: 'xterm', DATABASE_URL: url, SCHEDULER_LOG_LEVEL: 'warn' },
      PATH: `${join(folder, 'bin')}:${dirname(process.execPath)}:/usr/bin:/bin`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { out } = await finished(child);
  return `${out.replaceAll('\r', '').trimEnd()}\n`;
}

const SIZE = 14;
const ADVANCE = SIZE * 0.6;
const LEADING = 20;
const MARGIN = 16;

/** Codes of the terminal that the program uses, as classes. */
const CLASSES: Record<string, string> = { 1: 'b', 31: 'r', 32: 'g', 33: 'y', 90: 'd' };

const inColors = (back: string, text: string, red: string, green: string, yellow: string, dim: string) =>
  `rect { fill: ${back}; } text { fill: ${text}; } .r { fill: ${red}; } .g { fill: ${green}; } .y { fill: ${yellow}; } .d { fill: ${dim}; }`;
const LIGHT = inColors('#f6f8fa', '#1f2328', '#cf222e', '#1a7f37', '#7d4e00', '#59636e');
const DARK = inColors('#151b23', '#f0f6fc', '#ff7b72', '#56d364', '#e3b341', '#9198a1');

export function draw(session: string): string {
  const lines = session.split('\n').flatMap(folded);
  const [width, height] = [COLUMNS * ADVANCE + 2 * MARGIN, lines.length * LEADING + 2 * MARGIN];
  const drawn = lines.flatMap((line, n) => {
    const length = stripVTControlCharacters(line).length;
    const y = MARGIN + (n + 0.75) * LEADING;
    return length === 0
      ? []
      : `<text x="${MARGIN}" y="${y}" textLength="${round(length * ADVANCE)}">${spans(line)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${round(width)} ${height}" width="${round(width)}" height="${height}" role="img" xml:space="preserve">
<title>A terminal session: a tick, the row that it could not change, and why</title>
<style>
text { font: ${SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre; }
.b { font-weight: bold; }
${LIGHT}
@media (prefers-color-scheme: dark) { ${DARK} }
</style>
<rect width="100%" height="100%" rx="8"/>
${drawn.join('\n')}
</svg>
`;
}

/** As a terminal breaks a line that is too long. */
const folded = (line: string): string[] =>
  stripVTControlCharacters(line).length <= COLUMNS
    ? [line]
    : (stripVTControlCharacters(line).match(new RegExp(`.{1,${COLUMNS}}`, 'g')) ?? []);

const round = (value: number) => Number(value.toFixed(1));

function spans(line: string): string {
  const classes = new Set<string>();
  const [start, ...parts] = line.replace(/^\$ (.*)$/, '\x1b[90m$\x1b[39m \x1b[1m$1\x1b[22m').split('\x1b[');
  return [
    escaped(start!),
    ...parts.map((part) => {
      const [, code, text] = /^(\d+)m(.*)$/.exec(part)!;
      if (code === '22') classes.delete('b');
      else if (code === '39') for (const each of ['r', 'g', 'y', 'd']) classes.delete(each);
      else classes.add(CLASSES[code!]!);
      const words = escaped(text!);
      return classes.size > 0 && words ? `<tspan class="${[...classes].join(' ')}">${words}</tspan>` : words;
    }),
  ].join('');
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** What can be read in a drawing. */
export const wordsOf = (svg: string): string =>
  [...svg.matchAll(/<text [^>]*>(.*)<\/text>/g)]
    .map(([, line]) =>
      line!
        .replace(/<[^>]+>/g, '')
        .replaceAll('&lt;', '<')
        .replaceAll('&amp;', '&'),
    )
    .join('\n');
