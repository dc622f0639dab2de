import { askAfricasTalking } from './africastalking.ts';
import type { Answer, Post } from './http.ts';
import { maskPhone } from './secrets.ts';
import type { Provider, SmsGateway } from './settings.ts';
import { askTwilio } from './twilio.ts';
import { askWebhook } from './webhook.ts';

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

const DIALECTS: Record<Exclude<Provider, 'log'>, (gateway: SmsGateway, sms: Sms) => Dialect> = {
  africastalking: askAfricasTalking,
  twilio: askTwilio,
  webhook: askWebhook,
};

/**
 * Sends one SMS and says what became of it; never rejects. No outcome holds a credential, the text or a full phone
 * number. With the gateway `log` it only says so, through `say`.
 */
export async function sendSms(
  gateway: SmsGateway,
  sms: Sms,
  signal: AbortSignal,
  say: (sentence: string) => void = () => {},
): Promise<Outcome> {
  if (gateway.provider === 'log') {
    say(`Would send an SMS of ${sms.text.length} characters to ${maskPhone(sms.to)}; SCHEDULER_SMS names no gateway`);
    return { kind: 'sent' };
  }
  const { post } = await import('./http.ts');
  const dialect = DIALECTS[gateway.provider](gateway, { ...sms, to: international(sms.to) });
  const answer = await post(dialect.post, gateway.timeoutMs, signal);
  if ('status' in answer) return dialect.read(answer);
  return answer.left ? unknown(answer.reason) : refused(answer.reason);
}

export const sent = (messageId?: string): Outcome => ({ kind: 'sent', ...(messageId && { messageId }) });
export const refused = (reason: string, permanent = false): Outcome => ({ kind: 'refused', reason, permanent });
export const unknown = (reason: string): Outcome => ({ kind: 'unknown', reason });

/** A base URL and a path, whether or not the base ends in a slash. */
export const under = (base: string, path: string) => base.replace(/\/+$/, '') + path;

/** M-Pesa writes 254712345678, the gateways want +254712345678. A number in national form stays as it is. */
function international(phone: string): string {
  const bare = phone.replace(/[\s().-]/g, '').replace(/^00(?=[1-9])/, '+');
  return /^[1-9]\d{7,14}$/.test(bare) ? `+${bare}` : bare;
}

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
