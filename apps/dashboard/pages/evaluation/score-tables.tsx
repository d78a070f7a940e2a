import type { EvaluationView } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatMap, formatShare } from '../../parts/numbers.ts';
import classes from './evaluation.module.css';

/** The definitions of mAP@100, and what each is called among the scores. */
const definitions = [
  { name: 'Kaggle', score: 'mapAt100', says: "The competition's formula: divided by the ground truths, at most 100." },
  { name: 'Kaggle, public queries', score: 'mapAt100.public', says: 'Over the queries of the public leaderboard.' },
  { name: 'Kaggle, private queries', score: 'mapAt100.private', says: 'Over the queries of the private leaderboard.' },
  { name: 'eval_cbir', score: 'mapAt100.reference', says: "The reference's script: interpolated, without the query itself." },
] as const;

/** mAP@100 by both definitions, and how the stages of the run came to it. */
export function ScoreTables({ evaluation }: { evaluation: EvaluationView }) {
  const { scores, bootstrap } = evaluation;
  const [low, high] = [scores['mapAt100.low'], scores['mapAt100.high']];
  return (
    <section aria-label="Scores" className={classes.card}>
      <h2>mAP@100</h2>
      <table className={classes.scores}>
        <tbody>
          {definitions.map(({ name, score, says }) => (
            <tr key={score}>
              <th scope="row" title={says}>
                {name}
              </th>
              <td data-number>
                {scores[score] === undefined ? <span className={classes.dim}>not scored</span> : formatMap(scores[score])}
              </td>
              <td className={classes.dim}>
                {score === 'mapAt100' && low !== undefined && high !== undefined && bootstrap !== null
                  ? `${formatMap(low)} to ${formatMap(high)} (${formatShare(bootstrap.level)} interval)`
                  : ''}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {evaluation.runId !== null && <Stages runId={evaluation.runId} />}
    </section>
  );
}

/** What the stages and evaluations of the run have scored. Stages are scored by Kaggle's formula alone, as they train. */
function Stages({ runId }: { runId: string }) {
  const { client } = useServices();
  const run = useQuery({ queryKey: keys.run(runId), queryFn: ({ signal }) => client.getRun(runId, { signal }) });
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
