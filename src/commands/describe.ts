import type { Argument, Command, Option } from 'commander';
import type { ArgumentLine, CommandEntry, CommandLine, OptionLine } from '../setup/command-line.ts';
import { helpOf } from './command.ts';

/** The definitions that --help shows and the parser obeys, as data. */
export function describe(program: Command): CommandLine {
  const help = program.createHelp();
  return {
    name: program.name(),
    summary: program.description(),
    options: help.visibleOptions(program).map(option),
    commands: help.visibleCommands(program).map(entry),
  };
}

function entry(command: Command): CommandEntry {
  const { examples, exits } = helpOf(command);
  return {
    name: command.name(),
    summary: command.description(),
    group: command.helpGroup(),
    usage: command.usage(),
    args: command.registeredArguments.map(argument),
    options: command.options.filter((each) => !each.hidden).map(option),
    examples,
    exits,
  };
}

function option(each: Option): OptionLine {
  const value = /[<[]([^>\]]+)/.exec(each.flags)?.[1];
  return {
    ...(each.short !== undefined && { short: each.short }),
    long: each.long!,
    summary: each.description,
    ...(value !== undefined && { value }),
    choices: choicesOf(each),
    // A switch that is off unless given needs no word.
    ...(value !== undefined && each.defaultValue !== undefined && { fallback: String(each.defaultValue) }),
  };
}

function argument(each: Argument): ArgumentLine {
  const { after } = (each.parseArg ?? {}) as { after?: string[] };
  return {
    ...{ name: each.name(), summary: each.description, variadic: each.variadic, choices: choicesOf(each) },
    ...(after && { after }),
  };
}

function choicesOf({ argChoices, parseArg }: Option | Argument): string[] {
  return argChoices ?? (parseArg as { choices?: string[] } | undefined)?.choices ?? [];
}
