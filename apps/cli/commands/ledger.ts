import { type LedgerAmounts, type LedgerGrouping, type LedgerRow, ledgerGrouping, lossCause } from '@cairn/contract';
import { InvalidArgumentError, Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { csvOf } from '../output/csv.ts';
import { tableLines } from '../output/table.ts';
import { wholeNumber } from './options.ts';

type LedgerOptions = { by: LedgerGrouping; from?: string; to?: string; owner?: string; run?: string; limit: number; csv?: true };

export function addLedger({ program, action }: Registrar): void {
  program
    .command('ledger')
    .description('shows where GPU time went: useful, lost and why, idle, queued, saved by reuse, and what it cost')
    .addOption(new Option('--by <property>', 'one line for each').choices(ledgerGrouping.options).default('owner'))
    .option('--from <time>', 'the beginning of the period, such as 2027-01-01 (default: of this month, UTC)', timeInUtc)
    .option('--to <time>', 'its end, not included (default: now)', timeInUtc)
    .option('--owner <name>', 'only runs that this token submitted')
    .option('--run <run>', 'only this run')
    .option('--limit <count>', 'at most this many lines, those that held most first', wholeNumber(1, 100_000), 50)
    .option('--csv', 'all lines as CSV (RFC 4180), in GPU-seconds')
    .action(action(ledger));
}

async function ledger({ ui, signal, client, cli }: Session, { by, from, to, owner, run, limit, csv }: LedgerOptions): Promise<undefined> {
  const api = await client();
  const query = {
    by,
    limit: csv ? 200 : Math.min(limit, 200),
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(owner === undefined ? {} : { owner }),
    ...(run === undefined ? {} : { run: (await findRun(api, run, signal)).id }),
  };
  const most = csv ? Number.POSITIVE_INFINITY : limit;
  const first = await api.readLedger(query, { signal });
  const items = [...first.items];
  let { nextCursor } = first;
  while (nextCursor !== null && items.length < most) {
    const page = await api.readLedger({ ...query, cursor: nextCursor }, { signal });
    items.push(...page.items);
    nextCursor = page.nextCursor;
  }
  const shown = items.slice(0, most);
  const hasMore = nextCursor !== null || items.length > shown.length;
  if (csv) {
    cli.stdout.write(csvOf(csvTitles, shown.map(csvRow)));
    return undefined;
  }
  ui.json({ ...first, items: shown, nextCursor: null, hasMore });
  const rows = [...shown.map(rowOf), rowOf({ ...first.total, name: 'total' })];
  ui.line(ui.style.dim(`${minuteOf(first.from)} to ${minuteOf(first.to)} UTC, in GPU-hours`));
  for (const line of tableLines([{ title: by }, ...columns], rows, { heading: ui.style.dim })) ui.line(line);
  if (hasMore) ui.note(ui.style.dim(`There are more: --limit ${limit * 5} shows them, --csv has all.`));
  return undefined;
}

const right = { align: 'right' as const };
const columns = ['held', 'useful', 'running', 'lost', 'idle', 'queued', 'saved', 'cost', 'saved cost'].map((title) => ({
  title,
  ...right,
}));

const rowOf = ({ name, ...amounts }: LedgerAmounts & { name: string }): string[] => [
  name,
  ...amountKeys.map((key) => hours(amounts[key])),
  money(amounts.cost),
  money(amounts.savedCost),
];

const amountKeys = ['held', 'useful', 'running', 'lost', 'idle', 'queued', 'saved'] as const;

const hours = (gpuSeconds: number): string => (gpuSeconds === 0 ? '' : gpuSeconds < 18 ? '< 0.01' : (gpuSeconds / 3600).toFixed(2));
const money = (amount: number | null): string => (amount === null ? '' : amount.toFixed(2));
const minuteOf = (time: string): string => time.slice(0, 16).replace('T', ' ');

const csvTitles = ['key', 'name', 'run', ...amountKeys, ...lossCause.options.map((cause) => `lost_${cause}`), 'cost', 'saved_cost'];

const csvRow = ({ key, name, runId, lostBy, cost, savedCost, ...amounts }: LedgerRow): (string | number | null)[] => [
  ...[key, name, runId],
  ...amountKeys.map((part) => amounts[part]),
  ...lossCause.options.map((cause) => lostBy[cause]),
  ...[cost, savedCost],
];

/** A date, or a time with its offset, as the API takes it. */
function timeInUtc(text: string): string {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
  if (Number.isNaN(Date.parse(time)) || !/T.*(Z|[+-]\d{2}:\d{2})$/.test(time))
    throw new InvalidArgumentError('It must be a date such as 2027-01-31, or a time such as 2027-01-31T09:00:00Z.');
  return time;
}
