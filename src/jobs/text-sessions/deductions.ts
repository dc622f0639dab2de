import { defineJob, info, type Rule } from '../../job/define.ts';
import { ACTIVE, LOG, NEXT_BLOCK, NO_CREDIT, SETTINGS, settling, survey, TIME_FOR_ANOTHER } from './settle.ts';
import { TABLES, TEXT_SESSIONS } from './tables.ts';

// A session whose time and credit end with the same block ends for time, so this job leaves it to "session-endings".
const deduct: Rule = {
  ...settling(NEXT_BLOCK, { ...ACTIVE, ...TIME_FOR_ANOTHER }, false),
  outcomes: (t) => ({
    deduct: { 'its patient has credit for the next block': `not (${NO_CREDIT(t)})` },
    end: { 'its patient has no credit for the next block': NO_CREDIT(t) },
  }),
};

export const job = defineJob({
  name: 'deductions',
  summary: 'charge text sessions a credit per full 10 minutes, and end those whose credit has run out',
  everyMinutes: 1,
  order: 40,
  beside: { job: 'session-endings', or: 'sessions whose time is over stay open' },
  table: TEXT_SESSIONS,
  tables: TABLES,
  settings: SETTINGS,
  rules: { deduct },
  survey: {
    query: survey,
    line: (fields) => ({
      level: 'debug',
      message: `Text session ${Number(fields.new) > 0 ? 'has blocks to deduct' : 'skipped: no new full 10 minutes'}`,
      fields,
    }),
  },
  log: {
    started: info('Scheduler auto-deduction started'),
    ...LOG,
    finished: (changed, _, errors, surveyed) => {
      const processed = changed.deduct ?? 0;
      const skipped = Math.max(0, (surveyed ?? 0) - processed - errors);
      return [info(`Scheduler auto-deduction completed: ${processed} processed, ${skipped} skipped, ${errors} errors`)];
    },
  },
});
