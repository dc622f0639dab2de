import { hostname } from 'node:os';
import { systemUser } from '../base/connection.ts';
import type { Database } from '../db/client.ts';

export interface Control {
  action: 'start' | 'stop';
  at: string;
  by: string;
  reason: string | null;
}

/** The latest word on each job, and on all of them. */
export const LATEST_CONTROLS = `
  select distinct on (job) id, job, action, scheduler.iso(at) as at, by, reason from scheduler.controls order by job, id desc`;

export function latestControl<C extends { id: number; job: string | null }>(controls: C[], job: string): C | null {
  const about = controls.filter((control) => control.job === null || control.job === job);
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
    `insert into scheduler.controls (action, job, by, reason) values (:action::text, :job::text, :by::text, :reason::text)`,
    { action, job, by: whoami(), reason },
  );
}
