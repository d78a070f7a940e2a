import { messageOf } from '@cairn/client';
import type { ComparedStep, RunComparison, RunListItem } from '@cairn/contract';
import { useQueries } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useServices } from '../../app/services.ts';
import { stepLooks } from '../../parts/looks.ts';
import { formatGpuHours, formatMap } from '../../parts/numbers.ts';
import type { PlotColour } from '../../parts/plot.tsx';
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

/** How the runs of a comparison are told apart: by a letter, a colour and the dashes of their lines. At most eight. */
const looks: readonly { colour: PlotColour; dash: readonly number[] }[] = [
  { colour: { light: '#0d6b64', dark: '#5fd0c5' }, dash: [] },
  { colour: { light: '#1d4f91', dark: '#7fb4ff' }, dash: [9, 3] },
  { colour: { light: '#a84b12', dark: '#ffab70' }, dash: [3, 3] },
  { colour: { light: '#6d33a3', dark: '#cfa6ff' }, dash: [12, 3, 3, 3] },
  { colour: { light: '#a31545', dark: '#ff8fb3' }, dash: [6, 6] },
  { colour: { light: '#456f0c', dark: '#a3d65c' }, dash: [2, 5] },
  { colour: { light: '#7c5b00', dark: '#e0c050' }, dash: [15, 5] },
  { colour: { light: '#475569', dark: '#b6c2cf' }, dash: [9, 3, 2, 3, 2, 3] },
];

export const letterOf = (index: number): string => String.fromCharCode(65 + index);
export const lookOf = (index: number): { colour: PlotColour; dash: readonly number[] } =>
  looks[index % looks.length] ?? { colour: { light: '#475569', dark: '#b6c2cf' }, dash: [] };

/** The letter of a run on its colour. */
export function RunMark({ index }: { index: number }) {
  const { light, dark } = lookOf(index).colour;
  return (
    <span className={classes.mark} style={{ background: `light-dark(${light}, ${dark})` }} aria-hidden="true">
      {letterOf(index)}
    </span>
  );
}
