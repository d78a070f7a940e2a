import type { CheckpointList, RunView, StepView } from '@cairn/contract';
import { useQueries } from '@tanstack/react-query';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatBytes, formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './training.module.css';

const maxRows = 20;

/** The newest checkpoints of the stages: what an attempt can resume from, and what a stage made. */
export function Checkpoints({ run, stages }: { run: RunView; stages: readonly StepView[] }) {
  const { client } = useServices();
  const own = stages.filter(({ attempts }) => attempts > 0);
  const answers = useQueries({
    queries: own.map((stage) => ({
      // A stored checkpoint is an event of the run.
      queryKey: keys.runPart(run.id, 'timeline', 'checkpoints', stage.name),
      queryFn: ({ signal }: { signal: AbortSignal }) => client.listCheckpoints(run.id, stage.name, { signal }),
    })),
  });
  const failed = answers.find(({ error }) => error !== null);
  const rows = own
    .flatMap(({ name }, index) => (answers[index]?.data?.items ?? []).map((checkpoint) => ({ stage: name, ...checkpoint })))
    .toSorted((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
  const total = answers.reduce((sum, { data }) => sum + (data?.total ?? 0), 0);
  if (failed !== undefined) return <ProblemNotice error={failed.error} onRetry={() => void failed.refetch()} />;
  if (rows.length === 0) return null;
  return (
    <section className={classes.checkpoints} aria-labelledby="checkpoints">
      <h2 id="checkpoints">Checkpoints</h2>
      <div className={classes.scroll}>
        <table>
          <thead>
            <tr>
              <th>Stage</th>
              <th data-number>Step</th>
              <th data-number>Epoch</th>
              <th data-number>Size</th>
              <th data-number>Attempt</th>
              <th>Stored</th>
              <th>Verified</th>
              <th>File</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, maxRows).map(({ id, stage, step, epoch, bytes, ordinal, createdAt, verifiedAt, ...one }) => (
              <tr key={id}>
                <th scope="row">{stage}</th>
                <td data-number>{formatCount(step)}</td>
                <td data-number>{epoch.toFixed(2)}</td>
                <td data-number>{formatBytes(bytes)}</td>
                <td data-number>{ordinal}</td>
                <td>
                  <Ago at={createdAt} />
                </td>
                <td>{verifiedAt === null ? 'not yet' : <Ago at={verifiedAt} />}</td>
                <td>{fate(one)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {total > maxRows && (
        <p className={classes.note}>
          The newest {maxRows} of {formatCount(total)}.
        </p>
      )}
    </section>
  );
}

/** What became of the file. */
function fate({ final, removedAt }: Pick<CheckpointList['items'][number], 'final' | 'removedAt'>): string {
  if (removedAt !== null) return 'removed: the result of the stage is stored';
  return final ? 'the result of the stage' : 'kept: an attempt can resume from it';
}
