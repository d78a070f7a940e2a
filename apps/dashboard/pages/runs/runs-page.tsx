import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useFollow } from '../../app/live.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { runLooks } from '../../parts/looks.ts';
import { StateBadge } from '../../parts/state-badge.tsx';

export function RunsPage() {
  const { client } = useServices();
  const runs = useQuery({ queryKey: keys.runs, queryFn: ({ signal }) => client.listRuns({}, { signal }) });
  useFollow('runs');
  return (
    <ul>
      {runs.data?.items.map((run) => (
        <li key={run.id}>
          <Link to="/runs/$runId" params={{ runId: run.id }}>
            {run.name}
          </Link>{' '}
          <StateBadge look={runLooks[run.state]} />
        </li>
      ))}
    </ul>
  );
}
