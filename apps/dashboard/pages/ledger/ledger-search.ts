import { ledgerGrouping } from '@cairn/contract';
import { z } from 'zod';
import { cursor } from '../../parts/page-search.ts';

/** The periods to choose from: months of UTC, as budgets have them, and the last days. */
export const periods = {
  month: 'This month',
  last: 'Last month',
  week: 'Last 7 days',
  quarter: 'Last 90 days',
} as const;
const period = z.enum(['month', 'last', 'week', 'quarter']);
export type Period = z.infer<typeof period>;

/** What the address of the ledger says. */
export const ledgerSearch = z.object({
  by: ledgerGrouping.optional().catch(undefined),
  period: period.optional().catch(undefined),
  owner: z.string().min(1).max(63).optional().catch(undefined),
  run: z
    .string()
    .regex(/^run_[0-9a-hjkmnp-tv-z]{26}$/)
    .optional()
    .catch(undefined),
  cursor,
});
export type LedgerSearch = z.infer<typeof ledgerSearch>;

/** What the API is asked, but for the page. */
export const ledgerRequest = ({ by = 'owner', period = 'month', owner, run }: LedgerSearch) => ({
  by,
  ...endsOf(period, new Date()),
  ...(owner === undefined ? {} : { owner }),
  ...(run === undefined ? {} : { run }),
});

/** The ends of a period, for the API; without `to` it ends now. To the hour, so that an answer stays the same for a while. */
function endsOf(of: Period, now: Date): { from: string; to?: string } {
  const month = (before: number) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - before)).toISOString();
  const daysAgo = (days: number) => new Date(Math.floor(now.getTime() / 3_600_000) * 3_600_000 - days * 86_400_000).toISOString();
  switch (of) {
    case 'month':
      return { from: month(0) };
    case 'last':
      return { from: month(1), to: month(0) };
    case 'week':
      return { from: daysAgo(7) };
    case 'quarter':
      return { from: daysAgo(90) };
  }
}
