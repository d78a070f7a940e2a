import type { RunView } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall } from '../../parts/copy-call.tsx';
import { LineageTree } from '../../parts/lineage-tree.tsx';
import classes from './run.module.css';

/** What the run was made from: its steps, lists and dataset, imported weights, and results of other runs. */
export default function LineageTab({ run }: { run: RunView }) {
  const { client } = useServices();
  const lineage = useQuery({
    // It changes with the events of the run.
    queryKey: keys.runPart(run.id, 'events', 'lineage'),
    queryFn: ({ signal }) => client.getRunLineage(run.id, { signal }),
  });
  return (
    <Answer of={lineage}>
      {(data) => (
        <>
          <div className={classes.copy}>
            <CopyCall cli={`cairn lineage ${run.id}`} call={{ path: `/v1/runs/${run.id}/lineage` }} />
          </div>
          <LineageTree lineage={data} />
        </>
      )}
    </Answer>
  );
}
