import { hostname } from 'node:os';
import { systemUser } from '../base/connection.ts';
import type { Database } from '../db/client.ts';
import { SCHEMAS } from '../db/search-path.ts';
import { LATEST_JOBS } from './own-jobs.ts';

export interface Control {
  action: 'start' | 'stop';
  at: string;
  by: string;
  reason: string | null;
}

/** The latest word on each job, and on all of them, of the tenants that this connection sees. */
export const LATEST_CONTROLS = `
  select distinct on (tenant, job) id, tenant, job, action, scheduler.iso(at) as at, by, reason from scheduler.controls
  where tenant is null or tenant = any(${SCHEMAS})
  order by tenant, job, id desc`;

export interface Word extends Control {
  id: number;
  tenant: string | null;
  job: string | null;
}

export function latestControl(controls: Word[], job: string, tenant: string | undefined): Control | null {
  const about = controls.filter((control) => (control.job ?? job) === job && (control.tenant ?? tenant) === tenant);
  return about.sort((a, b) => b.id - a.id)[0] ?? null;
}

export const isPaused = (control: Control | null) => control?.action === 'stop';

export const whyPaused = (control: Control) =>
  `stopped by ${control.by} at ${control.at}${control.reason ? `: ${control.reason}` : ''}`;

/** The person at the keyboard, as far as the system knows. */
export function whoami(): string {
  const user = process.env.SUDO_USER || systemUser();
  return `${user}@${hostname()}`;
}

export async function recordControl(
  db: Database,
  action: Control['action'],
  job: string | null,
  reason: string | null,
): Promise<void> {
  await db.query(
    `insert into scheduler.controls (tenant, action, job, by, reason)
     select case when not exists (select from (${LATEST_JOBS}) as own where name = :job::text and tenant is null) then :tenant::text end,
       :action::text, :job::text, :by::text, :reason::text`,
    { action, job, by: whoami(), reason, tenant: db.tenant ?? null },
  );
}
