import type { LineageView } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import { Distribution } from './distribution.tsx';
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
