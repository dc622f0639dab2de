import {
  CREATED,
  flag,
  instant,
  kept,
  key,
  like,
  money,
  remembered,
  small,
  span,
  starting,
  text,
  wallClock,
  whole,
  words,
} from '../../job/columns.ts';
import type { Table } from '../../job/define.ts';

/** The tables of the operator of a hotspot. FreeRADIUS's own are described in radius/tables.ts. */

const NEW_TABLE = { newTableOnly: true };
const USER = like('hotspot_users');
const PAYMENT = like('payments');
const PACKAGE = like('packages');
const SESSION = like('radius_sessions');
const STAMPS = { created_at: CREATED, updated_at: CREATED };

const alike = (column: Table['columns'][string], ...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, column]));

/** A status that starts with its first word. */
const status = (...allowed: string[]) => words(allowed, { notNull: true, default: `'${allowed[0]}'` });

const at = (column: string) => `scheduler.at(${column}, :dbZone::text)`;
// A table that is adopted may have been worked on before: its columns, as they are then, tell what was opened and closed.
const START_OF_ROW = at('scheduled_activation_time');
const END_OF_ROW = `scheduler.sale_end(${START_OF_ROW}, ${at('scheduled_deactivation_time')}, validity)`;
const ifOpened = (value: string) => `case when ${at('activated_at')} >= ${START_OF_ROW} then ${value} end`;
const ifClosed = (value: string) => `case when ${at('deactivated_at')} >= ${END_OF_ROW} then ${value} end`;

/** The scheduler keeps the window that it opened and the end that it closed, and compares them by value. */
export const PACKAGES: Table = {
  name: 'packages',
  recognisedBy: ['enable_schedule', 'scheduled_activation_time'],
  columns: {
    id: key(),
    name: text({ notNull: true }),
    type: text({ notNull: true, default: "'hotspot'" }),
    price: { ...money({ notNull: true, default: '0', ...NEW_TABLE }), type: 'numeric(12, 2)' },
    ...alike(text(NEW_TABLE), 'description', 'duration', 'upload_speed', 'download_speed'),
    data_limit: whole(NEW_TABLE),
    devices: small({ notNull: true, default: '1', ...NEW_TABLE }),
    enable_schedule: flag({ notNull: true, default: 'false' }),
    ...alike(instant(), 'scheduled_activation_time', 'scheduled_deactivation_time'),
    validity: text(),
    repeats: text({ check: "repeats in ('daily', 'weekly', 'monthly')" }),
    hide_from_client: flag({ notNull: true, default: 'false', ...NEW_TABLE }),
    is_active: starting(flag, 'false'),
    status: words(['active', 'inactive'], {
      ...{ notNull: true, default: "'inactive'", safeToAdd: true, check: "status in ('active', 'inactive')" },
    }),
    ...alike(instant(), 'activated_at', 'deactivated_at'),
    opened_start: remembered('The start of the window that was last opened', ifOpened(START_OF_ROW)),
    opened_end: remembered('The end of the window that was last opened', ifOpened(END_OF_ROW)),
    closed_end: remembered('The end that was last acted on', ifClosed(END_OF_ROW)),
    repeat_start: kept(wallClock, 'The wall-clock start of the first window of a repeated sale'),
    repeat_length: kept(span, 'The length of the first window of a repeated sale on the wall clock'),
    repeat_count: kept(small, 'How often a repeated sale has moved since its first window'),
    created_at: { ...CREATED, ...NEW_TABLE },
    updated_at: CREATED,
  },
};

export const PAYMENTS: Table = {
  name: 'payments',
  recognisedBy: ['phone_number', 'package_id', 'transaction_id', 'status'],
  columns: {
    id: key(),
    phone_number: text({ notNull: true }),
    mac_address: text(),
    package_id: like('packages', 'id', { notNull: true }),
    amount: { ...money({ notNull: true, ...NEW_TABLE }), type: 'numeric(12, 2)' },
    transaction_id: text({ notNull: true }),
    mpesa_receipt: text(),
    status: words(['completed'], {
      writes: [],
      notNull: true,
      default: "'pending'",
      check: "status in ('pending', 'completed', 'failed')",
    }),
    // Customers who paid before this program came have had their access.
    provisioned_at: instant({ began: "case when status = 'completed' then :now::timestamptz end" }),
    refused_at: instant({ comment: 'When it was told that this payment buys nothing.' }),
    ...STAMPS,
  },
  once: ['transaction_id', 'mpesa_receipt'],
};

/** What an operator writes as the status of a user who shall have no access. */
export const SHUT_OUT = "'suspended', 'blocked', 'banned', 'disabled'";

/** Many applications write 0 or -1 for a limit that is none. SQL that is never null. */
export const usedUp = (used: string, limit: string) => `coalesce(${limit} > 0 and ${used} >= ${limit}, false)`;

/** Users who have used up their data, and still have access. */
export const SPENT = (user = '') =>
  `${usedUp(`${user}data_used`, `${user}data_limit`)} and (${user}has_active_subscription or ${user}status = 'active')`;

export const HOTSPOT_USERS: Table = {
  name: 'hotspot_users',
  recognisedBy: ['username', 'phone_number', 'has_active_subscription'],
  columns: {
    id: key(),
    // Customers may log in with their number.
    username: text({ notNull: true, unique: true, mayBe: 'phone_number' }),
    phone_number: text({ notNull: true, unique: true }),
    package_id: PACKAGE,
    package_name: text(),
    has_active_subscription: flag({ notNull: true, default: 'false' }),
    ...alike(instant(), 'subscription_starts_at', 'subscription_expires_at'),
    data_limit: whole(),
    data_used: starting(whole, '0'),
    status: status('active', 'expired'),
    ...STAMPS,
  },
  once: ['phone_number', 'username'],
  indexes: { spent: `(id) where ${SPENT()}` },
};

export const RADIUS_SESSIONS: Table = {
  name: 'radius_sessions',
  recognisedBy: ['username', 'expected_end', 'status'],
  columns: {
    id: key(),
    hotspot_user_id: USER,
    payment_id: PAYMENT,
    package_id: PACKAGE,
    radacct_id: whole(),
    username: text({ notNull: true }),
    ...alike(text(), 'mac_address', 'ip_address', 'nas_ip_address'),
    session_start: CREATED,
    ...alike(instant(), 'session_end', 'expected_end'),
    ...alike(starting(whole, '0'), 'duration_seconds', 'bytes_in', 'bytes_out', 'total_bytes'),
    data_limit: whole({
      comment: "The bytes that this session may use: the rest of the user's limit when it was opened.",
    }),
    status: status('active', 'expired'),
    disconnect_reason: text(),
    ...STAMPS,
  },
  once: ['payment_id'],
  indexes: {
    of_user: "(hotspot_user_id) where status = 'active'",
    of_name: "((scheduler.radius_name(username::text)), (coalesce(session_start, '-infinity'::timestamptz)))",
  },
};

export const HOTSPOT_CREDENTIALS: Table = {
  name: 'hotspot_credentials',
  ours: true,
  recognisedBy: ['hotspot_user_id', 'username', 'phone_number', 'sms_status'],
  columns: {
    id: key(),
    hotspot_user_id: USER,
    payment_id: PAYMENT,
    username: text({ notNull: true, mayBe: 'phone_number' }),
    plain_password: text(),
    phone_number: text({ notNull: true }),
    package_name: text(),
    expires_at: instant(),
    sms_status: status('pending', 'sending', 'sent', 'logged', 'unknown', 'failed'),
    sms_attempts: starting(small, '0'),
    sms_next_attempt_at: instant({ comment: 'When the SMS is due. Null: nothing more is tried.' }),
    sms_reference: starting(text, 'gen_random_uuid()::text'),
    sms_sent_at: instant(),
    given_up_at: instant({ comment: 'Since when somebody is to know that this SMS will not come. Null: nobody is.' }),
    ...alike(text(), 'sms_message_id', 'sms_error'),
    ...STAMPS,
  },
  once: ['payment_id'],
  indexes: {
    sending: "((id::text)) where sms_status = 'sending'",
    with_password: '(hotspot_user_id) where plain_password is not null',
  },
};

export const SESSION_DISCONNECTIONS: Table = {
  name: 'session_disconnections',
  ours: true,
  recognisedBy: ['radius_session_id', 'hotspot_user_id', 'disconnect_reason'],
  columns: {
    id: key(),
    radius_session_id: SESSION,
    hotspot_user_id: USER,
    radacct_id: whole(),
    username: text({ notNull: true }),
    ...alike(text(), 'acct_session_id', 'nas_ip_address', 'framed_ip_address', 'disconnect_reason'),
    status: status('pending', 'sending', 'disconnected', 'cancelled', 'failed'),
    attempts: starting(small, '0'),
    next_attempt_at: instant({ comment: 'When the NAS is to be asked. Null: nothing more is tried.' }),
    answer: text(),
    disconnected_at: instant(),
    ...STAMPS,
  },
  indexes: { sending: "((id::text)) where status = 'sending'", of_session: '(radacct_id)' },
};

export const DATA_USAGE_LOGS: Table = {
  name: 'data_usage_logs',
  recognisedBy: ['hotspot_user_id', 'bytes_in', 'bytes_out'],
  columns: {
    id: key(),
    hotspot_user_id: USER,
    radius_session_id: SESSION,
    radacct_id: whole(),
    ...alike(whole({ notNull: true }), 'bytes_in', 'bytes_out', 'total_bytes'),
    recorded_at: instant({ notNull: true }),
    created_at: { ...CREATED, ...NEW_TABLE },
  },
  indexes: { of_user: '(hotspot_user_id, recorded_at)' },
};
