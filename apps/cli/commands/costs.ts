import {
  type BudgetPeriod,
  type BudgetState,
  type BudgetView,
  budgetPeriod,
  gpuHoursText,
  type LedgerAmounts,
  type LedgerGrouping,
  ledgerGrouping,
  ledgerProperty,
} from '@cairn/contract';
import { InvalidArgumentError, Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import { visibleText } from '../output/visible-text.ts';
import { positiveNumber, wholeNumber } from './options.ts';

type LedgerOptions = {
  by: LedgerGrouping;
  from?: string;
  to?: string;
  owner?: string;
  run?: string;
  label?: string;
  limit: number;
  csv?: true;
};

export function addCosts({ program, action }: Registrar): void {
  program
    .command('ledger')
    .description('shows where GPU time went: useful, lost and why, idle, queued, saved by reuse, and what it cost')
    .option('--by <property>', `one line for each: ${ledgerProperty.options.join(', ')}, or label:KEY`, grouping, 'owner')
    .option('--from <time>', 'the beginning of the period, such as 2027-01-01 (default: of this month, UTC)', timeInUtc)
    .option('--to <time>', 'its end, not included (default: now)', timeInUtc)
    .option('--owner <name>', 'only runs that this token submitted')
    .option('--run <run>', 'only this run')
    .option('--label <key=value>', 'only runs with this label')
    .option('--limit <count>', 'at most this many lines, those that held most first', wholeNumber(1, 100_000), 50)
    .option('--csv', 'all lines as CSV (RFC 4180), in GPU-seconds')
    .action(action(ledger));
  const budget = program.command('budget').description('budgets of GPU time for owners and labels, which warn, then hold new runs');
  budget.command('list', { isDefault: true }).description('lists the budgets with what counts against them').action(action(listBudgets));
  budget
    .command('set <scope>')
    .description('sets or changes the budget of owner:NAME or label:KEY=VALUE (for admins)')
    .requiredOption('--hours <hours>', 'GPU-hours; 0 holds every new run', positiveNumber)
    .addOption(new Option('--per <period>', 'a calendar month of UTC, or without a period').choices(budgetPeriod.options).default('month'))
    .option('--warn <percent>', 'needs attention from this share on', wholeNumber(1, 100), 80)
    .action(action(setBudget));
  budget.command('remove <scope>').description('removes a budget; runs that it held stay held (for admins)').action(action(removeBudget));
}

async function listBudgets({ ui, signal, client }: Session): Promise<undefined> {
  const list = await (await client()).listBudgets({ signal });
  ui.json(list);
  if (list.items.length === 0) ui.line('No budgets: `cairn budget set owner:NAME --hours 200` sets one.');
  else printBudgets(ui, list.items);
  return undefined;
}

async function setBudget(
  { ui, signal, client }: Session,
  scope: string,
  { hours: gpuHours, per, warn: warnPercent }: { hours: number; per: BudgetPeriod; warn: number },
): Promise<undefined> {
  const list = await (await client()).setBudget(scope, { gpuHours, per, warnPercent }, { signal });
  ui.json(list);
  printBudgets(
    ui,
    list.items.filter((item) => item.scope === scope),
  );
  return undefined;
}

async function removeBudget({ ui, signal, client }: Session, scope: string): Promise<undefined> {
  ui.json(await (await client()).removeBudget(scope, { signal }));
  ui.line(`The budget ${scope} is removed.`);
  return undefined;
}

function printBudgets(ui: Session['ui'], items: readonly BudgetView[]): void {
  const paint = { open: ui.style.good, warned: ui.style.warn, spent: ui.style.bad } as const satisfies Record<BudgetState, unknown>;
  const rows = items.map(({ scope, per, gpuHours, usedHours, expectedHours, warnPercent, state }) => [
    ui.style.bold(scope),
    per,
    ...[gpuHours, usedHours, expectedHours].map((hours) => gpuHoursText(hours)),
    `${warnPercent} %`,
    paint[state](state === 'spent' ? 'spent: new runs are held' : state),
  ]);
  const budgetColumns = [
    ...[
      { title: 'budget' },
      { title: 'per' },
      { title: 'GPU-hours', ...right },
      { title: 'used', ...right },
      { title: 'expected', ...right },
    ],
    ...[{ title: 'warns at', ...right }, { title: 'state' }],
  ];
  for (const line of tableLines(budgetColumns, rows, { heading: ui.style.dim })) ui.line(line);
}

async function ledger(
  { ui, signal, client, cli }: Session,
  { by, from, to, owner, run, label, limit, csv }: LedgerOptions,
): Promise<undefined> {
  const api = await client();
  const asked = {
    by,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(owner === undefined ? {} : { owner }),
    ...(label === undefined ? {} : { label }),
    ...(run === undefined ? {} : { run: (await findRun(api, run, signal)).id }),
  };
  if (csv) {
    const decoder = new TextDecoder();
    for await (const part of await api.readLedgerCsv(asked, { signal })) {
      const text = decoder.decode(part, { stream: true });
      cli.stdout.write(cli.stdout.isTTY === true ? visibleText(text) : text);
    }
    return undefined;
  }
  const query = { ...asked, limit: Math.min(limit, 200) };
  const first = await api.readLedger(query, { signal });
  const items = [...first.items];
  let { nextCursor } = first;
  while (nextCursor !== null && items.length < limit) {
    const page = await api.readLedger({ ...query, cursor: nextCursor }, { signal });
    items.push(...page.items);
    nextCursor = page.nextCursor;
  }
  const shown = items.slice(0, limit);
  const hasMore = nextCursor !== null || items.length > shown.length;
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

function grouping(text: string): LedgerGrouping {
  const parsed = ledgerGrouping.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(`It must be one of ${ledgerProperty.options.join(', ')}, or label:KEY, such as label:team.`);
}

/** A date, or a time with its offset, as the API takes it. */
function timeInUtc(text: string): string {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
  if (Number.isNaN(Date.parse(time)) || !/T.*(Z|[+-]\d{2}:\d{2})$/.test(time))
    throw new InvalidArgumentError('It must be a date such as 2027-01-31, or a time such as 2027-01-31T09:00:00Z.');
  return time;
}
