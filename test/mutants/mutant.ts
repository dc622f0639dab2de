/** A mistake that somebody might make in the program. Some test of the fast suite has to notice it. */
export interface Mutant {
  file: string;
  /** Found exactly once in the file. */
  text: string;
  replacement: string;
  /** The test files of which one should fail. Behind a "#" stand words of the test's name, to run no other of that file. */
  tests: string[];
  /** Why no test can notice it: then it is not run. */
  reason: string | undefined;
}

/** A text, what stands there instead, and the tests if they are not those of the file. */
type Short = [text: string, replacement: string, tests?: string];

const named = (tests: string) =>
  tests.split(', ').map((test) => {
    const [name, words] = test.split('#');
    return `test/${name}.test.ts${words ? `#${words}` : ''}`;
  });

/** Mutants of one file. Tests are named without "test/" and ".test.ts", with a comma between two. */
export const inFile = (file: string, tests: string, mutants: Short[]): Mutant[] =>
  mutants.map(([text, replacement, own = tests]) => ({
    ...{ file, text, replacement, tests: named(own), reason: undefined },
  }));

/** Those that change nothing that anybody could notice, each with the reason. */
export const harmless = (file: string, mutants: [text: string, replacement: string, reason: string][]): Mutant[] =>
  mutants.map(([text, replacement, reason]) => ({ file, text, replacement, tests: [], reason }));
