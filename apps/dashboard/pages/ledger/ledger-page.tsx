import {
  type LedgerAmounts,
  type LedgerGrouping,
  type LedgerProperty,
  type LedgerRow,
  labelOfGrouping,
  ledgerProperty,
  lossCause,
} from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useFollow } from '../../app/follow.ts';
import { ledgerQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import type { Look } from '../../parts/looks.ts';
import { formatGpuHours, formatMoney, formatShare } from '../../parts/numbers.ts';
import { Pager } from '../../parts/pager.tsx';
import { At } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import { Budgets } from './budgets.tsx';
import classes from './ledger.module.css';
import { type LedgerSearch, ledgerRequest, type Period, periods } from './ledger-search.ts';

const groupingWords = {
  ...{ owner: 'Owner', run: 'Run', step: 'Step', attempt: 'Attempt', pool: 'Pool', cause: 'Cause of loss' },
} as const satisfies Record<LedgerProperty, string>;
const wordOf = (by: LedgerGrouping): string => {
  const label = labelOfGrouping(by);
  return label === null ? groupingWords[ledgerProperty.parse(by)] : `Label ${label}`;
};

/** What held time is made of, in the order of the bars. */
const parts = [
  { key: 'useful', label: 'Useful', colour: 'green', what: 'Attempts that succeeded, and others until they last stored their work' },
  { key: 'running', label: 'Running', colour: 'blue', what: 'Attempts that still run, since they last stored their work' },
  { key: 'lost', label: 'Lost', colour: 'red', what: 'Work that ended otherwise, and that nothing stored' },
  { key: 'idle', label: 'Idle', colour: 'orange', what: 'Slots were held, but no program ran' },
] as const satisfies readonly { key: keyof LedgerAmounts; label: string; colour: Look['colour']; what: string }[];

/** Where GPU time went, and what it cost. */
export function LedgerPage() {
  // A link to another period or property leads to its first page.
  const { cursor, ...search } = useSearch({ from: '/signed-in/ledger' });
  const navigate = useNavigate({ from: '/ledger' });
  const { by = 'owner', period = 'month', owner, run } = search;
  const { client } = useServices();
  useTitle('Ledger');
  // Keeps the stream open; the sums change all the time, and are fetched when the page is opened.
  useFollow('runs');
  const asked = ledgerRequest(search);
  const ledger = useQuery(ledgerQuery(client, { ...search, cursor }));
  return (
    <>
      <div className={classes.heading}>
        <h1>Ledger</h1>
        <CopyCall cli={cliOf(asked)} call={{ path: `/v1/ledger?${new URLSearchParams(asked)}` }} />
      </div>
      <Budgets />
      <Choices
        label="Period"
        options={Object.keys(periods) as Period[]}
        current={period}
        words={periods}
        search={(value) => ({ ...search, period: value })}
      />
      <Choices
        label="By"
        options={ledgerProperty.options}
        current={by}
        words={groupingWords}
        search={(value) => ({ ...search, by: value })}
      />
      {(owner !== undefined || run !== undefined) && (
        <p>
          {owner !== undefined && `Only runs of ${owner}. `}
          {run !== undefined && (
            <>
              Only the run{' '}
              <Link to="/runs/$runId" params={{ runId: run }}>
                {run}
              </Link>
              .{' '}
            </>
          )}
          <Link to="/ledger" search={{ ...search, owner: undefined, run: undefined }}>
            All runs
          </Link>
        </p>
      )}
      <Answer of={ledger}>
        {({ items, nextCursor, total, from, to }) => (
          <>
            <Summary total={total} />
            <LedgerTable by={by} search={search} rows={items} total={total} />
            <Pager cursor={cursor} nextCursor={nextCursor} onGo={(next) => void navigate({ search: { ...search, cursor: next } })} />
            <p className={classes.dim}>
              From <At at={from} /> to <At at={to} />; attempts that still run are counted until then.
            </p>
          </>
        )}
      </Answer>
    </>
  );
}

const cliOf = ({ by, from, to, owner, run }: ReturnType<typeof ledgerRequest>): string =>
  [
    `cairn ledger --by ${by} --from ${from}`,
    ...[
      to === undefined ? '' : `--to ${to}`,
      owner === undefined ? '' : `--owner ${quoted(owner)}`,
      run === undefined ? '' : `--run ${run}`,
    ],
  ]
    .filter((part) => part !== '')
    .join(' ');

type ChoicesProps<T extends string> = {
  label: string;
  options: readonly T[];
  current: string;
  words: Record<T, string>;
  search: (option: T) => LedgerSearch;
};

/** Links, so that each choice has its address. */
function Choices<T extends string>({ label, options, current, words, search }: ChoicesProps<T>) {
  return (
    <nav className={classes.choices} aria-label={label}>
      <span>{label}</span>
      {options.map((option) => (
        <Link key={option} to="/ledger" search={search(option)} {...(option === current ? { 'aria-current': 'page' } : {})}>
          {words[option]}
        </Link>
      ))}
    </nav>
  );
}

/** The total in words, with the causes of what was lost. */
function Summary({ total }: { total: LedgerAmounts }) {
  const causes = lossCause.options.filter((cause) => total.lostBy[cause] > 0).sort((a, b) => total.lostBy[b] - total.lostBy[a]);
  return (
    <dl className={classes.summary}>
      {parts.map(({ key, label, what, colour }) => (
        <div key={key} title={what}>
          <dt>
            <span className={classes.swatch} data-colour={colour} /> {label}
          </dt>
          <dd>
            {formatGpuHours(total[key])} {total.held > 0 && <span className={classes.dim}>{formatShare(total[key] / total.held)}</span>}
            {key === 'lost' && causes.length > 0 && (
              <span className={classes.dim}>{causes.map((cause) => ` · ${cause} ${formatGpuHours(total.lostBy[cause])}`).join('')}</span>
            )}
          </dd>
        </div>
      ))}
      <div title="What the results that steps reused had cost">
        <dt>Saved by reuse</dt>
        <dd>{formatGpuHours(total.saved)}</dd>
      </div>
      <div title="Waiting for room, times the slots that were waited for">
        <dt>Queued</dt>
        <dd>{formatGpuHours(total.queued)}</dd>
      </div>
      {total.cost !== null && (
        <div title="At the price that each pool had when an attempt ended">
          <dt>Cost</dt>
          <dd>{formatMoney(total.cost)}</dd>
        </div>
      )}
    </dl>
  );
}

function LedgerTable({
  by,
  search,
  rows,
  total,
}: {
  by: LedgerGrouping;
  search: LedgerSearch;
  rows: readonly LedgerRow[];
  total: LedgerAmounts;
}) {
  if (rows.length === 0) return <p className={classes.empty}>No attempt held a GPU in this period, and no step reused a result.</p>;
  const largest = Math.max(...rows.map(({ held }) => held));
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
      <section className={classes.scroll} tabIndex={0} aria-label="Table of GPU time">
        <table className={classes.table}>
          <thead>
            <tr>
              <th>{wordOf(by)}</th>
              <th>Compared with the largest</th>
              <th data-number>Held</th>
              {parts.map(({ key, label, what }) => (
                <th key={key} data-number title={what}>
                  {label}
                </th>
              ))}
              <th data-number>Queued</th>
              <th data-number>Saved</th>
              <th data-number>Cost</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.key}>
                <th scope="row">{nameOf(by, row, search)}</th>
                <td>
                  <Bar amounts={row} largest={largest} />
                </td>
                <Amounts amounts={row} />
              </tr>
            ))}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">Total</th>
              <td />
              <Amounts amounts={total} />
            </tr>
          </tfoot>
        </table>
      </section>
    </>
  );
}

/** A run leads to its page, an owner to what its runs used. */
function nameOf(by: LedgerGrouping, { key, name, runId }: LedgerRow, search: LedgerSearch): ReactNode {
  if (runId !== null) {
    return (
      <Link to="/runs/$runId" params={{ runId }}>
        {name}
      </Link>
    );
  }
  if (by !== 'owner') return name;
  return (
    <Link to="/ledger" search={{ ...search, by: 'run', owner: key }}>
      {name}
    </Link>
  );
}

function Amounts({ amounts }: { amounts: LedgerAmounts }) {
  const hours = (gpuSeconds: number) => (gpuSeconds === 0 ? <span className={classes.dim}>-</span> : formatGpuHours(gpuSeconds));
  return (
    <>
      <td data-number>{hours(amounts.held)}</td>
      {parts.map(({ key }) => (
        <td key={key} data-number>
          {hours(amounts[key])}
        </td>
      ))}
      <td data-number>{hours(amounts.queued)}</td>
      <td data-number>{hours(amounts.saved)}</td>
      <td data-number>{formatMoney(amounts.cost)}</td>
    </>
  );
}

/** What the held time is made of; the numbers are beside it. */
function Bar({ amounts, largest }: { amounts: LedgerAmounts; largest: number }) {
  return (
    <div className={classes.bar} aria-hidden>
      {parts.map(({ key, colour }) => (
        <span key={key} data-colour={colour} style={{ width: `${largest === 0 ? 0 : (amounts[key] / largest) * 100}%` }} />
      ))}
    </div>
  );
}
