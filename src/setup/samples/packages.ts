import type { Sample } from './sample.ts';

export const packages: Sample = {
  title: 'A WiFi hotspot: packages with a sale window',
  story: 'Each package is on sale from its start until its end, which may be a stop time or a validity.',
  channel: 'private-packages',
  fill: `
    insert into packages (name, description, price, enable_schedule, scheduled_activation_time, scheduled_deactivation_time,
      validity, repeats, status, is_active, activated_at)
    select name, remark, price, true, minute + start::interval, minute + stop::interval, validity, repeats,
      case when active then 'active' else 'inactive' end, active, case when active then minute + start::interval end
    from (values
      ('Weekend Special', 'its start has come', 5.00, false, '-3 minutes', null, '2 days', null),
      ('Night Owl', 'starts tomorrow', 2.50, false, '1 day', null, '6 hours', null),
      ('Lunch Hour', 'its validity of 1 hour is over', 1.00, true, '-65 minutes', null, '1 hour', null),
      ('Morning Coffee', 'over for today, repeats daily', 0.50, true, '-4 hours', '-1 hour', null, 'daily'),
      ('Flash Sale', 'nobody ticked in its 30 minutes', 0.99, false, '-2 hours', null, '30 minutes', null),
      ('Mystery Bundle', 'validity "banana"', 9.99, false, '-10 minutes', null, 'banana', null)
    ) as sample (name, remark, price, active, start, stop, validity, repeats)
    cross join date_trunc('minute', :now::timestamptz) as minute`,
  show: `
    select name as package, status, to_char(scheduled_activation_time, 'Dy HH24:MI') as start,
      to_char(scheduler.sale_end(scheduled_activation_time, scheduled_deactivation_time, validity), 'Dy HH24:MI') as "end",
      description as "what to know"
    from packages where enable_schedule order by id`,
};
