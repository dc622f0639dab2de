/** Commands that an operator is told to run: what is pasted must do what was meant. */

/** A word as a shell reads it. */
export const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

export const ofTenant = (tenant: string | null | undefined): string[] => (tenant ? [`--tenant ${quoted(tenant)}`] : []);

/** A command of this program in quotes, for the tenant that was named, if any. */
export const commandFor = (tenant: string | null | undefined, words: string): string =>
  `"${['scheduler', words, ...ofTenant(tenant)].join(' ')}"`;
