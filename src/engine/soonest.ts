import type { Installed } from '../job/compile.ts';
import { quoteText } from '../job/expressions.ts';
import { mayBeTried } from '../store/failures.ts';
import { conditionsAt, momentOf } from './statements.ts';

const NOW = ':now::timestamptz';

// Further than from one look to the next.
const SOON = `(${NOW} + interval '2 seconds')`;

/** In how many seconds each job has something to do, if that is soon: 0 for what is due already. */
export function soonest(jobs: Installed[], anyFailures: boolean): string {
  const parts = jobs.map(({ job, rules }) => {
    const firsts = rules.map((rule) => {
      const asked = [...conditionsAt(rule, momentOf(rule, NOW)), ...(anyFailures ? [mayBeTried(rule)] : [])];
      return `(select ${rule.at} from ${rule.row}
        where ${[...asked, `${rule.at} <= ${SOON}`].join(' and ')} order by ${rule.at}, r.id limit 1)`;
    });
    return `select ${quoteText(job.name)} as job, least(${firsts.join(', ')}) as at`;
  });
  return `
    select job, extract(epoch from greatest(at, now) - now)::double precision as seconds
    from (${parts.join('\n      union all ')}) as soonest cross join lateral (select clock_timestamp() as now) as clock
    where at is not null`;
}
