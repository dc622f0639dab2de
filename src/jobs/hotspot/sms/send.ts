import { maskPhone } from '../../../base/mask.ts';
import type { Provider, SmsGateway } from '../settings.ts';
import { askAfricasTalking } from './africastalking.ts';
import { type Dialect, type Outcome, refused, type Sms, unknown } from './dialect.ts';
import { askTwilio } from './twilio.ts';
import { askWebhook } from './webhook.ts';

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
  const { post } = await import('../../../net/http.ts');
  const dialect = DIALECTS[gateway.provider](gateway, { ...sms, to: international(sms.to) });
  const answer = await post(dialect.post, gateway.timeoutMs, signal);
  if ('status' in answer) return dialect.read(answer);
  return answer.left ? unknown(answer.reason) : refused(answer.reason);
}

/** M-Pesa writes 254712345678, the gateways want +254712345678. A number in national form stays as it is. */
function international(phone: string): string {
  const bare = phone.replace(/[\s().-]/g, '').replace(/^00(?=[1-9])/, '+');
  return /^[1-9]\d{7,14}$/.test(bare) ? `+${bare}` : bare;
}
