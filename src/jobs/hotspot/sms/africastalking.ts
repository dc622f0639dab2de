import { type Dialect, form, refused, refusedForRecipient, rejected, type Sms, sent, unknown } from './dialect.ts';

const LIVE = 'https://api.africastalking.com';
const SANDBOX = 'https://api.sandbox.africastalking.com';

const NAME = "Africa's Talking";

const ACCEPTED = [100, 101, 102];

// Those about the number. Balance, sender id, risk hold and routing are the account's: an operator can mend them.
const PERMANENT = [
  403, // invalid phone number
  404, // unsupported number type
  406, // the user opted out
  409, // the user wants none of the kind
];
const NO_ROUTE = 407;

export const africasTalking: Dialect = {
  ask({ url, username, secret, from }, sms) {
    const base = url || (username === 'sandbox' ? SANDBOX : LIVE);
    const fields = { username, to: sms.to, message: sms.text, ...(from && { from }) };
    return form(base, '/version1/messaging', { apiKey: secret }, fields);
  },

  /** A rejection comes inside HTTP 201, for the recipient or, without recipients, for the request. */
  read({ status, ok, data: { SMSMessageData } }, sms) {
    if (status === 401) return refused(`${NAME} refused the username or the API key (HTTP 401)`);
    if (!ok) return refused(`${NAME} answered HTTP ${status}`);
    const { Message, Recipients } = (SMSMessageData ?? {}) as { Message?: unknown; Recipients?: unknown };
    if (!Array.isArray(Recipients)) return unknown(`${NAME} answered HTTP ${status} without a result`);
    const [recipient] = Recipients as { statusCode?: unknown; status?: unknown; messageId?: unknown }[];
    if (!recipient) return refused(`${NAME} rejected the request${word(Message, sms)}`);
    const code = Number(recipient.statusCode);
    if (ACCEPTED.includes(code)) return sent(recipient.messageId, sms);
    const reason = `${NAME} rejected it with ${code}${word(recipient.status, sms)}`;
    if (PERMANENT.includes(code)) return rejected(reason);
    return code === NO_ROUTE ? refusedForRecipient(reason) : refused(reason);
  },
};

/** The provider's name for the fault, such as InvalidSenderId; anything longer might repeat what it was sent. */
function word(value: unknown, { text }: Sms): string {
  return typeof value === 'string' && /^[A-Za-z]{3,40}$/.test(value) && !text.includes(value) ? ` (${value})` : '';
}
