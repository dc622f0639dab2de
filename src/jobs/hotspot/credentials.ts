import {
  type Act,
  answeredRow,
  failure,
  info,
  type Job,
  type Outcome,
  type Rule,
  STAMP,
  warning,
} from '../../job/define.ts';
import { SMS_SETTINGS, smsGateway } from './settings.ts';
import type { Outcome as Sent, Sms } from './sms/dialect.ts';

const DUE = 'scheduler.at(c.sms_next_attempt_at, :dbZone::text)';
const END = 'scheduler.at(c.expires_at, :dbZone::text)';
const ATTEMPTS = 3;

const TOLD = `array['dashboard-stats'] as channels,
      jsonb_build_object(
        'phone_number', scheduler.mask_phone(phone_number::text), 'sms_status', sms_status,
        'sent_at', case when sms_status = 'sent' then ${STAMP} end
      ) as data`;

/** No try is left: three runs were lost while they sent it, or the access that it tells of is over. */
const GIVE_UP: Rule = {
  name: 'give up',
  row: 'hotspot_credentials c',
  at: DUE,
  when: {
    'it waits to be sent': 'c.sms_next_attempt_at is not null',
    'no try is left': `(c.sms_attempts >= ${ATTEMPTS} or coalesce(${END} <= :now::timestamptz, false))`,
  },
  change: `
    given_up as (
      update hotspot_credentials c
      set sms_status = case when c.sms_status in ('sending', 'unknown') then 'unknown' else 'failed' end,
        sms_error = case when c.sms_status = 'sending' then 'the run that sent it did not live to see the answer'
          when c.sms_attempts >= ${ATTEMPTS} then c.sms_error else 'the access was over before it could be sent' end,
        sms_next_attempt_at = null, plain_password = null, updated_at = :now::timestamptz
      from todo where c.id = todo.id
      returning c.id, c.phone_number, c.sms_status::text as sms_status, todo.due_at
    ),
    outcome as (
      select 1 as step, sms_status as transition, 'CredentialsSent' as type, id::text as entity_id, due_at, ${TOLD}
      from given_up
    )`,
};

/** What an SMS needs goes no further than this process: the claim's own rows are neither stored nor shown. */
interface Claimed {
  attempt: number;
  due: string;
  phone: string;
  reference: string;
  username: string;
  password: string | null;
  package: string | null;
  until: string | null;
}

const textOf = ({ username, password, package: name, until }: Claimed): string =>
  [
    `Your WiFi access: user ${username}${password ? `, password ${password}` : ', with the password you have'}.`,
    name ? ` ${name}` : '',
    until ? `${name ? ', until' : ' Until'} ${until}.` : name ? '.' : '',
  ].join('');

// Gateways take a few requests at a time per account, and answer within a second or two.
const AT_ONCE = 16;

const perform: Act['perform'] = async (claimed, { values, signal, answer, say }) => {
  const [{ sendSms }, { inFlight }] = await Promise.all([import('./sms/send.ts'), import('../../net/in-flight.ts')]);
  const gateway = smsGateway(values as Record<string, string>);
  const reply = ({ entity_id, data }: Outcome, result: Record<string, unknown>) => {
    const { attempt, due } = data as unknown as Claimed;
    answer(entity_id, { ...result, attempt, due });
  };
  const left = await inFlight(
    claimed,
    { most: AT_ONCE, mostEach: AT_ONCE, destination: () => gateway.provider, signal },
    async (item) => {
      const data = item.data as unknown as Claimed;
      const sms: Sms = { to: data.phone, text: textOf(data), reference: data.reference };
      const outcome = await sendSms(gateway, sms, signal, (sentence) => say(info(sentence)));
      reply(item, toResult(outcome, gateway.provider));
      // A gateway that is down or refuses its own customer would use up a try of every SMS there is.
      return outcome.kind === 'sent' || (outcome.kind === 'refused' && outcome.permanent) ? 'go on' : 'give up';
    },
  );
  for (const item of left) reply(item, { kind: 'left' });
};

function toResult(outcome: Sent, provider: string): Record<string, unknown> {
  switch (outcome.kind) {
    case 'sent':
      return { kind: provider === 'log' ? 'logged' : 'sent', message_id: outcome.messageId ?? null };
    case 'refused':
      return { kind: outcome.permanent ? 'rejected' : 'refused', error: outcome.reason };
    default:
      return { kind: 'unknown', error: outcome.reason };
  }
}

/**
 * The try is counted and the next one set before the SMS leaves: whatever becomes of this run, there are never more than
 * three. Nothing was sent with the gateway "log": the password stays for whoever hands it out, until the access is over.
 */
const SEND: Rule = {
  name: 'send',
  row: 'hotspot_credentials c',
  at: DUE,
  when: {
    'it waits to be sent': 'c.sms_next_attempt_at is not null',
    'a try is left': `c.sms_attempts < ${ATTEMPTS}`,
    'the access is not over': `coalesce(:now::timestamptz < ${END}, true)`,
  },
  change: `
    claimed as (
      update hotspot_credentials c
      set sms_status = 'sending', sms_attempts = c.sms_attempts + 1, updated_at = :now::timestamptz,
        sms_next_attempt_at = :now::timestamptz + case c.sms_attempts when 0 then interval '3 minutes' else interval '15 minutes' end
      from todo where c.id = todo.id
      returning c.*, todo.due_at
    ),
    outcome as (
      select 1 as step, 'send' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object(
          'attempt', sms_attempts, 'due', due_at, 'phone', phone_number::text, 'reference', sms_reference, 'username', username,
          'password', plain_password, 'package', package_name,
          'until', to_char(scheduler.at(expires_at, :dbZone::text) at time zone :zone::text, 'YYYY-MM-DD HH24:MI')
        ) as data
      from claimed
    )`,
  act: {
    prepare: (values) => void smsGateway(values as Record<string, string>),
    perform,
    record: `
    read as (
      select a.id, r.*, r.kind in ('sent', 'logged', 'rejected') or (r.kind in ('refused', 'unknown') and r.attempt >= ${ATTEMPTS}) as final
      from answer a
      cross join lateral jsonb_to_record(a.result) as r (kind text, attempt integer, due timestamptz, message_id text, error text)
    ),
    settled as (
      update hotspot_credentials c
      set sms_status = case
            when kind in ('sent', 'logged', 'unknown') then kind when final then 'failed' else 'pending'
          end,
        -- Left for the next run, it has not been tried.
        sms_attempts = case kind when 'left' then c.sms_attempts - 1 else c.sms_attempts end,
        sms_next_attempt_at = case when final then null when kind = 'left' then :now::timestamptz else c.sms_next_attempt_at end,
        sms_sent_at = case kind when 'sent' then :now::timestamptz else c.sms_sent_at end,
        sms_message_id = coalesce(read.message_id, c.sms_message_id),
        sms_error = read.error,
        plain_password = case when final and kind <> 'logged' then null else c.plain_password end,
        updated_at = :now::timestamptz
      from read ${answeredRow('hotspot_credentials', 'sms_status')}
      where c.id = sent.id and case when c.sms_status = 'sending' then c.sms_attempts = read.attempt end
      returning read.*, c.phone_number, c.sms_status::text as sms_status
    ),
    outcome as (
      select 1 as step, case when final then sms_status when kind <> 'left' then 'try again' end as transition,
        case when final then 'CredentialsSent' end as type, id as entity_id, due as due_at, ${TOLD}
      from settled
    )`,
  },
};

export const job: Job = {
  name: 'credentials',
  summary: 'send hotspot users their credentials by SMS',
  everyMinutes: 1,
  order: 70,
  tables: {
    hotspot_credentials: [
      ...[
        'id',
        'username',
        'plain_password',
        'phone_number',
        'package_name',
        'expires_at',
        'sms_status',
        'sms_attempts',
      ],
      ...['sms_next_attempt_at', 'sms_reference', 'sms_sent_at', 'sms_message_id', 'sms_error', 'updated_at'],
    ],
  },
  adopt: 'adopt_hotspot',
  settings: SMS_SETTINGS,
  rules: [GIVE_UP, SEND],
  lines: {
    started: info('Credentials job started'),
    found: (rule, count) => (rule === 'send' ? info('Found credentials to send', { count }) : undefined),
    done: ({ transition, entity_id, data }) => {
      const which = { credentials_id: entity_id, phone_number: data.phone_number };
      switch (transition) {
        case 'send':
          return []; // claimed in a dry run: its data is for the gateway alone
        case 'sent':
          return [info('Credentials sent', which)];
        case 'logged':
          return [info('Credentials would have been sent', which)];
        case 'try again':
          return [warning('Credentials not sent yet; another try follows', which)];
        default:
          return [failure('Credentials not sent, and given up', { ...which, sms_status: data.sms_status })];
      }
    },
    failed: (_, id, error) => failure('Failed to send credentials', { credentials_id: id, error }),
    finished: () => [info('Credentials job completed')],
  },
};
