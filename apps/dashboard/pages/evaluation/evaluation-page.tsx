import { type EvaluationView, gateParts, type LineageView, type ScoreDistribution } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useSearch } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { evaluationLineageQuery, runQuery, scoreDistributionQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { formatCount, formatMap, formatShare } from '../../parts/numbers.ts';
import { useTitle } from '../../parts/title.ts';
import classes from './evaluation.module.css';
import { QueryList } from './query-list.tsx';

/** One evaluation, down to what was found for each query, alone or beside another one. */
export function EvaluationPage() {
  const { of } = useSearch({ from: '/signed-in/evaluation' });
  useFollow('runs');
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
  const lineage = useQuery(evaluationLineageQuery(client, of));
  useTitle(lineage.data?.evaluation.name ?? 'Evaluation');
  return <Answer of={lineage}>{(data) => <Evaluated of={of} lineage={data} />}</Answer>;
}

function Evaluated({ of, lineage }: { of: string; lineage: LineageView }) {
  const { evaluation } = lineage;
  return (
    <>
      <div className={classes.heading}>
        <h1>{evaluation.name}</h1>
        <CopyCall cli={`cairn queries ${quoted(of)}`} call={{ path: `/v1/evaluation/queries?of=${encodeURIComponent(of)}` }} />
      </div>
      <Made lineage={lineage} />
      <div className={classes.overview}>
        <ScoreTables evaluation={evaluation} />
        {evaluation.hasQueries && <Distribution of={of} />}
      </div>
      {evaluation.hasQueries ? (
        <QueryList of={of} lineage={lineage} />
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
  const counted = useQuery(scoreDistributionQuery(client, of, useSearch({ from: '/signed-in/evaluation' })));
  return (
    <section aria-label="Average precision" className={classes.card}>
      <h2>Average precision of the queries</h2>
      <Answer of={counted}>{(data) => <Bars counted={data} />}</Answer>
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

/** The definitions of mAP@100, and what each is called among the scores. */
const definitions = [
  { name: 'Kaggle', score: 'mapAt100', says: "The competition's formula: divided by the ground truths, at most 100." },
  { name: 'Kaggle, public queries', score: 'mapAt100.public', says: 'Over the queries of the public leaderboard.' },
  { name: 'Kaggle, private queries', score: 'mapAt100.private', says: 'Over the queries of the private leaderboard.' },
  { name: 'eval_cbir', score: 'mapAt100.reference', says: "The reference's script: interpolated, without the query itself." },
];

const ofContinents = Object.entries(gateParts).flatMap(([part, of]) =>
  'continent' in of
    ? [
        {
          name: `Kaggle, ${of.continent === 'OTHER' ? 'other places' : of.continent}`,
          score: `mapAt100.${part}`,
          says: `Gates call it mAP@100.${part}.`,
        },
      ]
    : [],
);

type ScoreRow = { name: string; score: string; says: string };

function ScoreTable({ rows, scores }: { rows: readonly ScoreRow[]; scores: EvaluationView['scores'] }) {
  return (
    <table className={classes.scores}>
      <tbody>
        {rows.map(({ name, score, says }) => (
          <tr key={score}>
            <th scope="row" title={says}>
              {name}
            </th>
            <td data-number>{scores[score] === undefined ? <span className={classes.dim}>not scored</span> : formatMap(scores[score])}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** mAP@100 by both definitions, and how the stages of the run came to it. */
function ScoreTables({ evaluation }: { evaluation: EvaluationView }) {
  const { scores, bootstrap } = evaluation;
  const [low, high] = [scores['mapAt100.low'], scores['mapAt100.high']];
  const continents = ofContinents.filter(({ score }) => scores[score] !== undefined);
  return (
    <section aria-label="Scores" className={classes.card}>
      <h2>mAP@100</h2>
      {low !== undefined && high !== undefined && bootstrap !== null && (
        <p className={classes.dim}>
          Kaggle: {formatMap(low)} to {formatMap(high)} ({formatShare(bootstrap.level)} interval)
        </p>
      )}
      <div className={classes.definitions}>
        <ScoreTable rows={definitions} scores={scores} />
        {continents.length > 0 && <ScoreTable rows={continents} scores={scores} />}
      </div>
      {evaluation.runId !== null && <Stages runId={evaluation.runId} />}
    </section>
  );
}

/** What the stages and evaluations of the run have scored. Stages are scored by Kaggle's formula alone, as they train. */
function Stages({ runId }: { runId: string }) {
  const { client } = useServices();
  const run = useQuery(runQuery(client, runId));
  const scored = run.data?.stepViews.filter(
    ({ kind, scores }) => ['train', 'evaluate'].includes(kind) && Object.keys(scores).some((name) => name.startsWith('mapAt100')),
  );
  if (scored === undefined || scored.length < 2) return null;
  const shown = (value: number | undefined) => (value === undefined ? <span className={classes.dim}>-</span> : formatMap(value));
  return (
    <table className={classes.scores}>
      <caption>By stage</caption>
      <thead>
        <tr>
          <th>Step</th>
          <th data-number>Start</th>
          <th data-number>End, Kaggle</th>
          <th data-number>End, eval_cbir</th>
        </tr>
      </thead>
      <tbody>
        {scored.slice(-20).map(({ name, scores }) => (
          <tr key={name}>
            <th scope="row">
              <Link to="/runs/$runId" params={{ runId }} search={{ step: name }}>
                {name}
              </Link>
            </th>
            <td data-number>{shown(scores['mapAt100.start'])}</td>
            <td data-number>{shown(scores['mapAt100.end'] ?? scores.mapAt100)}</td>
            <td data-number>{shown(scores['mapAt100.reference'])}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
