import { CREATED, instant, key, like, text, words } from '../../job/columns.ts';
import { defineJob } from '../../job/define.ts';

export const job = defineJob({
  name: 'vouchers',
  summary: 'expire vouchers that were not used up in time',
  everyMinutes: 1,
  order: 110,
  table: {
    name: 'vouchers',
    recognisedBy: ['code', 'status', 'expires_at'],
    columns: {
      id: key(),
      code: text({ notNull: true, unique: true }),
      package_id: like('packages', 'id', { newTableOnly: true }),
      status: words(['unused', 'active', 'expired'], { notNull: true, default: "'unused'", writes: ['expired'] }),
      used_by: text({ newTableOnly: true }),
      used_at: instant({ newTableOnly: true }),
      expires_at: instant(),
      created_at: { ...CREATED, newTableOnly: true },
      updated_at: CREATED,
    },
  },
  rules: {
    expire: {
      due: 'expires_at',
      where: { 'it is unused or active': "status in ('unused', 'active')" },
      set: { status: "'expired'", updated_at: 'now' },
    },
  },
});
