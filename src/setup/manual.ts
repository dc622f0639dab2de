import { isDeepStrictEqual } from 'node:util';
import type { allVariables } from '../base/config.ts';
import { BUILT, VERSION } from '../base/version.ts';
import { type CommandEntry, type CommandLine, flagsOf, type OptionLine } from './command-line.ts';
import { CONCEPTS, FILES, SETTINGS } from './manual-words.ts';

/** Defaults that depend on where the program runs, not on where the page was made. */
const FALLBACKS: Record<string, string> = {
  SCHEDULER_LOG_LEVEL: 'info on a terminal, else warn',
  SCHEDULER_LOG_FORMAT: 'text on a terminal, else json',
};

/** The manual page, in the macros of man(7). */
export function manualPage(
  { name, summary, commands, options }: CommandLine,
  variables: ReturnType<typeof allVariables>,
): string {
  // Those of the tick, which has them all; a command that means something else by one says so itself.
  const exits: Record<string, string> = commands[0]!.exits;
  const section = (title: string, ...lines: string[]) => [`.SH ${title}`, ...lines];
  return [
    `.TH ${name.toUpperCase()} 1 "${BUILT}" ${argument(`${name} ${VERSION}`)} "User Commands"`,
    ...section('NAME', `${name} \\- ${text(synopsis(summary))}`),
    ...section('SYNOPSIS', `.B ${name}`, `.RI [ options ]`, '.I command', `.RI [ argument " ...]"`),
    ...section(
      'DESCRIPTION',
      ...paragraph(summary),
      ...paragraph(
        'A run makes one pass over everything whose time has come, tells listeners through NOTIFY, records what it did, and ends. Running it twice, or by twenty machines at once, does everything once.',
      ),
      '.PP',
      ...paragraph(
        'Results go to standard output, warnings and errors to standard error. A run that changed nothing prints nothing, unless it is on a terminal or --json asks.',
      ),
    ),
    ...section('CONCEPTS', ...Object.entries(CONCEPTS).flatMap(([word, words]) => tagged(`.B ${text(word)}`, words))),
    ...section('OPTIONS', 'These are for every command.', ...options.flatMap(definition)),
    ...section(
      'COMMANDS',
      ...commands.flatMap((each, n) => [
        ...(each.group === commands[n - 1]?.group ? [] : [`.SS ${argument(each.group.replace(/:$/, ''))}`]),
        ...described(each, exits, commands.slice(0, n)),
      ]),
    ),
    ...section('EXIT STATUS', ...Object.entries(exits).flatMap(([code, meaning]) => tagged(`.B ${code}`, meaning))),
    ...section(
      'ENVIRONMENT',
      ...tagged('.B DATABASE_URL', 'The database: postgresql://user:password@host:5432/database.'),
      ...tagged(
        '.BR PGHOST ", " PGPORT ", " PGDATABASE ", " PGUSER ", " PGPASSFILE',
        "As libpq's, where there is no DATABASE_URL.",
      ),
      ...variables.flatMap(({ env, fallback, valid }) =>
        tagged(`.B ${env}`, `${SETTINGS[env]}. Valid: ${valid}. Default: ${FALLBACKS[env] ?? (fallback || 'none')}.`),
      ),
    ),
    ...section('FILES', ...Object.entries(FILES).flatMap(([path, words]) => tagged(`.I ${text(path)}`, words))),
    ...section('SEE ALSO', '.BR cron (8),', '.BR systemd.timer (5),', '.BR psql (1)'),
    '',
  ].join('\n');
}

function described(command: CommandEntry, usual: Record<string, string>, before: CommandEntry[]): string[] {
  const { name, usage, summary, args, options, examples } = command;
  const alike = before.find((each) => options.length > 1 && isDeepStrictEqual(each.options, options));
  const ownExits = Object.entries(command.exits).filter(([code, meaning]) => usual[code] !== meaning);
  return [
    '.TP',
    `.B ${text(`${name} ${usage}`.trim())}`,
    ...paragraph(`${capital(summary)}.`),
    '.RS',
    ...args.filter((each) => each.summary).flatMap((each) => tagged(`.I ${text(each.name)}`, withChoices(each))),
    ...(alike ? ['.PP', `Its options are those of \\fB${text(alike.name)}\\fR.`] : options.flatMap(definition)),
    ...ownExits.flatMap(([code, meaning]) => tagged(`Exit status \\fB${code}\\fR`, `${capital(meaning)}.`)),
    '.PP',
    'Examples:',
    '.PP',
    '.EX',
    ...examples.map(text),
    '.EE',
    '.RE',
  ];
}

function definition(option: OptionLine): string[] {
  const { value, fallback } = option;
  const tag = `${flagsOf(option)
    .map((flag) => `\\fB${text(flag)}\\fR`)
    .join(', ')}${value === undefined ? '' : ` \\fI${text(value)}\\fR`}`;
  return tagged(tag, withChoices(option) + (fallback === undefined ? '' : ` Default: ${fallback}.`));
}

const withChoices = ({ summary, choices }: { summary: string; choices: string[] }) =>
  `${capital(summary)}.${choices.length > 0 ? ` One of: ${choices.join(', ')}.` : ''}`;

const tagged = (tag: string, words: string) => ['.TP', tag, ...paragraph(words)];

const capital = (words: string) => words.charAt(0).toUpperCase() + words.slice(1);

/** As whatis(1) lists it: the first sentence, as a remark. */
const synopsis = (words: string) => words.charAt(0).toLowerCase() + words.slice(1, words.indexOf('. '));

/** Words as they are: a hyphen can be copied, and no line begins with what roff takes for a command. */
function text(words: string): string {
  const escaped = words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('…', '\\&...');
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

// As mandoc(1) likes them; roff fills its lines anew.
const LONGEST_LINE = 78;

function paragraph(words: string): string[] {
  const lines = text(words).match(new RegExp(`\\S(.{0,${LONGEST_LINE - 2}}\\S)?(?=\\s|$)`, 'g')) ?? [];
  return lines.map((line) => (/^[.']/.test(line) ? `\\&${line}` : line));
}

/** The argument of a macro, in roff's quotes. */
const argument = (words: string) => `"${text(words).replaceAll('"', '\\(dq')}"`;
