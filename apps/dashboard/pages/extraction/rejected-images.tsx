import { useQuery } from '@tanstack/react-query';
import { Link, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatCount } from '../../parts/numbers.ts';
import { Picture } from '../../parts/picture.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './extraction.module.css';

const pageSize = 12;

/** The images that were left out, each with its reason, and its picture where it can be shown. */
export function RejectedImages({ runId, step }: { runId: string; step: string }) {
  const { client } = useServices();
  const { cursor } = useSearch({ from: '/signed-in/runs/$runId' });
  const rejected = useQuery({
    queryKey: keys.runPart(runId, 'shards', step, 'rejected', cursor),
    queryFn: ({ signal }) => client.listRejected(runId, step, { limit: pageSize, ...(cursor === undefined ? {} : { cursor }) }, { signal }),
    placeholderData: (previous) => previous,
  });
  return (
    <section aria-label="Rejected images" className={classes.card}>
      <h2>Rejected images</h2>
      {rejected.data === undefined ? (
        rejected.error === null ? (
          <p role="status">Loading …</p>
        ) : (
          <ProblemNotice error={rejected.error} onRetry={() => void rejected.refetch()} />
        )
      ) : (
        <>
          <ul className={classes.rejected}>
            {rejected.data.items.map(({ imageId, path, reason, shard }) => (
              <li key={`${shard} ${imageId}`}>
                <span className={classes.thumb}>
                  <Picture dataset={rejected.data.dataset} imageId={imageId} size={256} alt={`The rejected image ${imageId}`} />
                </span>
                <span>
                  <strong>{reason}</strong>
                  <code>{path}</code>
                  <span className={classes.dim}>shard {shard}</span>
                </span>
              </li>
            ))}
          </ul>
          <p className={classes.pages}>
            {cursor !== undefined && (
              <Link from="/runs/$runId" search={(now) => ({ ...now, cursor: undefined })} resetScroll={false}>
                First page
              </Link>
            )}
            {rejected.data.nextCursor !== null && (
              <Link from="/runs/$runId" search={(now) => ({ ...now, cursor: rejected.data.nextCursor ?? undefined })} resetScroll={false}>
                Next page
              </Link>
            )}
            <span className={classes.dim}>{formatCount(rejected.data.total)} rejected</span>
          </p>
        </>
      )}
    </section>
  );
}
