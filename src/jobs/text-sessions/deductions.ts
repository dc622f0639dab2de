import { info, type Job } from '../../job/define.ts';
import { ACTIVE, done, failed, NEXT_BLOCK, SETTINGS, SURVEY, settling, TABLES, TIME_FOR_ANOTHER } from './settle.ts';

const CONDITIONS = { ...ACTIVE, ...TIME_FOR_ANOTHER };

const DEDUCT = settling(
  { name: 'deduct', at: NEXT_BLOCK, when: CONDITIONS },
  { family: [...Object.values(CONDITIONS), `${NEXT_BLOCK} <= :now::timestamptz`].join(' and '), timeEnds: false },
);

export const job: Job = {
  name: 'deductions',
  summary: 'charge text sessions a credit per full 10 minutes, and end those whose credit has run out',
  everyMinutes: 1,
  order: 40,
  tables: TABLES,
  adopt: 'adopt_text_sessions',
  settings: SETTINGS,
  rules: [DEDUCT],
  survey: SURVEY,
  lines: {
    started: info('Scheduler auto-deduction started'),
    surveyed: ({ session_id, elapsed, expected, processed, new: blocks }) => ({
      level: 'debug',
      message:
        Number(blocks) > 0 ? 'Text session has blocks to deduct' : 'Text session skipped: no new full 10 minutes',
      fields: { session_id, elapsed, expected, processed, new: blocks },
    }),
    done,
    failed,
    finished: (changed, _, errors, surveyed) => {
      const processed = changed.deduct ?? 0;
      const skipped = Math.max(0, (surveyed ?? 0) - processed - errors);
      return [info(`Scheduler auto-deduction completed: ${processed} processed, ${skipped} skipped, ${errors} errors`)];
    },
  },
};
