import type { Sample } from '../samples.ts';

export const sample: Sample = {
  job: 'packages',
  title: 'A WiFi hotspot: packages with a sale window',
  story: 'Each package is on sale from its start until its end, which may be a stop time or a validity.',
  channel: 'private-packages',
  fill: `
    insert into packages (name, description, price, enable_schedule, scheduled_activation_time, scheduled_deactivation_time,
      validity, repeats, status, is_active, activated_at)
    values
      ('Weekend Special', 'its start has come', 5.00, true, :now::timestamptz - interval '3 minutes', null, '2 days', null, 'inactive', false, null),
      ('Night Owl', 'starts tomorrow', 2.50, true, :now::timestamptz + interval '1 day', null, '6 hours', null, 'inactive', false, null),
      ('Lunch Hour', 'its validity of 1 hour is over', 1.00, true, :now::timestamptz - interval '65 minutes', null, '1 hour', null,
        'active', true, :now::timestamptz - interval '65 minutes'),
      ('Morning Coffee', 'over for today, repeats daily', 0.50, true, :now::timestamptz - interval '4 hours', :now::timestamptz - interval '1 hour',
        null, 'daily', 'active', true, :now::timestamptz - interval '4 hours'),
      ('Flash Sale', 'nobody ticked in its 30 minutes', 0.99, true, :now::timestamptz - interval '2 hours', null, '30 minutes', null,
        'inactive', false, null),
      ('Mystery Bundle', 'validity "banana"', 9.99, true, :now::timestamptz - interval '10 minutes', null, 'banana', null, 'inactive', false, null)`,
  show: `
    select name as package, status, to_char(scheduled_activation_time, 'Dy HH24:MI') as start,
      to_char(scheduler.sale_end(scheduled_activation_time, scheduled_deactivation_time, validity), 'Dy HH24:MI') as "end",
      description as "what to know"
    from packages order by id`,
};
