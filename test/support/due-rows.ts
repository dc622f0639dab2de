import { SCHEMA } from './schema.ts';
/**
 * For each transition of each job: a row with the id 1 that is due at NOW, and for each condition a change after which just
 * this one is not met.
 */

export const NOW = '2026-03-01T12:00:00Z';

export interface Due {
  make: string;
  /** All that the transition does is to fail. */
  fails?: true;
  /** By the name of the condition: a statement, or a setting of the environment. */
  breaks: Record<string, string | { env: Record<string, string> }>;
}

const ago = (minutes: number) => `(timestamptz '${NOW}' - interval '${minutes} minutes')`;
// Ours is never without; an application's may be.
const WITHOUT_PATIENT =
  'alter table text_sessions alter patient_id drop not null; update text_sessions set patient_id = null';
const set = (table: string, assignment: string) => `update ${table} set ${assignment}`;

const aPackage = (status: string, start: string, validity: string, opened = 'null') => `
  insert into packages (name, enable_schedule, status, scheduled_activation_time, validity, opened_start)
  values ('Weekend', true, '${status}', ${start}, '${validity}', ${opened})`;
const aSpecial = (columns: string, values: string) =>
  `insert into special_packages (name, ${columns}) values ('Spa', ${values})`;
const aSession = (columns: string, values: string) => `
  insert into subscriptions (user_id, text_sessions_remaining) values (5, 10);
  insert into text_sessions (patient_id, doctor_id, ${columns}) values (5, 9, ${values})`;
const anSms = (attempts: number) => `
  insert into hotspot_credentials (username, phone_number, sms_attempts, sms_next_attempt_at)
  values ('u1', '254712345678', ${attempts}, ${ago(1)})`;
const aDisconnect = (attempts: number) => `
  insert into session_disconnections (username, nas_ip_address, attempts, next_attempt_at)
  values ('u1', '10.0.0.1', ${attempts}, ${ago(1)})`;
const aUse = (stopped: string, updated: string) => `
  insert into radius_sessions (username, status) values ('u1', 'active');
  insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime, acctstoptime,
    acctsessiontime, acctinputoctets, acctoutputoctets)
  values ('1', '1', 'u1', '10.0.0.1', ${ago(600)}, ${updated}, ${stopped}, 60, 1000, 2000)`;
const counted = (closed: boolean, changed: string) =>
  `insert into scheduler.accounted values ('${SCHEMA}', 1, 1000, 2000, 60, ${closed}, ${changed})`;

/** Somebody else came and went a moment ago. */
const HEARD = `insert into scheduler.accounted values ('${SCHEMA}', 999, 0, 0, 0, true, ${ago(1)})`;

const END = 'scheduler.sale_end(scheduled_activation_time, scheduled_deactivation_time, validity)';
const ENABLED = { 'the schedule is enabled': set('packages', 'enable_schedule = false') };
const OFF_SALE = { 'it is off sale': set('packages', `status = 'active'`) };
const ON_SALE = { 'it is on sale': set('packages', `status = 'inactive'`) };
const NOT_YET_CLOSED = {
  'this end was not yet acted on': set('packages', `closed_end = ${END}`),
};
const NOT_YET_OPENED = {
  'this window was not yet opened': set('packages', `opened_start = scheduled_activation_time, opened_end = ${END}`),
};
const AWAITED = {
  'it is scheduled': set('special_packages', 'scheduled = false'),
  'it switches on by itself': set('special_packages', 'auto_activate = false'),
};
const SWITCHES_OFF = { 'it switches off by itself': set('special_packages', 'auto_deactivate = false') };
const DAY_NOT_ACTED_ON = {
  'its last day was not yet acted on': set('special_packages', `closed_end = '2026-02-26T00:00:00Z'`),
};
const OPEN = { 'it is open': set('radacct', `acctstoptime = ${ago(1)}`) };
const OURS = { 'it belongs to a hotspot user': 'delete from radius_sessions' };

export const DUE_ROWS: Record<string, Record<string, Due>> = {
  packages: {
    'go on': {
      make: `${aPackage('active', ago(1500), '1 day', ago(1500))}; ${set('packages', `repeats = 'daily'`)}`,
      breaks: {
        ...ENABLED,
        ...ON_SALE,
        ...NOT_YET_CLOSED,
        'its next window follows without a gap': set('packages', 'repeats = null'),
      },
    },
    deactivate: {
      make: aPackage('active', ago(1500), '1 day', ago(1500)),
      breaks: {
        ...ENABLED,
        ...ON_SALE,
        ...NOT_YET_CLOSED,
        'its next window does not follow without a gap': set('packages', `repeats = 'daily'`),
      },
    },
    miss: {
      make: aPackage('inactive', ago(180), '2 hours'),
      breaks: {
        ...ENABLED,
        ...OFF_SALE,
        'it was not yet on sale for this start': set('packages', 'opened_start = scheduled_activation_time'),
        ...NOT_YET_CLOSED,
        'it has a start': set(
          'packages',
          `scheduled_activation_time = null, scheduled_deactivation_time = ${ago(60)}, opened_start = ${ago(300)}`,
        ),
        'it has an end': set('packages', 'validity = null'),
      },
    },
    settle: {
      make: aPackage('inactive', ago(180), '2 hours', ago(180)),
      breaks: {
        ...ENABLED,
        ...OFF_SALE,
        'it was on sale for this start': set('packages', 'opened_start = null'),
        ...NOT_YET_CLOSED,
      },
    },
    activate: {
      make: aPackage('inactive', ago(60), '1 day'),
      breaks: {
        ...ENABLED,
        ...OFF_SALE,
        ...NOT_YET_OPENED,
        ...NOT_YET_CLOSED,
        'its end has not come': set('packages', `validity = '60 minutes'`),
      },
    },
    keep: {
      make: aPackage('active', ago(60), '1 day'),
      breaks: { ...ENABLED, ...ON_SALE, ...NOT_YET_OPENED, ...NOT_YET_CLOSED },
    },
  },
  'special-packages': {
    activate: {
      make: aSpecial('scheduled, auto_activate, schedule_date', `true, true, '2026-03-01'`),
      breaks: {
        ...AWAITED,
        'its last day is not over, or closes nothing': set(
          'special_packages',
          `valid_until = '2026-02-28', auto_deactivate = true`,
        ),
      },
    },
    miss: {
      make: aSpecial(
        'scheduled, auto_activate, auto_deactivate, schedule_date, valid_until',
        `true, true, true, '2026-02-20', '2026-02-25'`,
      ),
      breaks: {
        ...AWAITED,
        ...SWITCHES_OFF,
        'it is off': set('special_packages', 'is_active = true'),
        'it has a start': set('special_packages', 'schedule_date = null'),
        'it has a last day': set('special_packages', 'valid_until = null'),
      },
    },
    deactivate: {
      make: aSpecial('is_active, auto_deactivate, valid_until', `true, true, '2026-02-25'`),
      breaks: { 'it is on': set('special_packages', 'is_active = false'), ...SWITCHES_OFF, ...DAY_NOT_ACTED_ON },
    },
    settle: {
      make: aSpecial('is_active, auto_deactivate, valid_until', `false, true, '2026-02-25'`),
      breaks: {
        'it is off': set('special_packages', 'is_active = true'),
        'it does not wait for its start until then': set(
          'special_packages',
          `scheduled = true, auto_activate = true, schedule_date = '2026-01-01'`,
        ),
        ...SWITCHES_OFF,
        ...DAY_NOT_ACTED_ON,
      },
    },
  },
  subscriptions: {
    activate: {
      make: `insert into customer_packages (id, "userId", status, "scheduledStartDate") values ('1', 'u', 'SCHEDULED', ${ago(5)})`,
      breaks: { 'it is scheduled': set('customer_packages', `status = 'CANCELLED'`) },
    },
    end: {
      make: `insert into customer_packages (id, "userId", status, "endDate") values ('1', 'u', 'ACTIVE', ${ago(5)})`,
      breaks: {
        'it is active': set('customer_packages', `status = 'CANCELLED'`),
        'ending is not switched off': { env: { SCHEDULER_END_SUBSCRIPTIONS: 'false' } },
        'no other one is about to replace it': `
          insert into customer_packages (id, "userId", status, "scheduledStartDate") values ('2', 'u', 'SCHEDULED', ${ago(5)})`,
      },
    },
  },
  deductions: {
    deduct: {
      make: aSession('status, activated_at, sessions_remaining_before_start', `'active', ${ago(15)}, 3`),
      breaks: {
        'it is active': set('text_sessions', `status = 'ended'`),
        'it has a patient': WITHOUT_PATIENT,
        'its time allows another block': set('text_sessions', 'sessions_remaining_before_start = 0'),
      },
    },
  },
  'session-endings': {
    end: {
      make: aSession('status, activated_at, sessions_remaining_before_start', `'active', ${ago(40)}, 3`),
      breaks: { 'it is active': set('text_sessions', `status = 'ended'`), 'it has a patient': WITHOUT_PATIENT },
    },
    expire: {
      make: aSession('status, doctor_response_deadline', `'waiting_for_doctor', ${ago(1)}`),
      breaks: { 'the doctor has not answered': set('text_sessions', `status = 'ended'`) },
    },
  },
  payments: {
    provision: {
      make: `insert into packages (name, price, duration) values ('1 Hour', 50, '1 hour');
        insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
        values ('254712345678', 1, 50, 'T1', 'completed', ${ago(1)})`,
      breaks: {
        'it is completed': set('payments', `status = 'pending'`),
        'it was not provisioned': set('payments', `provisioned_at = ${ago(1)}`),
      },
    },
    refuse: {
      make: `insert into packages (name, price, duration) values ('1 Hour', 50, '1 hour');
        insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
        values ('254712345678', 1, 49, 'T1', 'completed', ${ago(1)});
        -- It has failed, and waits.
        insert into scheduler.failures (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
        values ('${SCHEMA}', 'payments', 'provision', '1', 1, 'too little', ${ago(1)}, ${ago(1)}, ${ago(-4)})`,
      breaks: {
        'it is completed': set('payments', `status = 'pending'`),
        'it was not provisioned': set('payments', `provisioned_at = ${ago(1)}`),
        'that was not told': set('payments', `refused_at = ${ago(1)}`),
        'it buys nothing as it is': set('payments', 'amount = 50'),
      },
    },
    'provision ahead': {
      make: `insert into packages (name, price, duration) values ('1 Hour', 50, '1 hour');
        insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
        values ('254712345678', 1, 50, 'T1', 'completed', ${ago(-60)})`,
      breaks: {
        'it is completed': set('payments', `status = 'pending'`),
        'it was not provisioned': set('payments', `provisioned_at = ${ago(1)}`),
        'its time lies ahead': set('payments', `updated_at = ${ago(1)}`),
        'it buys something': set('payments', 'amount = 49'),
      },
    },
  },
  credentials: {
    'give up': {
      make: anSms(3),
      breaks: {
        'it waits to be sent': set('hotspot_credentials', 'sms_next_attempt_at = null'),
        'no try is left': set('hotspot_credentials', 'sms_attempts = 2'),
      },
    },
    report: {
      make: `${anSms(1)}; ${set('hotspot_credentials', `sms_next_attempt_at = null, given_up_at = ${ago(1)}`)}`,
      fails: true,
      breaks: {
        'it was given up': set('hotspot_credentials', 'given_up_at = null'),
        'that was not in this tick': set('hotspot_credentials', `given_up_at = '${NOW}'`),
        'the access is not over': set('hotspot_credentials', `expires_at = ${ago(1)}`),
      },
    },
    forget: {
      make: `${anSms(1)}; ${set('hotspot_credentials', `sms_next_attempt_at = null, given_up_at = ${ago(2)}, expires_at = ${ago(1)}`)}`,
      breaks: { 'it was given up': set('hotspot_credentials', 'given_up_at = null') },
    },
    send: {
      make: anSms(0),
      breaks: {
        'it waits to be sent': set('hotspot_credentials', 'sms_next_attempt_at = null'),
        'a try is left': set('hotspot_credentials', 'sms_attempts = 3'),
        'the access is not over': set('hotspot_credentials', `expires_at = ${ago(1)}`),
      },
    },
  },
  accounting: {
    sync: {
      make: aUse('null', ago(1)),
      breaks: { ...OPEN, 'it brings news': counted(false, ago(1)), ...OURS },
    },
    'close silent': {
      make: `${aUse('null', ago(60))}; ${counted(false, ago(60))}; ${HEARD}`,
      breaks: {
        ...OPEN,
        'we heard nothing new for as long': set('scheduler.accounted', `changed_at = ${ago(1)}`),
        'some router was heard meanwhile': 'delete from scheduler.accounted where id <> 1',
        ...OURS,
      },
    },
    'sync closed': {
      make: `${aUse(ago(1), ago(1))}; ${counted(false, ago(60))}`,
      breaks: {
        'it was open, or more was reported since': set('scheduler.accounted', 'closed = true'),
        'it is open no more': set('radacct', 'acctstoptime = null'),
      },
    },
    'sync short': {
      make: aUse(ago(1), ago(1)),
      breaks: {
        'it is closed': set('radacct', 'acctstoptime = null'),
        'it was never counted': counted(true, ago(1)),
        'it came since all before it was counted, and is one of the first': set(
          'scheduler.accounted_up_to',
          'id = 1000',
        ),
      },
    },
  },
  'hotspot-sessions': {
    expire: {
      make: `insert into radius_sessions (username, status, expected_end) values ('u1', 'active', ${ago(1)})`,
      breaks: { 'it is active': set('radius_sessions', `status = 'expired'`) },
    },
    exhaust: {
      make: `insert into hotspot_users (username, phone_number, data_used, data_limit, status)
        values ('u1', '254712345678', 1000, 500, 'expired');
        insert into radius_sessions (username, hotspot_user_id, status, total_bytes, data_limit, updated_at)
        values ('u1', 1, 'active', 1000, 500, ${ago(1)})`,
      breaks: {
        'it is active': set('radius_sessions', `status = 'expired'`),
        'its data is used up': set('radius_sessions', 'total_bytes = 499'),
        "its user's data is used up too": set('hotspot_users', 'data_limit = 2000'),
      },
    },
    disconnect: {
      make: `insert into radius_sessions (username, status) values ('u1', 'expired');
        insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime)
        values ('1', '1', 'u1', '10.0.0.1', ${ago(60)})`,
      breaks: {
        'it has ended': set('radius_sessions', `status = 'active'`),
        'its user has no access': `
          insert into hotspot_users (username, phone_number, has_active_subscription, subscription_expires_at)
          values ('u1', '254712345678', true, ${ago(-60)});
          ${set('radius_sessions', 'hotspot_user_id = 1')}`,
        'RADIUS lets nobody of that name in': `insert into radcheck (username, attribute, op, value) values ('u1', 'Expiration', ':=', '1')`,
        'its name is online, in its newest session, and no disconnect is under way': set(
          'radacct',
          `acctstoptime = ${ago(1)}`,
        ),
      },
    },
    'exhaust user': {
      make: `insert into hotspot_users (username, phone_number, data_used, data_limit) values ('u1', '254712345678', 1000, 500);
        insert into radius_sessions (username, hotspot_user_id, status) values ('u1', 1, 'active')`,
      breaks: {
        'it is active': set('radius_sessions', `status = 'expired'`),
        'its user has used up the data': set('hotspot_users', 'data_limit = 2000'),
      },
    },
  },
  disconnects: {
    send: {
      make: aDisconnect(0),
      breaks: { 'it waits to be sent': set('session_disconnections', 'next_attempt_at = null') },
    },
    report: {
      make: `${aDisconnect(4)}; ${set('session_disconnections', `next_attempt_at = ${ago(-1)}`)}`,
      fails: true,
      breaks: {
        'it waits to be sent': set('session_disconnections', 'next_attempt_at = null'),
        'four requests were in vain': set('session_disconnections', 'attempts = 3'),
      },
    },
  },
  vouchers: {
    expire: {
      make: `insert into vouchers (code, expires_at) values ('SECRET-CODE', ${ago(1)})`,
      breaks: { 'it is unused or active': set('vouchers', `status = 'used'`) },
    },
  },
};

/** Removes all rows of all jobs, and of what the engine remembers. */
export const CLEAR = `
  truncate packages, special_packages, customer_packages, text_sessions, subscriptions, doctor_wallets, wallet_transactions,
    text_session_deductions, payments, hotspot_users, radius_sessions, hotspot_credentials, session_disconnections,
    data_usage_logs, vouchers, radacct, radcheck, radreply, nas, scheduler.accounted, scheduler.failures, scheduler.events,
    scheduler.runs, scheduler.controls restart identity cascade;
  update scheduler.accounted_up_to set id = 0`;
