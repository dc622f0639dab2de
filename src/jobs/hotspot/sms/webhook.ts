import { createHmac } from 'node:crypto';
import type { Answer } from '../../../net/http.ts';
import type { SmsGateway } from '../settings.ts';
import { type Dialect, json, messageId, type Outcome, refused, type Sms, sent } from './dialect.ts';

// Client errors that say "later", not "never": the first three are the operator's own fault, who mends them.
const PASSING = [401, 403, 404, 408, 425, 429];

export function askWebhook({ url, secret }: SmsGateway, sms: Sms): Dialect {
  const body = JSON.stringify({ to: sms.to, text: sms.text, reference: sms.reference });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const reference = encodeURIComponent(sms.reference);
  return {
    post: {
      url,
      headers: {
        'content-type': 'application/json',
        'idempotency-key': reference,
        'scheduler-signature': `t=${timestamp},ref=${reference},v1=${sign(secret, timestamp, reference, body)}`,
      },
      body,
    },
    read: (answer) => read(answer, sms),
  };
}

/** The time is signed too, so that a receiver can refuse a request that somebody recorded and sends again. */
const sign = (secret: string, timestamp: string, reference: string, body: string) =>
  createHmac('sha256', secret).update(`${timestamp}.${reference}.${body}`).digest('hex');

function read({ status, body }: Answer, sms: Sms): Outcome {
  if (status >= 200 && status <= 299) {
    const { id, messageId: named } = json(body);
    return sent(messageId(id ?? named, sms));
  }
  return refused(`the webhook answered HTTP ${status}`, status >= 400 && status < 500 && !PASSING.includes(status));
}
