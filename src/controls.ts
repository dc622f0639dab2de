import { hostname, userInfo } from 'node:os';
import type { Database } from './db.ts';

export interface Control {
  action: 'start' | 'stop';
  at: string;
  by: string;
  reason: string | null;
}

/** The latest word on a job: about itself or about all of them. Expects a relation `j` (name). */
export const LATEST_CONTROL = `
  select c.action, scheduler.iso(c.at) as at, c.by, c.reason
  from scheduler.controls c
  where c.job is null or c.job = j.name
  order by c.id desc limit 1`;

export const isPaused = (control: Control | null) => control?.action === 'stop';

export const whyPaused = (control: Control) =>
  `stopped by ${control.by} at ${control.at}${control.reason ? `: ${control.reason}` : ''}`;

/** Who is at the keyboard, as far as the system knows. */
export function whoami(): string {
  const user = process.env.SUDO_USER || userInfo().username;
  return `${user}@${hostname()}`;
}

export async function recordControl(
  db: Database,
  action: Control['action'],
  job: string | null,
  reason: string | null,
): Promise<void> {
  await db.query(
    `insert into scheduler.controls (action, job, by, reason) values (:action::text, :job::text, :by::text, :reason::text)`,
    { action, job, by: whoami(), reason },
  );
}
