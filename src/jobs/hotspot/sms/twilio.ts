import type { Answer } from '../../../net/http.ts';
import type { SmsGateway } from '../settings.ts';
import { type Dialect, json, messageId, type Outcome, refused, type Sms, sent, under } from './dialect.ts';

const BASE = 'https://api.twilio.com';

// Those about the number or the text. Twilio adds codes without notice: an unknown one is worth another try.
const PERMANENT: Record<number, string> = {
  21211: 'invalid number',
  21214: 'the number cannot be reached',
  21217: 'invalid number',
  21265: 'a short code cannot receive',
  21266: 'sender and receiver are the same',
  21610: 'the receiver opted out',
  21614: 'not a mobile number',
  21617: 'the text is too long',
  21635: 'a landline cannot receive',
};

export function askTwilio({ url, username, secret, from }: SmsGateway, sms: Sms): Dialect {
  const sender = from.startsWith('MG') ? { MessagingServiceSid: from } : { From: from };
  return {
    post: {
      url: under(url || BASE, `/2010-04-01/Accounts/${encodeURIComponent(username)}/Messages.json`),
      headers: {
        authorization: `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`,
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        'idempotency-key': encodeURIComponent(sms.reference),
      },
      body: new URLSearchParams({ To: sms.to, ...sender, Body: sms.text }).toString(),
    },
    read: (answer) => read(answer, sms),
  };
}

function read({ status, body }: Answer, sms: Sms): Outcome {
  const { sid, code } = json(body);
  if (status >= 200 && status <= 299) return sent(messageId(sid, sms));
  if (!Number.isInteger(code)) return refused(`Twilio answered HTTP ${status}`);
  const known = PERMANENT[code as number];
  const why = known ? ` (${known})` : '';
  return refused(
    `Twilio refused with ${code}${why}, see https://www.twilio.com/docs/api/errors/${code}`,
    known !== undefined,
  );
}
