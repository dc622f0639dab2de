import { maskPhone } from '../../../base/mask.ts';
import type { Provider, SmsGateway } from '../settings.ts';
import { africasTalking } from './africastalking.ts';
import type { Dialect, Outcome, Sms } from './dialect.ts';
import { twilio } from './twilio.ts';
import { webhook } from './webhook.ts';

const DIALECTS: Record<Exclude<Provider, 'log'>, Dialect> = { africastalking: africasTalking, twilio, webhook };

/**
 * Sends one SMS and says what became of it; never rejects. No outcome holds a credential, the text or a full phone
 * number. With the gateway `log` it only says so, through `say`.
 */
export async function sendSms(
  gateway: SmsGateway,
  { to, text, reference }: Sms,
  signal: AbortSignal,
  say: (sentence: string) => void,
): Promise<Outcome> {
  if (gateway.provider === 'log') {
    say(`Would send an SMS of ${text.length} characters to ${maskPhone(to)}; SCHEDULER_SMS names no gateway`);
    return { kind: 'logged' };
  }
  const { post } = await import('../../../net/http.ts');
  const { ask, read } = DIALECTS[gateway.provider];
  const number = international(to);
  // Gateways take a list of numbers for several recipients: a password goes to one.
  if (!/^\+?\d{5,15}$/.test(number)) return { kind: 'rejected', reason: 'it is not one phone number' };
  const sms = { to: number, text, reference };
  const request = ask(gateway, sms);
  const headers = { ...request.headers, 'idempotency-key': encodeURIComponent(reference) };
  const answer = await post({ ...request, headers }, gateway.timeoutMs, signal);
  if (!('status' in answer)) return { kind: answer.left ? 'unknown' : 'refused', reason: answer.reason };
  const { status, body, retryAfter } = answer;
  const isPage = body.trimStart().startsWith('<');
  const outcome = read({ status, ok: status >= 200 && status <= 299, isPage, data: json(body) }, sms);
  const wait = secondsOf(retryAfter);
  return outcome.kind === 'refused' && !outcome.ofRecipient && wait ? { ...outcome, wait } : outcome;
}

/** M-Pesa writes 254712345678, the gateways want +254712345678. A number in national form stays as it is. */
function international(phone: string): string {
  const bare = phone.replace(/[\s().-]/g, '').replace(/^00(?=[1-9])/, '+');
  return /^[1-9]\d{7,14}$/.test(bare) ? `+${bare}` : bare;
}

const LONGEST_WAIT = 3600;

/** Retry-After is a number of seconds or a date. */
function secondsOf(retryAfter = ''): number {
  const seconds = /^\d+$/.test(retryAfter)
    ? Number(retryAfter)
    : Math.ceil((Date.parse(retryAfter) - Date.now()) / 1000);
  return Math.min(Math.max(seconds || 0, 0), LONGEST_WAIT);
}

function json(text: string): Record<string, unknown> {
  try {
    return (JSON.parse(text) as Record<string, unknown> | null) ?? {};
  } catch {
    return {};
  }
}
