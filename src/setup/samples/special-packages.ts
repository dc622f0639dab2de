import type { Sample } from './sample.ts';

export const specialPackages: Sample = {
  title: 'A salon: special packages on the wall clock',
  story: "On at a date and a time in the row's own zone, off when its last valid day is over.",
  channel: 'private-packages',
  fill: `
    insert into special_packages (name, scheduled, schedule_date, schedule_time, auto_activate, auto_deactivate, is_active,
      valid_until, timezone)
    select name, not active, (wall + opens::interval)::date, (wall + opens::interval)::time, true, true, active,
      (wall + closes::interval)::date, zone
    from (values
      ('Spa Day', false, 'Africa/Nairobi', '-5 minutes', '7 days'),
      ('Bridal Week', false, 'Europe/Paris', '2 days', '9 days'),
      ('Winter Glow', true, 'America/New_York', '-10 days', '-1 day'),
      ('Grand Opening', false, 'UTC', '-4 days', '-2 days')
    ) as sample (name, active, zone, opens, closes)
    cross join lateral (select date_trunc('minute', :now::timestamptz) at time zone zone as wall) as here`,
  show: `
    select name as package, case when is_active then 'on' else 'off' end as state,
      to_char(schedule_date + schedule_time, 'Dy HH24:MI') as start, to_char(valid_until, 'Dy DD Mon') as "last day", timezone as zone,
      case name
        when 'Spa Day' then 'its hour has come in Nairobi'
        when 'Bridal Week' then 'waits for its day'
        when 'Winter Glow' then 'yesterday was its last day'
        else 'its days passed without a tick'
      end as "what to know"
    from special_packages order by id`,
};
