import type { RunComparison, RunListItem, SettingDifference } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, type ReactNode, Suspense } from 'react';
import { useFollow } from '../../app/follow.ts';
import { comparisonQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall } from '../../parts/copy-call.tsx';
import { runLooks } from '../../parts/looks.ts';
import { formatCount, formatGpuHours, formatMap } from '../../parts/numbers.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './compare.module.css';
import { ComparedSteps, RunMark } from './compared-steps.tsx';

const Curves = lazy(() => import('./compared-curves.tsx'));

/** Selected runs side by side: what differs in their settings, what became of it, and their curves over each other. */
export function ComparePage() {
  const { runs: ids = [] } = useSearch({ from: '/signed-in/compare' });
  const { client } = useServices();
  const comparison = useQuery({ ...comparisonQuery(client, ids), enabled: ids.length > 1 });
  useFollow('runs');
  useTitle('Compare runs');
  return (
    <>
      <div className={classes.heading}>
        <h1>Compare runs</h1>
        {ids.length > 1 && (
          <CopyCall cli={`cairn diff ${ids.join(' ')}`} call={{ path: `/v1/runs/comparison?${ids.map((id) => `run=${id}`).join('&')}` }} />
        )}
      </div>
      {ids.length < 2 ? (
        <p className={classes.empty}>
          Select two to eight runs in the <Link to="/runs">table of runs</Link>, and choose Compare.
        </p>
      ) : (
        <Answer of={comparison}>{(data) => <Comparison comparison={data} />}</Answer>
      )}
    </>
  );
}

/** Runs whose tables fit beside each other in a wide window. */
const mostBesideEachOther = 3;

function Comparison({ comparison }: { comparison: RunComparison }) {
  const { runs, differences, differencesTotal, steps } = comparison;
  const hasStages = steps.some(({ kind }) => kind === 'train');
  return (
    <div className={classes.page} data-few={runs.length <= mostBesideEachOther}>
      <Table name="Runs" runs={runs} hasHead>
        <Facts runs={runs} />
      </Table>
      <section aria-labelledby="differences">
        <h2 id="differences">Settings that differ</h2>
        {differences.length === 0 ? (
          <p className={classes.empty}>None: these runs have the same recipe, dataset and settings.</p>
        ) : (
          <Table name="Settings that differ" runs={runs}>
            <Differences differences={differences} />
          </Table>
        )}
        {differencesTotal > differences.length && (
          <p className={classes.dim}>
            The first {formatCount(differences.length)} of {formatCount(differencesTotal)}.
          </p>
        )}
      </section>
      <section aria-labelledby="steps">
        <h2 id="steps">Scores and GPU time of each step</h2>
        <Table name="Steps" runs={runs}>
          <ComparedSteps runs={runs} steps={steps} />
        </Table>
      </section>
      {hasStages && (
        <section aria-labelledby="curves">
          <h2 id="curves">Curves</h2>
          <Suspense fallback={<p role="status">Loading …</p>}>
            <Curves comparison={comparison} />
          </Suspense>
        </section>
      )}
    </div>
  );
}

/** One column a run; the rows are the children's. */
function Table({
  name,
  runs,
  hasHead = false,
  children,
}: {
  name: string;
  runs: readonly RunListItem[];
  hasHead?: boolean;
  children: ReactNode;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard.
    <section className={classes.scroll} tabIndex={0} aria-label={name}>
      <table className={classes.table}>
        <thead>
          <tr>
            <td />
            {runs.map((run, index) => (
              <th key={run.id} scope="col">
                <span className={classes.run}>
                  <RunMark index={index} />
                  {hasHead ? (
                    <Link to="/runs/$runId" params={{ runId: run.id }} title={run.id}>
                      {run.name}
                    </Link>
                  ) : (
                    run.name
                  )}
                </span>
                {hasHead && <Order index={index} run={run} />}
              </th>
            ))}
          </tr>
        </thead>
        {children}
      </table>
    </section>
  );
}

/** Leaves a run out, or makes it the first, with which the others are compared. */
function Order({ index, run }: { index: number; run: RunListItem }) {
  const navigate = useNavigate({ from: '/compare' });
  const change = (next: (ids: readonly string[]) => string[]): void =>
    void navigate({ search: (old) => ({ ...old, runs: next(old.runs ?? []) }), resetScroll: false });
  const others = (ids: readonly string[]): string[] => ids.filter((id) => id !== run.id);
  return (
    <span className={classes.order}>
      {index === 0 ? (
        <span className={classes.dim}>compared with</span>
      ) : (
        <Button size="compact-xs" variant="default" onClick={() => change((ids) => [run.id, ...others(ids)])}>
          Make first
        </Button>
      )}
      <Button size="compact-xs" variant="subtle" aria-label={`Leave out ${run.name}`} onClick={() => change(others)}>
        Leave out
      </Button>
    </span>
  );
}

const facts: readonly { name: string; of: (run: RunListItem) => ReactNode }[] = [
  { name: 'State', of: ({ state }) => <StateBadge look={runLooks[state]} /> },
  { name: 'mAP@100, best', of: ({ mapAt100: { best } }) => (best === null ? '-' : formatMap(best)) },
  { name: 'mAP@100, last', of: ({ mapAt100: { last } }) => (last === null ? '-' : formatMap(last)) },
  { name: 'GPU time', of: ({ gpuSeconds }) => formatGpuHours(gpuSeconds) },
  { name: 'Steps', of: ({ steps }) => `${steps.done} of ${steps.total}${steps.reused > 0 ? `, ${steps.reused} reused` : ''}` },
  { name: 'Submitted', of: ({ createdAt }) => <Ago at={createdAt} /> },
  { name: 'Owner', of: ({ owner }) => owner },
];

function Facts({ runs }: { runs: readonly RunListItem[] }) {
  return (
    <tbody>
      {facts.map(({ name, of }) => (
        <tr key={name}>
          <th scope="row">{name}</th>
          {runs.map((run) => (
            <td key={run.id}>{of(run)}</td>
          ))}
        </tr>
      ))}
    </tbody>
  );
}

const text = (one: SettingDifference['of'][number]): string =>
  one === null ? '-' : typeof one.value === 'string' ? one.value : JSON.stringify(one.value);

/** One row a setting; values that are not those of the first run stand out. Steps with the same values share a row. */
function Differences({ differences }: { differences: readonly SettingDifference[] }) {
  const rows = [...Map.groupBy(differences, ({ path, of }) => `${path} ${JSON.stringify(of)}`)];
  return (
    <tbody>
      {rows.map(([key, [one, ...others]]) => {
        if (one === undefined) return null;
        const steps = [one, ...others].flatMap(({ step }) => step ?? []);
        const first = text(one.of[0] ?? null);
        return (
          <tr key={key}>
            <th scope="row">
              {steps.length > 0 && <span className={classes.part}>{steps.join(', ')}</span>}
              <code>{one.path}</code>
            </th>
            {one.of.map((value, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: the columns are the runs, in their order
              <td key={index} data-differs={text(value) !== first}>
                <code>{text(value)}</code>
              </td>
            ))}
          </tr>
        );
      })}
    </tbody>
  );
}
