import { hostname } from 'node:os';
import { systemUser } from '../base/connection.ts';
import type { Database } from '../db/client.ts';
import { call } from './functions.ts';

export interface Control {
  action: 'start' | 'stop';
  at: string;
  by: string;
  reason: string | null;
}

/** With what is said of a job that it has stopped. */
export interface Latest extends Control {
  why: string;
}

/** The latest word on each job, and on all of them, of these tenants. */
export const latestControlsIn = (schemas: string): string => `
  select distinct on (tenant, job) id, tenant, job, action, scheduler.iso(at) as at, by, reason, scheduler.why_stopped(by, at, reason) as why
  from scheduler.controls
  where tenant is null or tenant = any(${schemas})
  order by tenant, job, id desc`;

export interface Word extends Latest {
  id: number;
  tenant: string | null;
  job: string | null;
}

export function latestControl(controls: Word[], job: string, tenant: string | undefined): Latest | null {
  const about = controls.filter((control) => (control.job ?? job) === job && (control.tenant ?? tenant) === tenant);
  return about.sort((a, b) => b.id - a.id)[0] ?? null;
}

export const isPaused = (control: Control | null) => control?.action === 'stop';

/** The person at the keyboard, as far as the system knows. */
export function whoami(): string {
  const user = process.env.SUDO_USER || systemUser();
  return `${user}@${hostname()}`;
}

interface Controlled {
  message: string;
  scheduler: { isRunning: boolean; intervalMinutes: number; nextCheck: string | null };
}

export const control = (
  db: Database,
  action: Control['action'],
  job: string | null,
  reason: string | null,
): Promise<Controlled> =>
  call(db, `scheduler.${action}(:job::text, :reason::text, :by::text, :tenant::text)`, {
    ...{ job, reason },
    ...{ by: whoami(), tenant: db.tenant ?? null },
  });
