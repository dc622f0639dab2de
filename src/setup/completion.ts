import { type ArgumentLine, type CommandEntry, type CommandLine, flagsOf, type OptionLine } from './command-line.ts';

/**
 * Scripts that complete in a shell by themselves: pressing Tab must not wait for Node. Names that only the database knows are asked for,
 * and left out if it does not answer.
 */
export const COMPLETIONS = { bash, zsh, fish };
export type Shell = keyof typeof COMPLETIONS;

const takingValues = (options: OptionLine[]) => options.filter(({ value }) => value !== undefined);

/** Every option with a value: what comes after one is neither a command nor an argument. */
const valued = ({ options, commands }: CommandLine): string[] => [
  ...new Set(takingValues([...options, ...commands.flatMap((each) => each.options)]).flatMap(flagsOf)),
];

/** What the database is asked for, by the name of an argument, and of the value of an option. */
const OF_ARGUMENTS: Asked = { job: 'jobs', 'action-or-job': 'jobs', name: 'jobs', id: 'ids', channel: 'channels' };
const OF_OPTIONS: Asked = { type: 'types', schema: 'tenants', schemas: 'tenants' };
type Asked = Record<string, string | undefined>;

/** These say where it is. The word before the cursor may be the job whose ids are wanted. */
const PLACE = ['--env-file', '--tenant'];

/** The arguments that are files or one of some names, each with its place; one that may be repeated is in every place. */
const listed = ({ args }: CommandEntry) =>
  args
    .map(({ name, choices, summary, variadic, after }, n) => ({
      ...{ asked: OF_ARGUMENTS[name], summary, after },
      names: choices.join(' '),
      place: variadic ? undefined : n,
      isFile: name === 'file',
    }))
    .filter(({ asked, names, isFile }) => asked !== undefined || names !== '' || isFile);

/** For the shell: in quotes that nothing inside can end. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

// ── bash

// Written for bash 3.2 too, which macOS still brings. A word with "=" comes in three.
function bash(line: CommandLine): string {
  const { name, commands } = line;
  return `# bash completion for ${name}, made by "${name} completion bash"
_${name}() {
  local IFS=$' \\t\\n' current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= place=0 words= option n
  local -a where
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((n = 1; n < COMP_CWORD; n++)); do
    case \${COMP_WORDS[n]} in
      ${valued(line).join('|')})
        option=\${COMP_WORDS[n]}
        ((n++))
        [[ \${COMP_WORDS[n]} == = ]] && ((n++))
        [[ \${COMP_WORDS[n]} && $option =~ ^(${PLACE.join('|')})$ ]] && where+=("$option" "\${COMP_WORDS[n]}") ;;
      --embedded) where+=(--embedded) ;;
      -*) ;;
      *) if [[ $command ]]; then ((place++)); else command=\${COMP_WORDS[n]}; fi ;;
    esac
  done
  COMPREPLY=()
  case "$command $previous" in
${bashValues(line)}
  esac
  if [[ $current == -* ]]; then
    case $command in
${commands.map((each) => `      ${each.name}) words=${quoted(words(each.options))} ;;`).join('\n')}
    esac
    words+=${quoted(` ${words(line.options)}`)}
  elif [[ ! $command ]]; then
    words=${quoted(commands.map((each) => each.name).join(' '))}
  else
    case "$command $place $previous" in
${commands.flatMap((each) => listed(each).flatMap((arg) => bashArgument(line, each.name, arg))).join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _${name} ${name}
`;
}

type Listed = ReturnType<typeof listed>[number];

function bashArgument(line: CommandLine, command: string, { place, names, asked, after, isFile }: Listed): string[] {
  const at = `${quoted(`${command} `)}${place ?? '*'}' '`;
  if (isFile) return [`      ${at}*) ${BASH_FILES}COMPREPLY=($(compgen -f -- "$current")); return ;;`];
  const patterns = after ? after.map((word) => at + word) : [`${at}*`];
  return [
    `      ${patterns.join('|')}) words=${quoted(names)}${bashAsking(line, asked)} ;;`,
    ...(after ? [`      ${at}*) words=${bashAsking(line, 'ids')} ;;`] : []),
  ];
}

const BASH_FILES = `IFS=$'\\n'; compopt -o filenames 2>/dev/null; `;

const words = (options: OptionLine[]) => options.flatMap(flagsOf).join(' ');

/** The names of the database are one word each, and nothing that bash would expand. */
const bashAsked = ({ name }: CommandLine, asked: string) =>
  `$(${name} \${where[@]+"\${where[@]}"} completion --names ${asked} --of="$previous" 2>/dev/null)`;

const bashAsking = (line: CommandLine, asked?: string) => (asked ? `" ${bashAsked(line, asked)}"` : '');

function bashValues(line: CommandLine): string {
  const { options, commands } = line;
  const cases = [
    ...commands.flatMap((each) => takingValues(each.options).map((option) => bashValue(line, `${each.name} `, option))),
    ...takingValues(options).map((option) => bashValue(line, '*', option)),
  ];
  return cases.map((each) => `    ${each} return ;;`).join('\n');
}

function bashValue(line: CommandLine, before: string, option: OptionLine): string {
  const pattern = flagsOf(option)
    .map((flag) => (before === '*' ? `*' ${flag}'` : quoted(before + flag)))
    .join('|');
  const asked = OF_OPTIONS[option.value!];
  const choices =
    option.choices.length > 0 ? `-W ${quoted(option.choices.join(' '))}` : asked && `-W "${bashAsked(line, asked)}"`;
  const words = choices ?? { file: '-f', command: '-c', user: '-u' }[option.value!];
  if (words === undefined) return `${pattern})`;
  const asFiles = words === '-f' ? BASH_FILES : '';
  return `${pattern}) ${asFiles}COMPREPLY=($(compgen ${words} -- "$current"));`;
}

// ── zsh

function zsh(line: CommandLine): string {
  const { name, commands } = line;
  const options = line.options.map((option) => zshOption(name, option));
  return `#compdef ${name}
# zsh completion for ${name}, made by "${name} completion zsh"
_${name}_names() {
  local -a where
  local n
  for ((n = 2; n < $#typed; n++)); do
    case $typed[n] in
      --embedded) where+=(--embedded) ;;
      ${PLACE.join('|')}) where+=($typed[n] \${(Q)typed[n+1]}) ;;
    esac
  done
  compadd -- $(${name} $where completion --names $1 --of="$words[CURRENT-1]" 2>/dev/null)
}
_${name}() {
  local curcontext=$curcontext state line
  local -a commands everywhere typed=($words[1,CURRENT-1])
  local -A opt_args
  commands=(
${commands.map((each) => `    ${quoted(`${each.name}:${each.summary}`)}`).join('\n')}
  )
  everywhere=(
${options.map((each) => `    ${each}`).join('\n')}
  )
  _arguments -C $everywhere '1: :->command' '*:: :->rest' && return
  case $state in
    command) _describe -t commands command commands ;;
    rest)
      case $words[1] in
${commands.map((each) => zshCommand(name, each)).join('\n')}
      esac ;;
  esac
}
if [[ $funcstack[1] == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}

function zshCommand(program: string, { name, options, args }: CommandEntry): string {
  const specs = [
    ...options.map((option) => zshOption(program, option)),
    ...args.map((each) => quoted(`${each.variadic ? '*' : ''}::${zshText(each.name)}:${zshArgument(program, each)}`)),
  ];
  return `        ${name}) _arguments ${['$everywhere', ...specs].join(' \\\n          ')} ;;`;
}

function zshArgument(program: string, { name, choices, after }: ArgumentLine): string {
  if (name === 'file') return '_files';
  const choice = zshChoice(program, choices, OF_ARGUMENTS[name]);
  if (!after) return choice;
  return `{if [[ $words[CURRENT-1] == (${after.join('|')}) ]]; then ${choice.slice(1, -1)}; else _${program}_names ids; fi}`;
}

/** Inside a description, some characters mean something to _arguments. */
const zshText = (text: string) => text.replace(/[[\]:\\]/g, '\\$&');

function zshOption(program: string, option: OptionLine): string {
  const { short, long, summary, value } = option;
  const rest = `[${zshText(summary)}]${value === undefined ? '' : `:${zshText(value)}:${zshAction(program, option)}`}`;
  // Without -S an "=" may follow the name, or the next word.
  const spec = (flag: string) => quoted(value === undefined || flag === short ? flag + rest : `${flag}=${rest}`);
  return short ? `${quoted(`(${short} ${long})`)}{${quoted(short + rest)},${spec(long)}}` : spec(long);
}

/** Some words, and what the database is asked for. */
function zshChoice(program: string, choices: string[], asked?: string): string {
  if (!asked) return choices.length > 0 ? `(${choices.join(' ')})` : ' ';
  return `{${choices.length > 0 ? `compadd -- ${choices.join(' ')}; ` : ''}_${program}_names ${asked}}`;
}

function zshAction(program: string, { value, choices }: OptionLine): string {
  const known = { file: '_files', command: '_command_names', user: '_users' }[value!];
  return known ?? zshChoice(program, choices, OF_OPTIONS[value!]);
}

// ── fish

function fish(line: CommandLine): string {
  const { name, commands } = line;
  const complete = (condition: string, rest: string) => `complete -c ${name} -n ${fishQuoted(condition)} ${rest}`;
  const about = (text: string) => `-d ${fishQuoted(text)}`;
  return `# fish completion for ${name}, made by "${name} completion fish"
function __${name}_at -d 'whether the command, and the place among its arguments, are these'
    set -l words (commandline -opc)
    set -e words[1]
    set -l command
    set -l place 0
    while set -q words[1]
        switch $words[1]
            case ${valued(line).join(' ')}
                set -e words[1]
            case '-*'
            case '*'
                if set -q command[1]
                    set place (math $place + 1)
                else
                    set command $words[1]
                end
        end
        set -q words[1]; and set -e words[1]
    end
    test "$command" = "$argv[1]"; or return 1
    not set -q argv[2]; or test $place = $argv[2]
end
function __${name}_names -d 'names that the database knows'
    set -l words (commandline -opc)
    set -l where
    for n in (seq 2 (count $words))
        switch $words[$n]
            case --embedded
                set -a where $words[$n]
            case ${PLACE.join(' ')}
                test $n -lt (count $words); and set -a where $words[$n] $words[(math $n + 1)]
        end
    end
    ${name} $where completion --names $argv[1] --of=$words[-1] 2>/dev/null
end
complete -c ${name} -f
${line.options.map((option) => `complete -c ${name} ${fishOption(name, option)} ${about(option.summary)}`).join('\n')}
${commands.map((each) => complete(`__${name}_at ''`, `-a ${each.name} ${about(each.summary)}`)).join('\n')}
${commands
  .flatMap((each) => {
    const at = `__${name}_at ${each.name}`;
    return [
      ...each.options.map((option) => complete(at, `${fishOption(name, option)} ${about(option.summary)}`)),
      ...listed(each).flatMap(({ asked, names, summary, place, after, isFile }) => {
        const here = place === undefined ? at : `${at} ${place}`;
        if (isFile) return complete(here, `-F ${about(summary)}`);
        const isAfter = after && `contains -- (commandline -opc)[-1] ${after.join(' ')}`;
        const offer = (all: string[]) => `-a ${fishQuoted(all.join(' ').trim())} ${about(summary)}`;
        return [
          complete(isAfter ? `${here}; and ${isAfter}` : here, offer([names, ...fishAsked(name, asked)])),
          ...(isAfter ? [complete(`${here}; and not ${isAfter}`, offer(fishAsked(name, 'ids')))] : []),
        ];
      }),
    ];
  })
  .join('\n')}
`;
}

const fishQuoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;

const fishAsked = (program: string, asked?: string) => (asked ? [`(__${program}_names ${asked})`] : []);

function fishOption(program: string, { short, long, value, choices }: OptionLine): string {
  const flags = `${short ? `-s ${short.slice(1)} ` : ''}-l ${long.slice(2)}`;
  if (value === undefined) return flags;
  if (choices.length > 0) return `${flags} -x -a ${fishQuoted(choices.join(' '))}`;
  const [asked] = fishAsked(program, OF_OPTIONS[value]);
  const known = {
    ...(asked && { [value]: `-x -a ${fishQuoted(asked)}` }),
    file: '-r -F',
    command: `-x -a '(__fish_complete_command)'`,
    user: `-x -a '(__fish_complete_users)'`,
  };
  return `${flags} ${known[value as keyof typeof known] ?? '-x'}`;
}
