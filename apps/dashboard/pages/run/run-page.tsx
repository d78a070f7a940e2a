import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { useFollow } from '../../app/live.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { runLooks } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';

/** The run's name and state, kept up to date. */
export function RunPage() {
  const { runId } = useParams({ from: '/signed-in/runs/$runId' });
  const { client } = useServices();
  const run = useQuery({ queryKey: keys.run(runId), queryFn: ({ signal }) => client.getRun(runId, { signal }) });
  useFollow(...(run.data === undefined ? [] : [`run:${runId}`]));
  if (run.data === undefined) return run.error === null ? null : <ProblemNotice error={run.error} />;
  return (
    <>
      <h1>{run.data.name}</h1>
      <StateBadge look={runLooks[run.data.state]} />
    </>
  );
}
