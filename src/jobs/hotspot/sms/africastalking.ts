import type { Answer } from '../../../net/http.ts';
import type { SmsGateway } from '../settings.ts';
import { type Dialect, json, messageId, type Outcome, refused, type Sms, sent, under, unknown } from './dialect.ts';

const LIVE = 'https://api.africastalking.com';
const SANDBOX = 'https://api.sandbox.africastalking.com';

const NAME = "Africa's Talking";

const ACCEPTED = [100, 101, 102];

// Those about the number. Balance, sender id, risk hold and routing are the account's: an operator can mend them.
const PERMANENT = [
  403, // invalid phone number
  404, // unsupported number type
  406, // the user opted out
];

export function askAfricasTalking({ url, username, secret, from }: SmsGateway, sms: Sms): Dialect {
  const base = url || (username === 'sandbox' ? SANDBOX : LIVE);
  const form = new URLSearchParams({ username, to: sms.to, message: sms.text, ...(from && { from }) });
  return {
    post: {
      url: under(base, '/version1/messaging'),
      headers: {
        apiKey: secret,
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        'idempotency-key': encodeURIComponent(sms.reference),
      },
      body: form.toString(),
    },
    read: (answer) => read(answer, sms),
  };
}

/** A rejection comes inside HTTP 201, for the recipient or, without recipients, for the request. */
function read({ status, body }: Answer, sms: Sms): Outcome {
  if (status === 401) return refused(`${NAME} refused the username or the API key (HTTP 401)`);
  if (status < 200 || status > 299) return refused(`${NAME} answered HTTP ${status}`);
  const data = json(body).SMSMessageData as { Message?: unknown; Recipients?: unknown } | undefined;
  if (!data || !Array.isArray(data.Recipients)) return unknown(`${NAME} answered HTTP ${status} without a result`);
  const recipient = data.Recipients[0] as { statusCode?: unknown; status?: unknown; messageId?: unknown } | undefined;
  if (!recipient) return refused(`${NAME} rejected the request${word(data.Message, sms)}`);
  const code = Number(recipient.statusCode);
  if (ACCEPTED.includes(code)) return sent(messageId(recipient.messageId, sms));
  return refused(`${NAME} rejected it with ${code}${word(recipient.status, sms)}`, PERMANENT.includes(code));
}

/** The provider's name for the fault, such as InvalidSenderId; anything longer might repeat what it was sent. */
function word(value: unknown, { text }: Sms): string {
  return typeof value === 'string' && /^[A-Za-z]{3,40}$/.test(value) && !text.includes(value) ? ` (${value})` : '';
}
