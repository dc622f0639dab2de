import { failure, info, type Job, type Rule } from '../../job/define.ts';

const EXPIRE: Rule = {
  name: 'expire',
  row: 'vouchers v',
  at: 'scheduler.at(v.expires_at, :dbZone::text)',
  when: { 'it is unused or active': "v.status in ('unused', 'active')" },
  change: `
    expired as (
      update vouchers v set status = 'expired', updated_at = :now::timestamptz
      from todo where v.id = todo.id
      returning v.id, todo.due_at
    ),
    outcome as (
      select 1 as step, 'expire' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('voucher_id', id) as data
      from expired
    )`,
};

export const job: Job = {
  name: 'vouchers',
  summary: 'expire vouchers that were not used up in time',
  everyMinutes: 1,
  order: 110,
  tables: { vouchers: ['id', 'code', 'status', 'expires_at', 'updated_at'] },
  adopt: 'adopt_hotspot',
  rules: [EXPIRE],
  lines: {
    started: info('Vouchers job started'),
    found: (_, count) => info('Found vouchers to expire', { count }),
    done: ({ data }) => [info('Voucher expired', { voucher_id: data.voucher_id })],
    failed: (_, id, error) => failure('Failed to expire voucher', { voucher_id: id, error }),
    finished: () => [info('Vouchers job completed')],
  },
};
