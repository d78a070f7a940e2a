import { type CairnError, isCairnError, protocol, type StoredFile } from '@cairn/contract';
import { commitArtifact, faultyParts } from '@cairn/storage';
import type { Runner } from '../agent/attempt-context.ts';
import { type Failure, failureOf } from '../agent/failure.ts';

/**
 * One attempt at the artifact of a fleet: copies the committed parts out of staging, checks the copies, and writes the manifest last. Files
 * that an earlier attempt copied stay. Missing or changed parts are reported by their shards, which are then done again.
 */
export const runFinalize: Runner<'finalize'> = async ({ spec, client, store, reporter, stop }) => {
  const { id, kind, prefix, createdAt, details } = spec.artifact;
  const shardOf = new Map<string, number>();
  const files: StoredFile[] = [];
  for (let from: number | null = 0; from !== null; ) {
    stop.asked.throwIfAborted();
    const page: Awaited<ReturnType<typeof client.stagedFiles>> = await client.stagedFiles(from);
    for (const { index, files: staged } of page.shards) {
      for (const file of staged) shardOf.set(file.name, index);
      files.push(...staged);
    }
    from = page.next;
  }
  try {
    const { digest } = await commitArtifact(store, {
      prefix: prefix.replace(/\/$/, ''),
      files: files.map(({ name, key, bytes, sha256 }) => ({ name, from: key, bytes, sha256 })),
      manifest: { kind, id, protocol, createdAt, details },
      onProgress: (done, total) =>
        reporter.progress({
          done,
          total,
          unit: 'files',
          rate: null,
          etaSeconds: null,
          message: `${done} of ${total} files in place`,
        }),
      signal: stop.asked,
    });
    return { outcome: 'succeeded', files: [], details: { digest } };
  } catch (error) {
    if (!isCairnError(error, 'corrupt_artifact', 'not_found')) throw error;
    return withBadShards(error, shardOf);
  }
};

function withBadShards(error: CairnError, shardOf: ReadonlyMap<string, number>): Failure {
  const names = faultyParts.safeParse(error.details).data?.names ?? [];
  const shards = new Set(names.flatMap((name) => shardOf.get(name) ?? []));
  return { ...failureOf(error), ...(shards.size > 0 && { badShards: [...shards].sort((a, b) => a - b) }) };
}
