import { harmless, inFile, type Mutant } from './mutant.ts';

export const MIGRATIONS: Mutant[] = [
  ...inFile('migrations/1_scheduler.sql', 'inspect/at-work', [
    ['and r.tenant = at_work.tenant and r.finished_at is null', 'and r.tenant = at_work.tenant'],
    ['and e.run_id = run.id', ''],
    [
      'where r.started_at >= clock_timestamp() - make_interval(secs => coalesce(holder.seconds, 86400))\n        and',
      'where',
    ],
  ]),
  ...inFile('migrations/1_scheduler.sql', 'store/instants#skips is the first instant', [
    ["at time zone 'UTC') #>> '{}') || 'Z'", "at time zone 'UTC') #>> '{}')", 'jobs/packages#has begun is switched on'],
    ['case when isfinite(at) then (to_json', 'case when true then (to_json', 'inspect/explain#one that never comes'],
    [
      "zone ~ '[0-9<]' and zone !~* '^((Etc/)?GMT[+-]?0|Etc/GMT[+-][0-9]{1,2}|EST5EDT|CST6CDT|MST7MDT|PST8PDT)$' then\n    return false",
      "zone ~ '^UTC' then\n    return false",
      'jobs/special-packages#a zone that nobody knows',
    ],
    [
      "|PST8PDT)$' then\n    return '-infinity'",
      "|PST8PDT|GMT[+-][0-9])$' then\n    return '-infinity'",
      'store/instants#than people mean it',
    ],
    ["wall > '294270-01-01' or wall", 'wall', 'store/instants#cannot be an instant'],
    [
      "then 'infinity' else '-infinity' end::timestamptz",
      "then '-infinity' else 'infinity' end::timestamptz",
      'store/instants#cannot be an instant',
    ],
    ["(utc - interval '1 day') at time zone 'UTC'", "(utc - interval '1 hour') at time zone 'UTC'"],
    ["(utc + interval '1 day') at time zone 'UTC'", "(utc + interval '1 hour') at time zone 'UTC'"],
    ['early := wall - greatest(before_change', 'early := wall - least(before_change'],
    ["early := date_trunc('second', early);", ''],
    ["> interval '1 second' loop", "> interval '2 seconds' loop"],
    [
      "exception\n  when others then\n    return '-infinity';",
      "exception\n  when others then\n    return 'infinity';",
      'jobs/special-packages#a zone that nobody knows',
    ],
    ["else day + coalesce(hour, '00:00')", 'else day + hour', 'jobs/special-packages#without a time the day begins'],
    [
      "when day > '294000-01-01' then 'infinity'",
      "when day > '294000-01-01' then '-infinity'",
      'store/instants#range of timestamps',
    ],
    ['then day + 1 else day end, null)', 'then day else day end, null)', 'jobs/special-packages#is the last valid day'],
    [
      'or length(words) - length(rest) > 12 then',
      'or length(words) - length(rest) > 22 then',
      'jobs/packages-validity#has its bounds',
    ],
    ['if unit = rest or rest = words', 'if rest = words', 'jobs/packages-validity#has its bounds'],
    ["when 'months' then 2592000", "when 'months' then 2678400", 'jobs/packages-validity#is a count and a unit'],
    ["when 'years' then 31536000\n", "when 'years' then 31557600\n", 'jobs/packages-validity#has its bounds'],
    ['between 1 and 31536000000', 'between 0 and 31536000000', 'jobs/packages-validity#has its bounds'],
    ['between 1 and 31536000000', 'between 1 and 315360000000', 'jobs/packages-validity#has its bounds'],
    [
      'if scheduler.instant(wall, zone) is distinct from start then',
      'if true then',
      'jobs/packages-repeats#an occurrence that a DST change skips',
    ],
    ['    count := 0;', '    count := 1;', 'jobs/packages-repeats#moved by hand to another day'],
    ['(next_over > upcoming.next_start or over <= start)', 'true', 'jobs/packages-repeats#leaves no time for'],
    ['1000000000) + 1, allowed)', '1000000000), allowed)', 'jobs/text-sessions/deductions#one credit per full'],
    ['when length(digits) >= 12 then', 'when length(digits) >= 11 then', 'jobs/hotspot/payments#numbers are masked'],
    [
      "if name !~ '[^@a-zA-Z0-9.\\-_: /]' then",
      "if name !~ '[^@a-zA-Z0-9.\\-_:'' /]' then",
      'jobs/hotspot/late-actors#outside ASCII',
    ],
    ["words in ('', '0', 'unlimited')", "words in ('', '0')", 'jobs/hotspot/payments#speeds are read'],
    ["in ('', '-1', 'unlimited')", "in ('', '-1')", 'jobs/hotspot/payments#sizes are read'],
    ['parts[1]::numeric, -1)', 'parts[1]::numeric)', 'jobs/hotspot/payments#sizes are read'],
    [
      "'/' || scheduler.speed(download), '0/0')",
      "'/' || scheduler.speed(download), '')",
      'jobs/hotspot/late-actors#the odd values',
    ],
    ['if not clean and sqlstate ~ spares then', 'if not clean then', 'engine/bad-rows#a row refused by'],
    [
      'insert into scheduler.holds select kind, n from unnest(array[60, 61])',
      'insert into scheduler.holds select kind, n from unnest(array[60])',
      'jobs/hotspot/accounting#reach the session and its user',
    ],
    ['grant execute on all functions in schema scheduler to public;', '', 'strangers/migrating#can write and analyze'],
    ["check (action in ('start', 'stop'))", "check (action in ('start'))", 'inspect/status#stop pauses everything'],
  ]),
  ...harmless('migrations/1_scheduler.sql', [
    [
      '> wall then\n      late := middle',
      '>= wall then\n      late := middle',
      'a time in the gap is never shown by the clock, so the two are never equal',
    ],
  ]),
];
