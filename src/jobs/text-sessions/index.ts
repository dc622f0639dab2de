import { job as deductions } from './deductions.ts';
import { job as sessionEndings } from './session-endings.ts';

export const jobs = [deductions, sessionEndings];
