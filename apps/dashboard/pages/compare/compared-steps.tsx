import { messageOf } from '@cairn/client';
import type { ComparedStep, RunComparison, RunListItem } from '@cairn/contract';
import { useQueries } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useServices } from '../../app/services.ts';
import { stepLooks } from '../../parts/looks.ts';
import { formatGpuHours, formatMap } from '../../parts/numbers.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './compare.module.css';

type Props = { runs: readonly RunListItem[]; steps: RunComparison['steps'] };

/** What each step gave and took in each run. Evaluations are compared with the first run's, query by query. */
export function ComparedSteps({ runs, steps }: Props) {
  return (
    <tbody>
      {steps.map(({ name, kind, of }) => (
        <tr key={name}>
          <th scope="row">
            {name}
            <span className={classes.part}>{kind}</span>
          </th>
          {kind === 'evaluate' ? (
            <Evaluations runs={runs} name={name} of={of} />
          ) : (
            of.map((step, index) => <td key={runs[index]?.id}>{step === null ? none : <Outcome step={step} name={name} />}</td>)
          )}
        </tr>
      ))}
    </tbody>
  );
}

const none = <span className={classes.dim}>not in this run</span>;

/** The mAP of a step: of a training stage that at its end. */
const mapOf = ({ scores }: ComparedStep): number | undefined => scores['mapAt100.end'] ?? scores.mapAt100;

function Outcome({ step, name }: { step: ComparedStep; name: string }) {
  const map = mapOf(step);
  const { 'mapAt100.low': low, 'mapAt100.high': high } = step.scores;
  return (
    <>
      <StateBadge look={stepLooks[step.state]} />
      {map !== undefined && (
        <p>
          mAP@100 <strong>{formatMap(map)}</strong>
          {low !== undefined && high !== undefined && (
            <span className={classes.dim}>
              {' '}
              ({formatMap(low)} to {formatMap(high)})
            </span>
          )}
        </p>
      )}
      {step.gpuSeconds > 0 && <p>{formatGpuHours(step.gpuSeconds)}</p>}
      {step.reusedFrom !== null && (
        <p className={classes.dim}>
          of{' '}
          <Link to="/runs/$runId" params={{ runId: step.reusedFrom.runId }} search={{ step: name }}>
            {step.reusedFrom.runName}
          </Link>
        </p>
      )}
    </>
  );
}

function Evaluations({ runs, name, of }: { runs: readonly RunListItem[]; name: string; of: readonly (ComparedStep | null)[] }) {
  const { client } = useServices();
  const first = of[0]?.artifactId ?? null;
  const answers = useQueries({
    queries: of.map((step, index) => ({
      // Evaluations never change.
      queryKey: ['comparison', first, step?.artifactId],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        client.compareEvaluations({ a: first ?? '', b: step?.artifactId ?? '', show: 0 }, { signal }),
      enabled: index > 0 && first !== null && step?.artifactId != null && step.artifactId !== first,
      staleTime: Number.POSITIVE_INFINITY,
    })),
  });
  return of.map((step, index) => {
    const answer = answers[index];
    const means = answer?.data?.comparison.all;
    return (
      <td key={runs[index]?.id}>
        {step === null ? none : <Outcome step={step} name={name} />}
        {index > 0 && first !== null && step?.artifactId === first && <p className={classes.dim}>the same evaluation</p>}
        {means != null && (
          <p title={`${means.queries} queries; 95 % interval of a paired bootstrap; p-value of a paired permutation test`}>
            <strong>{signed(means.difference)}</strong>{' '}
            <span className={classes.dim}>
              ({signed(means.low)} to {signed(means.high)}, p {means.p < 0.001 ? '< 0.001' : means.p.toFixed(3)})
            </span>
          </p>
        )}
        {answer?.error != null && <p className={classes.dim}>Not compared query by query: {messageOf(answer.error)}</p>}
      </td>
    );
  });
}

/** A difference of mAP in percentage points. */
const signed = (difference: number): string => `${difference < 0 ? '−' : '+'}${Math.abs(difference * 100).toFixed(1)} points`;
