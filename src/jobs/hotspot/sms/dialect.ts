import type { Post } from '../../../net/http.ts';
import type { SmsGateway } from '../settings.ts';

export interface Sms {
  to: string;
  text: string;
  /** The same for every attempt at this message, so that a gateway which can will send it once. */
  reference: string;
}

export type Outcome =
  | { kind: 'sent'; messageId?: string }
  | { kind: 'logged' }
  /** Not sent, and trying again cannot help: the number or the message is refused. */
  | { kind: 'rejected'; reason: string }
  /** Not sent. If it is not about this recipient, it is a fault of the account or the gateway. `wait`: as Retry-After says. */
  | { kind: 'refused'; reason: string; ofRecipient?: true; wait?: number }
  /** The request left, and no acceptance came back: the SMS may be on its way or not. */
  | { kind: 'unknown'; reason: string };

/** One provider's request, and how its answers read. */
export interface Dialect {
  ask(gateway: SmsGateway, sms: Sms): Post;
  /** `data` is the JSON of the body, or empty. A page is HTML: of a proxy or a captive portal, not of a gateway. */
  read(answer: { status: number; ok: boolean; isPage: boolean; data: Record<string, unknown> }, sms: Sms): Outcome;
}

export const refused = (reason: string): Outcome => ({ kind: 'refused', reason });
export const rejected = (reason: string): Outcome => ({ kind: 'rejected', reason });
export const refusedForRecipient = (reason: string): Outcome => ({ kind: 'refused', reason, ofRecipient: true });
export const unknown = (reason: string): Outcome => ({ kind: 'unknown', reason });

/** With the id that the gateway gave the message, if it looks like one and is no echo of the message itself. */
export function sent(id: unknown, { to, text }: Sms): Outcome {
  const isId = typeof id === 'string' && /^[\w.:-]{1,100}$/.test(id) && id !== 'None';
  const isEcho = isId && (text.includes(id) || id.includes(to.replace(/\D/g, '')));
  return { kind: 'sent', ...(isId && !isEcho && { messageId: id }) };
}

/** A form for a path under a base URL, whether or not the base ends in a slash. */
export const form = (base: string, path: string, headers: Post['headers'], fields: Record<string, string>): Post => ({
  url: base.replace(/\/+$/, '') + path,
  headers: { ...headers, accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams(fields).toString(),
});
