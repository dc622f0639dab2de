import {
  bounded,
  completed,
  defineJob,
  failure,
  info,
  type Line,
  type Outside,
  type Row,
  type Rule,
  STAMP,
  warning,
} from '../../job/define.ts';
import { NOW } from '../../job/expressions.ts';
import { ATTEMPTS, attemptEach, fromRead } from './attempts.ts';
import { SMS_SETTINGS, smsGateway } from './settings.ts';
import { HOTSPOT_CREDENTIALS } from './tables.ts';

const WAITS = { 'it waits to be sent': 'sms_next_attempt_at is not null' };
const PHONE = 'scheduler.mask_phone(phone_number::text)';

/** Three runs were lost while they sent it, or the access that it tells of is over. */
const giveUp: Rule = {
  due: 'sms_next_attempt_at',
  where: {
    ...WAITS,
    'no try is left': `(sms_attempts >= ${ATTEMPTS} or coalesce(expires_at <= now, false))`,
  },
  set: {
    sms_status: "case when sms_status in ('sending', 'unknown') then 'unknown' else 'failed' end",
    sms_error: `case when sms_status = 'sending' then 'the run that sent it did not live to see the answer'
      when sms_attempts >= ${ATTEMPTS} then sms_error else 'the access was over before it could be sent' end`,
    sms_next_attempt_at: 'null',
    given_up_at: 'case when coalesce(now < expires_at, true) then now end',
    plain_password: 'null',
    updated_at: 'now',
  },
  event: ['unknown', 'failed'].map((status) => ({
    transition: status,
    type: 'CredentialsSent',
    channels: ['dashboard-stats'],
    data: { phone_number: PHONE, sms_status: 'sms_status', sent_at: 'null' },
    when: `sms_status = '${status}'`,
  })),
};

/** As long as the access lasts, its customer has no password. */
const report: Rule = {
  due: 'given_up_at',
  where: {
    'it was given up': 'given_up_at is not null',
    'that was not in this tick': 'coalesce(given_up_at < now, true)',
    'the access is not over': 'coalesce(now < expires_at, true)',
  },
  fails: () =>
    `format('the SMS to %s was given up: %s', ${PHONE.replace('phone_number', 'r.phone_number')}, r.sms_error)`,
  set: { given_up_at: 'null' },
};

const forget: Rule = {
  due: 'expires_at',
  where: { 'it was given up': 'given_up_at is not null' },
  set: { given_up_at: 'null' },
  event: { data: { phone_number: PHONE } },
};

interface Credentials {
  phone: string;
  reference: string;
  username: string;
  password: string | null;
  package: string | null;
  until: string | null;
}

function textOf({ username, password, package: name, until }: Credentials): string {
  const access = `Your WiFi access: user ${username}, ${password ? `password ${password}` : 'with the password you have'}.`;
  const ends = until && `until ${until}`;
  if (name) return `${access} ${[name, ends].filter(Boolean).join(', ')}.`;
  return ends ? `${access} Until ${until}.` : access;
}

// Gateways take a few requests at a time per account, and answer within a second or two.
const AT_ONCE = 16;

// A gateway that is down or refuses its own customer would use up a try of every SMS there is.
const FAULTS_IN_A_ROW = 5;
// Less than a minute, so that the next tick asks again. A run that lingers does not ask each second.
const LEFT_ALONE_SECONDS = 30;

const perform: Outside['perform'] = async (claimed, world) => {
  const [{ sendSms }, { pausing }] = await Promise.all([import('./sms/send.ts'), import('./sms/pausing.ts')]);
  const gateway = smsGateway(world.values);
  const say = (sentence: string) => world.say(info(sentence));
  const bounds = { most: AT_ONCE, mostEach: AT_ONCE, destination: () => gateway.provider };
  let faults = 0;
  const patiently = pausing(world.signal);
  await attemptEach<Credentials>(claimed, world, bounds, async (credentials) => {
    const { phone: to, reference } = credentials;
    const outcome = await patiently(() =>
      sendSms(gateway, { to, text: textOf(credentials), reference }, world.signal, say),
    );
    const isFault = outcome.kind === 'unknown' || (outcome.kind === 'refused' && !outcome.ofRecipient);
    faults = isFault ? faults + 1 : 0;
    const wait = outcome.kind === 'refused' ? outcome.wait : undefined;
    if (faults < FAULTS_IN_A_ROW && !wait) return { verdict: 'go on', result: outcome };
    return { verdict: 'give up', result: { ...outcome, wait: wait ?? LEFT_ALONE_SECONDS } };
  });
};

const record: Outside['record'] = (t) => `
    read as (
      select a.id, r.*, r.kind in ('sent', 'logged', 'rejected') or (r.kind in ('refused', 'unknown') and r.attempt >= ${ATTEMPTS}) as final
      from answer a
      cross join lateral jsonb_to_record(a.result) as r (kind text, attempt integer, due timestamptz, wait integer, "messageId" text, reason text)
    ),
    settled as (${t.hotspot_credentials.update((it: Row) => ({
      set: {
        sms_status: `case when kind in ('sent', 'logged', 'unknown') then kind when final then 'failed' else 'pending' end`,
        // An SMS that is left for the next run has not been tried.
        sms_attempts: `case kind when 'left' then ${it.sms_attempts} - 1 else ${it.sms_attempts} end`,
        sms_next_attempt_at: `case when final then null else greatest(
          case when kind <> 'left' then ${it.sms_next_attempt_at} end,
          :now::timestamptz + make_interval(secs => coalesce(read.wait, 0))
        ) end`,
        sms_sent_at: `case kind when 'sent' then :now::timestamptz else ${it.sms_sent_at} end`,
        sms_message_id: `coalesce(read."messageId", ${it.sms_message_id})`,
        sms_error: 'read.reason',
        given_up_at: `case when final and kind not in ('sent', 'logged') then :now::timestamptz end`,
        plain_password: `case when final and kind <> 'logged' then null else ${it.plain_password} end`,
        updated_at: NOW,
      },
      ...fromRead(t.hotspot_credentials, it, 'sms_status', 'sms_attempts'),
      returning: `read.*, ${it.phone_number} as phone_number, ${it.sms_status}::text as sms_status`,
    }))}),
    outcome as (
      select 1 as step, case when final then sms_status when kind <> 'left' then 'try again' end as transition,
        case when final then 'CredentialsSent' end as type, array['dashboard-stats'] as channels, id as entity_id, due as due_at,
        jsonb_build_object(
          'phone_number', ${PHONE}, 'sms_status', sms_status, 'sent_at', case when sms_status = 'sent' then ${STAMP} end
        ) as data
      from settled
    )`;

/**
 * The try is counted and the next one set before the SMS leaves, so that there are never more than three. The gateway "log"
 * sends nothing: the password stays until the access is over, for the operator to hand out.
 */
const send: Rule = {
  due: 'sms_next_attempt_at',
  where: {
    ...WAITS,
    'a try is left': `sms_attempts < ${ATTEMPTS}`,
    'the access is not over': 'coalesce(now < expires_at, true)',
  },
  change: (t) => `
    claimed as (${t.hotspot_credentials.update((it: Row) => ({
      set: {
        ...{ sms_status: "'sending'", sms_attempts: `${it.sms_attempts} + 1`, updated_at: NOW },
        sms_next_attempt_at: `${NOW} + case ${it.sms_attempts} when 0 then interval '3 minutes' else interval '15 minutes' end`,
      },
      from: 'todo',
      where: `${it.id} = todo.id`,
      returning: `${it.id} as id, ${it.username} as username, ${it.plain_password} as plain_password,
        ${it.phone_number} as phone_number, ${it.package_name} as package_name, ${it.sms_reference} as sms_reference,
        ${it.sms_attempts} as sms_attempts, ${it.expires_at} as expires_at, todo.due_at`,
    }))}),
    outcome as (
      select 1 as step, 'send' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('phone_number', ${PHONE}) as data,
        jsonb_build_object(
          'attempt', sms_attempts, 'due', due_at, 'phone', ${bounded('phone_number')}, 'reference', ${bounded('sms_reference')},
          'username', ${bounded('username')}, 'password', ${bounded('plain_password')}, 'package', ${bounded('package_name')},
          'until', to_char(expires_at at time zone :zone::text, 'YYYY-MM-DD HH24:MI')
        ) as sealed
      from claimed
    )`,
  outside: { prepare: smsGateway, perform, success: { kind: 'sent' }, record },
};

export const job = defineJob({
  name: 'credentials',
  summary: 'send hotspot users their credentials by SMS',
  everyMinutes: 1,
  order: 70,
  table: HOTSPOT_CREDENTIALS,
  settings: SMS_SETTINGS,
  rules: { 'give up': giveUp, send, report, forget },
  log: {
    started: info('Credentials job started'),
    found: (rule, count) => (rule === 'send' ? info('Found credentials to send', { count }) : undefined),
    done: ({ transition, entity_id, data }) => {
      const which = { credentials_id: entity_id, phone_number: data.phone_number };
      const said: Record<string, Line> = {
        send: info('Credentials are to be sent', which),
        sent: info('Credentials sent', which),
        logged: info('Credentials would have been sent', which),
        forget: info('The access is over whose credentials were given up', which),
        'try again': warning('Credentials not sent yet; another try follows', which),
      };
      const { sms_status } = data;
      return [said[transition] ?? failure('Credentials not sent, and given up', { ...which, sms_status })];
    },
    failed: ({ id, error }) => failure('Failed to send credentials', { credentials_id: id, error }),
    finished: completed('Credentials job completed'),
  },
});
