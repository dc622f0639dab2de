import fc from 'fast-check';
import { DAY, few, HOUR, moment } from './late-tick.ts';

export const PACKAGES = [
  { id: 1, name: 'Day', price: 50, duration: '12 hours', data_limit: null, upload_speed: '2M' },
  { id: 2, name: 'Two days', price: 20, duration: '2 days', data_limit: 1000, upload_speed: null },
  { id: 3, name: 'Morning', price: 20, duration: '6 hours', data_limit: 5000, upload_speed: '512k' },
  { id: 4, name: 'Soon', price: 20, duration: 'soon', data_limit: null, upload_speed: '2M' },
];
const LENGTHS: Record<number, number> = { 1: 12 * HOUR, 2: 48 * HOUR, 3: 6 * HOUR };
const PHONES = 3;

/**
 * A package lasts longer than the story. A shorter one may lapse between two payments, and late it cannot: the paid time begins
 * when the access does, so that nobody loses time to an outage. For the same reason, a payment without a date has a number
 * of its own: it counts as made when it is found, and a user's old time may be over by then.
 */
export const paying = fc.record({
  users: fc.array(
    fc.option(
      fc.record({
        status: fc.constantFrom<string>('active', 'active', 'active', 'active', 'expired', 'blocked'),
        has: fc.nat(4).map((n) => n > 0),
        end: fc.option(fc.oneof(moment, fc.constant(DAY)), { freq: 6 }),
        limit: fc.constantFrom<number | null>(null, null, 1000),
        used: fc.constantFrom<number>(0, 999, 1000),
        bought: fc.constantFrom<number>(1, 2, 3),
      }),
      { freq: 4 },
    ),
    { minLength: PHONES, maxLength: PHONES },
  ),
  payments: few(
    fc
      .record({
        phone: fc.nat(PHONES - 1).map(String),
        bought: fc.constantFrom<number>(1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 9),
        more: fc.constantFrom(0, 0, 0, 0, 10, -0.01),
        status: fc.nat(9).map((n) => ['pending', 'failed'][n] ?? 'completed'),
        when: fc.option(moment, { freq: 9 }),
        done: fc.nat(8).map((n) => n === 0),
      })
      .map((payment) => ({ ...payment, phone: payment.when === null ? 'dateless' : payment.phone })),
    8,
  ),
});
type Paying = typeof paying extends fc.Arbitrary<infer T> ? T : never;

export function provisioned({ users, payments }: Paying, ticks: number[]) {
  const made = users.flatMap((user, n) =>
    user ? [{ ...user, phone: String(n), start: -DAY, password: 'kept', paidBy: [0] }] : [],
  );
  const all = payments.map((payment, n) => ({ ...payment, id: n + 1, at: null as number | null, refused: false }));
  const order = (when: number | null) => when ?? -Infinity;
  for (const now of ticks)
    for (const payment of all.toSorted((a, b) => order(a.when) - order(b.when) || a.id - b.id)) {
      const { phone, bought, when, id } = payment;
      if (payment.status !== 'completed' || payment.done || payment.at !== null || order(when) > now) continue;
      const offer = PACKAGES.find((each) => each.id === bought);
      const user = made.find((each) => each.phone === phone);
      payment.refused = payment.more < 0 || !LENGTHS[bought] || /suspended|blocked/.test(user?.status ?? '');
      if (payment.refused) continue;
      payment.at = now;
      const hasData = !user?.limit || user.used < user.limit;
      const runs = user?.has && hasData && user.end !== null && user.end > (when ?? now);
      const goesOn = runs && user.bought === bought;
      const next = {
        ...{ phone, bought, status: 'active', has: true, start: runs ? user.start : now },
        end: (runs ? Math.max(user.end!, now) : now) + LENGTHS[bought]!,
        limit: !goesOn
          ? offer!.data_limit
          : user.limit === null || !offer!.data_limit
            ? null
            : user.limit + offer!.data_limit,
        used: goesOn ? user.used : 0,
        password: runs ? user.password : 'new',
        // The payments whose sessions are open; 0 is that of before the story.
        paidBy: runs ? [id] : [...(user?.paidBy ?? []), id],
      };
      if (user) Object.assign(user, next);
      else made.push(next);
    }
  return {
    users: made
      .sort((a, b) => (a.phone < b.phone ? -1 : 1))
      .map((user) => ({
        ...user,
        // In whole seconds. Nothing of an account is written before it is paid for again.
        radius:
          user.paidBy.at(-1) === 0
            ? null
            : { ends: Math.floor(user.end!), bytes: user.limit && user.limit - user.used },
      })),
    payments: all.map(({ at, done, refused }) => ({ at: done ? -DAY : at, refused, told: at === null ? 0 : 1 })),
  };
}
