import type { Sample } from '../samples.ts';

export const sample: Sample = {
  job: 'special-packages',
  title: 'A salon: special packages on the wall clock',
  story: 'On at a date and a time in the row’s own zone, off when the last valid day is over.',
  channel: 'private-packages',
  fill: `
    insert into special_packages (name, scheduled, schedule_date, schedule_time, auto_activate, auto_deactivate, is_active, valid_until, timezone)
    select name, scheduled, wall::date, wall::time(0), true, true, active, (local_now + valid)::date, zone
    from (values
      ('Spa Day', true, false, 'Africa/Nairobi', interval '-5 minutes', interval '7 days'),
      ('Bridal Week', true, false, 'Europe/Paris', interval '2 days', interval '9 days'),
      ('Winter Glow', false, true, 'America/New_York', interval '-10 days', interval '-1 day'),
      ('Grand Opening', true, false, 'UTC', interval '-4 days', interval '-2 days')
    ) as v (name, scheduled, active, zone, opens, valid)
    cross join lateral (select :now::timestamptz at time zone zone as local_now) as here
    cross join lateral (select local_now + opens as wall) as hour`,
  show: `
    select name as package, case when is_active then 'on' else 'off' end as state, to_char(schedule_date + schedule_time, 'Dy HH24:MI') as start,
      to_char(valid_until, 'Dy DD Mon') as "last day", timezone as zone,
      case name when 'Spa Day' then 'its hour has come in Nairobi' when 'Bridal Week' then 'waits for its day'
        when 'Winter Glow' then 'yesterday was its last day' else 'its days passed without a tick' end as "what to know"
    from special_packages order by id`,
};
