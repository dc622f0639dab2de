/** The whole command line as plain data: what completions and the manual page are made from. */
export interface CommandLine {
  name: string;
  summary: string;
  /** Those of every command. */
  options: OptionLine[];
  commands: CommandEntry[];
}

export interface CommandEntry {
  name: string;
  summary: string;
  /** The heading under which --help shows it. */
  group: string;
  /** What follows its name, such as "[options] [job]". */
  usage: string;
  args: ArgumentLine[];
  /** Its own. */
  options: OptionLine[];
  examples: string[];
  exits: Record<string, string>;
}

export interface OptionLine {
  short?: string;
  long: string;
  summary: string;
  /** The name of the value that it takes, such as "time"; none for a switch. */
  value?: string;
  choices: string[];
  fallback?: string;
}

export interface ArgumentLine {
  name: string;
  summary: string;
  variadic: boolean;
  choices: string[];
  /** It is one of its choices behind these words only, and an id behind a job. */
  after?: string[];
}

export const flagsOf = ({ short, long }: OptionLine): string[] => (short ? [short, long] : [long]);
