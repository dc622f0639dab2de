import { type Dialect, form, refused, sent } from './dialect.ts';

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

export const twilio: Dialect = {
  ask({ url, username, secret, from }, sms) {
    const path = `/2010-04-01/Accounts/${encodeURIComponent(username)}/Messages.json`;
    const authorization = `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
    const sender = from.startsWith('MG') ? { MessagingServiceSid: from } : { From: from };
    return form(url || BASE, path, { authorization }, { To: sms.to, ...sender, Body: sms.text });
  },

  read({ status, ok, data: { sid, code } }, sms) {
    if (ok) return sent(sid, sms);
    if (!Number.isInteger(code)) return refused(`Twilio answered HTTP ${status}`);
    const known = PERMANENT[code as number];
    const why = known ? ` (${known})` : '';
    return refused(`Twilio refused with ${code}${why}, see https://www.twilio.com/docs/api/errors/${code}`, !!known);
  },
};
