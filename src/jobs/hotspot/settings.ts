import { configurationError, spanInSeconds, type Variable } from '../../job/define.ts';

// Apart from the gateways themselves: every start reads the settings, few starts send anything.

const PROVIDERS = ['africastalking', 'twilio', 'webhook', 'log'] as const;
export type Provider = (typeof PROVIDERS)[number];

/** Where SMS go, and as whom. */
export interface SmsGateway {
  provider: Provider;
  /** The webhook's URL, or another gateway's base URL; empty for the provider's own. */
  url: string;
  username: string;
  secret: string;
  from: string;
  timeoutMs: number;
}

const text = (env: string, secret = false): Variable<string> => ({
  env,
  fallback: '',
  valid: 'printable ASCII characters',
  secret,
  // It ends in an HTTP header, where a line break would begin another one.
  parse: (given) => (/^[\x20-\x7e]*$/.test(given) ? given : undefined),
});

type Name = 'sms' | 'smsUrl' | 'smsUsername' | 'smsSecret' | 'smsFrom';

/** For `settings` of the job that sends. */
export const SMS_SETTINGS: Record<Name, Variable<string>> = {
  sms: {
    env: 'SCHEDULER_SMS',
    fallback: 'log',
    valid: PROVIDERS.join(', '),
    parse: (given) => PROVIDERS.find((provider) => provider === given.toLowerCase()),
  },
  /** Where the webhook is; another base URL for the others: a proxy, a test. Its path may be a secret. */
  smsUrl: {
    env: 'SCHEDULER_SMS_URL',
    fallback: '',
    valid: 'a URL such as https://example.com/sms',
    secret: true,
    parse: (given) => (given === '' || (/^https?:\/\//i.test(given) && URL.canParse(given)) ? given : undefined),
  },
  smsUsername: text('SCHEDULER_SMS_USERNAME'),
  smsSecret: text('SCHEDULER_SMS_SECRET', true),
  smsFrom: text('SCHEDULER_SMS_FROM'),
};

const whole = (env: string, fallback: number, least: number, most: number, what: string): Variable<string> => ({
  env,
  fallback: String(fallback),
  valid: `${what} from ${least} to ${most}`,
  parse: (given) => (/^\d{1,9}$/.test(given) && Number(given) >= least && Number(given) <= most ? given : undefined),
});

const seconds = (env: string, fallback: number, least: number, most: number): Variable<string> => ({
  ...whole(env, fallback, least, most, 'a number of seconds'),
  parse: (given) => {
    const value = spanInSeconds(given, 's');
    return value !== undefined && value >= least && value <= most ? String(value) : undefined;
  },
});

/** What the routers are told, and where they listen. */
export const RADIUS_SETTINGS = {
  /** The port for Disconnect-Requests, RFC 5176. FreeRADIUS's table nas has no column for it. */
  radiusPort: whole('SCHEDULER_RADIUS_PORT', 3799, 1, 65_535, 'a port'),
  /** How often a router reports a session's usage. Three of them without a word, and it counts as gone. */
  radiusInterim: seconds('SCHEDULER_RADIUS_INTERIM', 300, 60, 86_400),
  /** A device that is silent for so long is logged out; 0: never. */
  radiusIdle: seconds('SCHEDULER_RADIUS_IDLE', 900, 0, 86_400),
};

const NEEDS: Record<Provider, Partial<Record<Name, string>>> = {
  africastalking: { smsUsername: "your username at Africa's Talking", smsSecret: 'your API key' },
  twilio: {
    smsUsername: 'the Account SID',
    smsSecret: 'the Auth Token',
    smsFrom: 'a number of yours at Twilio, or the SID of a messaging service',
  },
  webhook: { smsUrl: 'the URL to post to', smsSecret: 'the key that requests are signed with' },
  log: {},
};

// Gateways answer within a second or two; Twilio's own clients wait this long at most before they call it lost.
const TIMEOUT_MS = 20_000;

/** The gateway that the settings ask for; names every setting it lacks. */
export function smsGateway(settings: Record<string, unknown>): SmsGateway {
  const value = (name: Name) => String(settings[name] ?? '');
  const provider = value('sms') as Provider;
  const missing = (Object.entries(NEEDS[provider]) as [Name, string][])
    .filter(([name]) => value(name) === '')
    .map(([name, what]) => `SCHEDULER_SMS is "${provider}", so set ${SMS_SETTINGS[name].env}: ${what}.`);
  if (missing.length > 0) throw configurationError(missing.join('\n'));
  return {
    provider,
    url: value('smsUrl'),
    username: value('smsUsername'),
    secret: value('smsSecret'),
    from: value('smsFrom'),
    timeoutMs: TIMEOUT_MS,
  };
}
