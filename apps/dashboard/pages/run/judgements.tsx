import type { RunGateState, RunGateView, RunView, StoredJudgement } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { verdictLooks } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './run.module.css';

/** What quality gates said about the run, and why: the newest judgement, and the others on request. */
export function Judgements({ run }: { run: RunView }) {
  const { client } = useServices();
  const judgements = useQuery({
    // A judgement is an event of the run.
    queryKey: keys.runPart(run.id, 'events', 'judgements'),
    queryFn: ({ signal }) => client.listJudgements(run.id, { signal }),
    enabled: run.verdict !== 'none',
  });
  if (run.verdict === 'none') return run.gate === null ? null : <Unjudged gate={run.gate} />;
  if (judgements.error !== null) return <ProblemNotice error={judgements.error} onRetry={() => void judgements.refetch()} />;
  const [newest, ...older] = judgements.data?.items.toSorted((a, b) => Date.parse(b.judgedAt) - Date.parse(a.judgedAt)) ?? [];
  if (newest === undefined) return null;
  return (
    <section aria-label="Quality gates" className={classes.judgements}>
      <Judged judgement={newest} />
      {older.length > 0 && (
        <details>
          <summary>{older.length === 1 ? '1 earlier judgement' : `${older.length} earlier judgements`}</summary>
          {older.map((judgement) => (
            <Judged key={`${judgement.judgedAt} ${judgement.gate}`} judgement={judgement} />
          ))}
        </details>
      )}
    </section>
  );
}

const evidence = { interval: 'by the 95 % interval', mean: 'by the mean alone' } as const satisfies Record<StoredJudgement['by'], string>;

const unjudged = {
  waiting: 'The gate is judged once the run has succeeded.',
  judging: 'The gate is being judged.',
  judged: 'The gate has been judged.',
  refused: 'The gate could not be judged.',
} as const satisfies Record<RunGateState, string>;

/** The gate that the run was submitted with, before there is a verdict. */
function Unjudged({ gate: { gate, state, problem } }: { gate: RunGateView }) {
  return (
    <section aria-label="Quality gates" className={classes.judgements}>
      <div className={classes.judged}>
        <StateBadge look={verdictLooks.none} />
        <div>
          <strong>{gate}</strong> <span className={classes.dim}>{unjudged[state]}</span>
          {problem !== null && <p>{problem}</p>}
        </div>
      </div>
    </section>
  );
}

function Judged({ judgement: { verdict, gate, by, reason, judgedBy, judgedAt, promotion } }: { judgement: StoredJudgement }) {
  return (
    <div className={classes.judged}>
      <StateBadge look={verdictLooks[verdict]} />
      <div>
        <strong>{gate}</strong>{' '}
        <span className={classes.dim}>
          {evidence[by]}, {judgedBy}, <Ago at={judgedAt} />
        </span>
        <p>{reason}</p>
        {promotion !== null && <p>{promotion.reason}</p>}
      </div>
    </div>
  );
}
