/** What an object holds by a name of the user. A lookup with "[]" also finds what every object inherits, such as "constructor". */
export const entryOf = <T>(all: Record<string, T>, name: string): T | undefined =>
  Object.hasOwn(all, name) ? all[name] : undefined;
