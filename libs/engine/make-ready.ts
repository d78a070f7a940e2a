import { mayReuse, stepKinds } from '@cairn/domain';
import { newId } from '@cairn/runtime';
import { memoPartsColumn } from './columns.ts';
import { toJson } from './json.ts';
import { memoKeyOf } from './memo.ts';
import { writePending } from './pending-writes.ts';
import { changeStep, type RunWork, replaceResult, type WorkStep } from './run-work.ts';

export type ReadyResult = {
  digest: string;
  files: readonly { name: string; bytes: number; sha256: string }[];
  fileCount: number;
  bytes: number;
  /** Defaults to those of the row. */
  details?: Record<string, unknown>;
};

/** Marks the step's artifact as ready once its manifest is written: it now exists, for this run and for every run that waits for it. */
export async function makeReady(run: RunWork, step: WorkStep, { digest, files, fileCount, bytes, details }: ReadyResult): Promise<void> {
  const { artifact } = step;
  if (artifact?.state !== 'building') return;
  const memoKey = await takeMemoPlace(run, step);
  await run.tx.artifact.update({
    where: { id: artifact.id, state: 'building' },
    data: {
      state: 'ready',
      memoKey,
      digest,
      files: toJson(files),
      fileCount,
      ...(details && { details: toJson(details) }),
      bytes,
      readyAt: new Date(),
    },
  });
  replaceResult(run, artifact.id, { ...artifact, state: 'ready', digest, memoKey });
  const waiting = await run.tx.step.findMany({ where: { artifactId: artifact.id, state: 'ready' }, select: { runId: true } });
  for (const other of waiting) run.alsoSettle.add(other.runId);
}

/** A result built without reuse takes over the memo key from the previous result; a registration is never reused. */
async function takeMemoPlace(run: RunWork, step: WorkStep): Promise<string | null> {
  if (!stepKinds[step.kind].reusable) return null;
  if (mayReuse(step, run.noReuse)) return step.artifact?.memoKey ?? null;
  const { memoParts } = await run.tx.artifact.findUniqueOrThrow({ where: { id: step.artifact?.id ?? '' }, select: { memoParts: true } });
  const memoKey = memoKeyOf(memoPartsColumn.parse(memoParts));
  const building = await run.tx.artifact.count({ where: { projectId: run.projectId, memoKey, state: 'building' } });
  if (building > 0) return step.artifact?.memoKey ?? null;
  await run.tx.artifact.updateMany({ where: { projectId: run.projectId, memoKey, state: 'ready' }, data: { memoKey: null } });
  return memoKey;
}

/**
 * Gives the step's result a new id, and with it a new prefix in the object store: its files will differ, and a finalizing of the old ones,
 * which may still be writing, must not overwrite them. The files under the old prefix are garbage.
 */
export async function replaceArtifact(run: RunWork, step: WorkStep): Promise<void> {
  const { artifact } = step;
  if (artifact?.state !== 'building') return;
  const id = newId('artifact');
  const prefix = `${stepKinds[step.kind].folder}/${id}/`;
  // The following statements read and change the tables.
  await writePending(run.tx, run, run.pending);
  await run.tx.artifact.update({ where: { id: artifact.id, state: 'building' }, data: { state: 'deleting' } });
  await run.tx.$executeRaw`
    insert into artifact (id, project_id, kind, state, memo_key, memo_parts, prefix, run_id, step_name)
    select ${id}, project_id, kind, 'building', memo_key, memo_parts, ${prefix}, run_id, step_name from artifact where id = ${artifact.id}`;
  await run.tx.$executeRaw`update step set artifact_id = ${id} where artifact_id = ${artifact.id}`;
  changeStep(run, step, { artifact: { ...artifact, id } });
  replaceResult(run, artifact.id, { ...artifact, id });
}
