import { createHmac } from 'node:crypto';
import { type Dialect, refused, rejected, sent, unknown } from './dialect.ts';

// Client errors that say "later", not "never". The first three are a fault of the operator, who mends it.
const PASSING = [401, 403, 404, 408, 425, 429];

export const webhook: Dialect = {
  ask({ url, secret }, sms) {
    const body = JSON.stringify({ to: sms.to, text: sms.text, reference: sms.reference });
    const time = Math.floor(Date.now() / 1000);
    const reference = encodeURIComponent(sms.reference);
    // The time is signed too, so that a receiver can refuse a request that somebody recorded and sends again.
    const signature = createHmac('sha256', secret).update(`${time}.${reference}.${body}`).digest('hex');
    const headers = {
      'content-type': 'application/json',
      'scheduler-signature': `t=${time},ref=${reference},v1=${signature}`,
    };
    return { url, headers, body };
  },

  read({ status, ok, isPage, data: { id, messageId } }, sms) {
    if (ok && isPage) return unknown(`the webhook answered HTTP ${status} with a web page`);
    if (ok) return sent(id ?? messageId, sms);
    const isPermanent = status >= 400 && status < 500 && !PASSING.includes(status);
    return (isPermanent ? rejected : refused)(`the webhook answered HTTP ${status}`);
  },
};
