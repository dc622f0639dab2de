import { job as accounting } from './accounting.ts';
import { job as credentials } from './credentials.ts';
import { job as disconnects } from './disconnects.ts';
import { job as hotspotSessions } from './hotspot-sessions.ts';
import { job as packages } from './packages.ts';
import { job as payments } from './payments.ts';
import { job as vouchers } from './vouchers.ts';

export const jobs = [packages, payments, credentials, accounting, hotspotSessions, disconnects, vouchers];
