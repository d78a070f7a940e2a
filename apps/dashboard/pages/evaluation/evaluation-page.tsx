import type { LineageView, ScoreDistribution } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { formatCount, formatShare } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './evaluation.module.css';
import { QueryList } from './query-list.tsx';
import { ScoreTables } from './score-tables.tsx';

/** One evaluation, down to what was found for each query, alone or beside another one. */
export function EvaluationPage() {
  const { of } = useSearch({ from: '/signed-in/evaluation' });
  if (of === undefined) return <NoEvaluation />;
  return <Evaluation key={of} of={of} />;
}

function NoEvaluation() {
  useTitle('Evaluation');
  return (
    <>
      <h1>Evaluation</h1>
      <p className={classes.empty}>
        No evaluation is named. Open one from a step of the kind <code>evaluate</code> of a <Link to="/runs">run</Link>, or from a version
        of a <Link to="/models">model</Link>.
      </p>
    </>
  );
}

function Evaluation({ of }: { of: string }) {
  const { client } = useServices();
  const lineage = useQuery({
    queryKey: keys.evaluation(of, 'lineage'),
    queryFn: ({ signal }) => client.getEvaluationLineage(of, { signal }),
  });
  useTitle(lineage.data?.evaluation.name ?? 'Evaluation');
  if (lineage.data === undefined) {
    return lineage.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={lineage.error} onRetry={() => void lineage.refetch()} />
    );
  }
  const { evaluation } = lineage.data;
  return (
    <>
      <div className={classes.heading}>
        <h1>{evaluation.name}</h1>
        <CopyCall cli={`cairn queries ${quoted(of)}`} call={{ path: `/v1/evaluation/queries?of=${encodeURIComponent(of)}` }} />
      </div>
      <Made lineage={lineage.data} />
      <div className={classes.overview}>
        <ScoreTables evaluation={evaluation} />
        {evaluation.hasQueries && <Distribution of={of} />}
      </div>
      {evaluation.hasQueries ? (
        <QueryList of={of} lineage={lineage.data} />
      ) : (
        <p className={classes.empty}>An earlier release made this evaluation, without scores by query. Submit its recipe again.</p>
      )}
    </>
  );
}

/** Where it comes from, in one line. */
function Made({ lineage: { evaluation, dataset, models, made } }: { lineage: LineageView }) {
  const run = made[0]?.run;
  return (
    <p className={classes.made}>
      {run !== undefined && (
        <span>
          Run{' '}
          <Link to="/runs/$runId" params={{ runId: run.id }} search={{ step: evaluation.step }}>
            {run.name}
          </Link>
        </span>
      )}
      {models.length > 0 && (
        <span>
          Model{' '}
          {models.map(({ name, version }, index) => (
            <span key={`${name}@${version}`}>
              {index > 0 && ', '}
              <Link to="/models/$name" params={{ name }}>
                {name}@{version}
              </Link>
            </span>
          ))}
        </span>
      )}
      {dataset !== null && <span>Dataset {dataset}</span>}
      {evaluation.gallery !== null && <span>{formatCount(evaluation.gallery.rows)} images searched</span>}
    </p>
  );
}

/** How many queries have which average precision: bars, and beside each that of the other evaluation. */
function Distribution({ of }: { of: string }) {
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
