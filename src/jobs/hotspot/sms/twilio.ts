import { type Dialect, form, type Outcome, refused, refusedForRecipient, rejected, sent, unknown } from './dialect.ts';

const BASE = 'https://api.twilio.com';

// Those about the number or the text. Twilio adds codes without notice: an unknown one is taken for a fault of the account.
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

// Those about the number that pass: the operator allows a region, say, or the phone is switched on.
const PASSING: Record<number, string> = {
  21408: 'the account may not send to that region',
  21608: 'a trial account sends to verified numbers only',
  21612: 'the sender cannot reach that number',
  30003: 'the phone cannot be reached',
  30004: 'the receiver blocked it',
  30005: 'no such phone is known',
  30006: 'a landline cannot receive',
  30007: 'the carrier filtered it',
  30008: 'the carrier did not say why',
};

const ACCEPTED = ['accepted', 'scheduled', 'queued', 'sending', 'sent', 'delivered'];
const REFUSED = ['failed', 'undelivered', 'canceled'];

export const twilio: Dialect = {
  ask({ url, username, secret, from }, sms) {
    const path = `/2010-04-01/Accounts/${encodeURIComponent(username)}/Messages.json`;
    const authorization = `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
    const sender = from.startsWith('MG') ? { MessagingServiceSid: from } : { From: from };
    return form(url || BASE, path, { authorization }, { To: sms.to, ...sender, Body: sms.text });
  },

  read({ status, ok, data: { sid, status: fate, error_code, code } }, sms) {
    if (ok && isOneOf(REFUSED, fate)) return refusedWith(error_code, `Twilio took it and says "${fate}"`);
    if (!ok) return refusedWith(code, `Twilio answered HTTP ${status}`);
    if (typeof sid === 'string' && /^(SM|MM)\w+$/.test(sid) && isOneOf(ACCEPTED, fate)) return sent(sid, sms);
    return unknown(`Twilio answered HTTP ${status} without a message that it accepted`);
  },
};

const isOneOf = (words: string[], value: unknown) => typeof value === 'string' && words.includes(value);

function refusedWith(code: unknown, otherwise: string): Outcome {
  if (!Number.isInteger(code)) return refused(otherwise);
  const [permanent, passing] = [PERMANENT[code as number], PASSING[code as number]];
  const why = permanent ?? passing;
  const reason = `Twilio refused with ${code}${why ? ` (${why})` : ''}, see https://www.twilio.com/docs/api/errors/${code}`;
  if (permanent) return rejected(reason);
  return passing ? refusedForRecipient(reason) : refused(reason);
}
