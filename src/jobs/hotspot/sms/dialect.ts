import type { Answer, Post } from '../../../net/http.ts';

export interface Sms {
  to: string;
  text: string;
  /** The same for every attempt at this message, so that a gateway which can will send it once. */
  reference: string;
}

export type Outcome =
  | { kind: 'sent'; messageId?: string }
  /** Not sent. Permanent: trying again cannot help, as it is the number or the message that is refused. */
  | { kind: 'refused'; reason: string; permanent: boolean }
  /** The request left and no answer came: the SMS may be on its way or not. */
  | { kind: 'unknown'; reason: string };

/** One provider's request, and how its answers read. */
export interface Dialect {
  post: Post;
  read(answer: Answer): Outcome;
}

export const sent = (messageId?: string): Outcome => ({ kind: 'sent', ...(messageId && { messageId }) });
export const refused = (reason: string, permanent = false): Outcome => ({ kind: 'refused', reason, permanent });
export const unknown = (reason: string): Outcome => ({ kind: 'unknown', reason });

/** A base URL and a path, whether or not the base ends in a slash. */
export const under = (base: string, path: string) => base.replace(/\/+$/, '') + path;

/** The id a gateway gave the message, if it looks like one and is no echo of the message itself. */
export function messageId(value: unknown, { to, text }: Sms): string | undefined {
  if (typeof value !== 'string' || !/^[\w.:-]{1,100}$/.test(value) || value === 'None') return undefined;
  return text.includes(value) || value.includes(to.replace(/\D/g, '')) ? undefined : value;
}

export function json(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
