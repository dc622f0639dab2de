import { aliasOf, type Job } from '../job/define.ts';
import { mayBeTried } from '../store/failures.ts';
import { conditionsAt, momentOf } from './statement.ts';

const NOW = ':now::timestamptz';

// Further than from one look to the next.
const SOON = `(${NOW} + interval '2 seconds')`;

/** In how many seconds each job has something to do, if that is soon: 0 for what is due already. */
export function soonest(jobs: Job[], anyFailures: boolean): string {
  const parts = jobs.map((job) => {
    const firsts = job.rules.map((rule) => {
      const mayBe = anyFailures ? [mayBeTried(`${aliasOf(rule)}.id`).replaceAll(':job::text', `'${job.name}'`)] : [];
      return `(select ${rule.at} from ${rule.row}
        where ${[...conditionsAt(rule, momentOf(rule, NOW)), ...mayBe].join(' and ')} and ${rule.at} <= ${SOON}
        order by ${rule.at}, ${aliasOf(rule)}.id limit 1)`;
    });
    return `select '${job.name}' as job, least(${firsts.join(', ')}) as at`;
  });
  return `
    select job, extract(epoch from greatest(at, now) - now)::double precision as seconds
    from (${parts.join('\n      union all ')}) as soonest cross join lateral (select clock_timestamp() as now) as clock
    where at is not null`;
}
