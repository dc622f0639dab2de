/** What "migrate" and "uninstall" do to a database, one thing at a time. */
export interface Step {
  does: keyof typeof DONE;
  what: 'migration' | 'schema' | 'table' | 'column' | 'index' | 'right';
  name: string;
  /** Why it is kept, or what goes with it. */
  note?: string;
}

export type Report = (step: Step) => void;

const DONE = {
  apply: 'applied',
  make: 'made',
  add: 'added',
  build: 'built',
  rebuild: 'rebuilt',
  drop: 'dropped',
  keep: 'kept',
};

export const sentenceOf = ({ does, what, name, note }: Step, isDry: boolean): string =>
  `${isDry ? `would ${does}` : DONE[does]} the ${what} ${name}${note ? `: ${note}` : ''}`;

/**
 * Each thing that was added says so itself, in its comment: that outlives another name, a dump, and the loss of the schema "scheduler".
 * "uninstall" takes away what bears such a mark, and nothing else.
 */
const mark = (word: string, command = 'migrate') => `${word} by "scheduler ${command}"`;
export const ADDED = mark('Added');
export const ADDED_BY_APPLY = mark('Added', 'apply');
export const MADE = mark('Made');
/** A table that only the scheduler uses goes with its rows. */
export const MADE_FOR_ITSELF = `${MADE} for itself`;

export const marked = (words: string | undefined, by: string): string => (words ? `${words} ${by}.` : `${by}.`);
export const isMarked = (comment: string | null): comment is string => comment?.startsWith(ADDED) ?? false;

/** An index says what it was built from: another zone, or a later version, builds it anew. */
export const builtAs = (definition: string): string => `${ADDED}: ${definition}`;
