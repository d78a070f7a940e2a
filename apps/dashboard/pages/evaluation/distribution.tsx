import type { ScoreDistribution } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatCount, formatShare } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './evaluation.module.css';

/** How many queries have which average precision: bars, and beside each that of the other evaluation. */
export function Distribution({ of }: { of: string }) {
  const { client } = useServices();
  const { against } = useSearch({ from: '/signed-in/evaluation' });
  const counted = useQuery({
    queryKey: keys.evaluation(of, 'distribution', against),
    queryFn: ({ signal }) => client.getScoreDistribution({ of, against }, { signal }),
    placeholderData: (previous) => previous,
  });
  return (
    <section aria-label="Average precision" className={classes.card}>
      <h2>Average precision of the queries</h2>
      {counted.data !== undefined ? (
        <Bars counted={counted.data} />
      ) : counted.error === null ? (
        <p role="status">Loading …</p>
      ) : (
        <ProblemNotice error={counted.error} onRetry={() => void counted.refetch()} />
      )}
    </section>
  );
}

function Bars({ counted: { kaggle, against, queries } }: { counted: ScoreDistribution }) {
  const most = Math.max(1, ...kaggle, ...(against ?? []));
  const range = (step: number) => `${formatShare(step / kaggle.length)} to ${formatShare((step + 1) / kaggle.length)}`;
  const summary = kaggle.map((count, step) => `${range(step)}: ${count}`).join('; ');
  return (
    <figure className={classes.distribution}>
      <div className={classes.bars} role="img" aria-label={`Queries by average precision. ${summary}`}>
        {kaggle.map((count, step) => (
          <div
            key={range(step)}
            title={`${range(step)}: ${formatCount(count)} of ${formatCount(queries)} queries${
              against === null ? '' : `; ${formatCount(against[step] ?? 0)} in the other`
            }`}
          >
            {against !== null && <span className={classes.bar} data-other style={{ height: `${((against[step] ?? 0) / most) * 100}%` }} />}
            <span className={classes.bar} style={{ height: `${(count / most) * 100}%` }} />
          </div>
        ))}
      </div>
      <figcaption>
        <span>0 %</span>
        <span>
          {formatCount(queries)} queries; the highest bar has {formatCount(most)}
          {against !== null && '; striped: the other evaluation'}
        </span>
        <span>100 %</span>
      </figcaption>
    </figure>
  );
}
