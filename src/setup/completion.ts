import { type ArgumentLine, type CommandEntry, type CommandLine, flagsOf, type OptionLine } from './command-line.ts';

/** Scripts that complete in a shell by themselves: pressing Tab must not wait for Node. */
export const COMPLETIONS = { bash, zsh, fish };
export type Shell = keyof typeof COMPLETIONS;

const takingValues = (options: OptionLine[]) => options.filter(({ value }) => value !== undefined);

/** Every option with a value: what comes after one is neither a command nor an argument. */
const valued = ({ options, commands }: CommandLine): string[] => [
  ...new Set(takingValues([...options, ...commands.flatMap((each) => each.options)]).flatMap(flagsOf)),
];

/** The arguments that are one of some names, each with its place; one that may be repeated is in every place. */
const listed = ({ args }: CommandEntry) =>
  args
    .map(({ choices, summary, variadic }, n) => ({
      names: choices.join(' '),
      summary,
      place: variadic ? undefined : n,
    }))
    .filter(({ names }) => names !== '');

/** For the shell: in quotes that nothing inside can end. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

// ── bash

// Written for bash 3.2 too, which macOS still brings. A word with "=" comes in three.
function bash(line: CommandLine): string {
  const { name, commands } = line;
  return `# bash completion for ${name}, made by "${name} completion bash"
_${name}() {
  local IFS=$' \\t\\n' current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= place=0 words= n
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((n = 1; n < COMP_CWORD; n++)); do
    case \${COMP_WORDS[n]} in
      ${valued(line).join('|')})
        ((n++))
        [[ \${COMP_WORDS[n]} == = ]] && ((n++)) ;;
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
    case "$command $place" in
${commands.flatMap((each) => listed(each).map((arg) => `      ${quoted(`${each.name} `)}${arg.place ?? '*'}) words=${quoted(arg.names)} ;;`)).join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _${name} ${name}
`;
}

const words = (options: OptionLine[]) => options.flatMap(flagsOf).join(' ');

function bashValues({ options, commands }: CommandLine): string {
  const cases = [
    ...commands.flatMap((each) => takingValues(each.options).map((option) => bashValue(`${each.name} `, option))),
    ...takingValues(options).map((option) => bashValue('*', option)),
  ];
  return cases.map((each) => `    ${each} return ;;`).join('\n');
}

function bashValue(before: string, option: OptionLine): string {
  const pattern = flagsOf(option)
    .map((flag) => (before === '*' ? `*' ${flag}'` : quoted(before + flag)))
    .join('|');
  const choices = option.choices.length > 0 ? `-W ${quoted(option.choices.join(' '))}` : undefined;
  const words = choices ?? { file: '-f', command: '-c', user: '-u' }[option.value!];
  if (words === undefined) return `${pattern})`;
  const asFiles = words === '-f' ? `IFS=$'\\n'; compopt -o filenames 2>/dev/null; ` : '';
  return `${pattern}) ${asFiles}COMPREPLY=($(compgen ${words} -- "$current"));`;
}

// ── zsh

function zsh(line: CommandLine): string {
  const { name, commands } = line;
  const options = line.options.map(zshOption);
  return `#compdef ${name}
# zsh completion for ${name}, made by "${name} completion zsh"
_${name}() {
  local curcontext=$curcontext state line
  local -a commands everywhere
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
${commands.map(zshCommand).join('\n')}
      esac ;;
  esac
}
if [[ $funcstack[1] == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}

function zshCommand({ name, options, args }: CommandEntry): string {
  const specs = [...options.map(zshOption), ...args.map(zshArgument)];
  return `        ${name}) _arguments ${['$everywhere', ...specs].join(' \\\n          ')} ;;`;
}

/** Inside a description, some characters mean something to _arguments. */
const zshText = (text: string) => text.replace(/[[\]:\\]/g, '\\$&');

function zshOption(option: OptionLine): string {
  const { short, long, summary, value } = option;
  const rest = `[${zshText(summary)}]${value === undefined ? '' : `:${zshText(value)}:${zshAction(option)}`}`;
  // Without -S an "=" may follow the name, or the next word.
  const spec = (flag: string) => quoted(value === undefined || flag === short ? flag + rest : `${flag}=${rest}`);
  return short ? `${quoted(`(${short} ${long})`)}{${quoted(short + rest)},${spec(long)}}` : spec(long);
}

function zshArgument({ name, choices, variadic }: ArgumentLine): string {
  return quoted(`${variadic ? '*' : ''}::${zshText(name)}:${choices.length > 0 ? `(${choices.join(' ')})` : ' '}`);
}

function zshAction({ value, choices }: OptionLine): string {
  if (choices.length > 0) return `(${choices.join(' ')})`;
  return { file: '_files', command: '_command_names', user: '_users' }[value!] ?? ' ';
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
complete -c ${name} -f
${line.options.map((option) => `complete -c ${name} ${fishOption(option)} ${about(option.summary)}`).join('\n')}
${commands.map((each) => complete(`__${name}_at ''`, `-a ${each.name} ${about(each.summary)}`)).join('\n')}
${commands
  .flatMap((each) => {
    const at = `__${name}_at ${each.name}`;
    return [
      ...each.options.map((option) => complete(at, `${fishOption(option)} ${about(option.summary)}`)),
      ...listed(each).map(({ names, summary, place }) =>
        complete(place === undefined ? at : `${at} ${place}`, `-a ${fishQuoted(names)} ${about(summary)}`),
      ),
    ];
  })
  .join('\n')}
`;
}

const fishQuoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;

function fishOption({ short, long, value, choices }: OptionLine): string {
  const flags = `${short ? `-s ${short.slice(1)} ` : ''}-l ${long.slice(2)}`;
  if (value === undefined) return flags;
  if (choices.length > 0) return `${flags} -x -a ${fishQuoted(choices.join(' '))}`;
  const known = {
    file: '-r -F',
    command: `-x -a '(__fish_complete_command)'`,
    user: `-x -a '(__fish_complete_users)'`,
  };
  return `${flags} ${known[value as keyof typeof known] ?? '-x'}`;
}
