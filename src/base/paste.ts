/** Commands that an operator is told to run: what is pasted must do what was meant. */

/** A word as a shell reads it. */
export const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

export const ofTenant = (tenant: string | null | undefined): string[] => (tenant ? [`--tenant ${quoted(tenant)}`] : []);

/** A command of this program in quotes, for the tenant that was named, if any. An id such as "--all" must not be read as an option. */
export function commandFor(tenant: string | null | undefined, words: string, id?: string): string {
  const row = id === undefined ? [] : [quoted(id)];
  const rest = id?.startsWith('-') ? [...ofTenant(tenant), '--', ...row] : [...row, ...ofTenant(tenant)];
  return `"${['scheduler', words, ...rest].join(' ')}"`;
}
