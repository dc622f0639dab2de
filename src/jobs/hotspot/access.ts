import type { Tables } from '../../job/define.ts';
import { NOW } from '../../job/expressions.ts';
import { SHUT_OUT } from './tables.ts';

/** SQL on who has access, and who is still online without it. */

export const hasAccess = (user: string): string => `coalesce(
  ${user}.has_active_subscription and ${user}.subscription_expires_at > ${NOW} and ${user}.status::text not in (${SHUT_OUT}), false
)`;

/** The newest session of a name of RADIUS, looked up in the index name by name. A join would read all of them. */
export const newestSession = (t: Tables, name: string, columns: string, more = ''): string => `
  select ${columns} from ${t.radius_sessions} s
  where scheduler.radius_name(s.username::text) = ${name} ${more}
  order by coalesce(s.session_start, '-infinity'::timestamptz) desc limit 1`;

/**
 * How long a router is left alone after so many requests in vain: from a minute to half an hour. A little less than whole minutes,
 * so that no tick comes a moment too early.
 */
const FIRST_PAUSE_SECONDS = 55;
const DOUBLED = 5;
export const pauseAfter = (attempts: number): number => FIRST_PAUSE_SECONDS * 2 ** Math.min(attempts - 1, DOUBLED);
export const pauseAfterSql = (attempts: string): string =>
  `make_interval(secs => ${FIRST_PAUSE_SECONDS} * power(2, least(greatest(${attempts} - 1, 0), ${DOUBLED})))`;

/** Whether a disconnect of that row of radacct is under way. An acknowledged one is, until the router could report the stop. */
export const isBeingDisconnected = (t: Tables, radacctId: string): string => `exists (
  select from ${t.session_disconnections} d
  where d.radacct_id = ${radacctId}
    and (d.next_attempt_at is not null or d.updated_at + ${pauseAfterSql('d.attempts + 1')} > ${NOW})
)`;
