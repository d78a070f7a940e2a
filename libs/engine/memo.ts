import { type ArtifactKind, CairnError, listsDetails, type StepKind } from '@cairn/contract';
import { type MemoParts, memoParts } from '@cairn/domain';
import { canonicalJson, newId, sha256 } from '@cairn/runtime';
import { writePending } from './pending-writes.ts';
import { changeStep, emit, type RunWork, type WorkArtifact, type WorkStep } from './run-work.ts';

/** What each kind of step makes, and the folder of the object store it lies in. */
export const artifactKinds = {
  prepare: { kind: 'lists', folder: 'lists' },
  train: { kind: 'checkpoint', folder: 'checkpoints' },
  export: { kind: 'model', folder: 'models' },
  extract: { kind: 'features', folder: 'features' },
  search: { kind: 'neighbours', folder: 'neighbours' },
  evaluate: { kind: 'evaluation', folder: 'evaluations' },
  register: { kind: 'registration', folder: 'registrations' },
} as const satisfies Record<StepKind, { kind: ArtifactKind; folder: string }>;

export const memoKeyOf = (parts: MemoParts): string => sha256(canonicalJson(parts));

/** True when the step may take an earlier result: `register` never does, nor what the submission excluded. */
export function mayReuse(kind: StepKind, name: string, noReuse: boolean | string[]): boolean {
  if (kind === 'register') return false;
  return Array.isArray(noReuse) ? !noReuse.includes(name) : !noReuse;
}

/** Looks a ready step's result up: a ready one is reused, one being built is waited for, else it is reserved and built. */
export async function claimResult(run: RunWork, step: WorkStep): Promise<void> {
  const inputs = await inputDigests(run, step);
  const parts = memoParts(
    { kind: step.kind, settings: step.settings } as never,
    run.ctx.codeDigests[step.kind],
    inputs,
    run.dataset.digest,
  );
  // Without reuse the result is built under a key of its own, and takes the memo's place when it is ready.
  const memoKey = mayReuse(step.kind, step.name, run.noReuse)
    ? memoKeyOf(parts)
    : sha256(canonicalJson([parts, run.id, step.name, step.generation]));
  const id = newId('artifact');
  const { kind, folder } = artifactKinds[step.kind];
  const inserted = await run.tx.$queryRaw<WorkArtifact[]>`
    insert into artifact (id, project_id, kind, state, memo_key, memo_parts, prefix, run_id, step_name)
    values (${id}, ${run.projectId}, ${kind}, 'building', ${memoKey}, ${JSON.stringify(parts)}::jsonb, ${`${folder}/${id}/`}, ${run.id}, ${step.name})
    on conflict (project_id, memo_key) where state in ('building', 'ready') do nothing
    returning id, state, run_id as "runId", step_name as "stepName", digest, memo_key as "memoKey"`;
  const artifact = inserted[0] ?? (await findResult(run, memoKey));
  changeStep(run, step, { artifactId: artifact.id });
  step.artifact = artifact;
  if (inserted.length > 0 && step.kind === 'extract') await planShards(run, step);
  if (inserted.length === 0 && artifact.state === 'building') {
    emit(run, 'step', `${step.name} waits for the same result, which another run builds`, {
      step: step.name,
      artifactId: artifact.id,
    });
  }
}

async function findResult(run: RunWork, memoKey: string): Promise<WorkArtifact> {
  const artifact = await run.tx.artifact.findFirstOrThrow({
    where: { projectId: run.projectId, memoKey, state: { in: ['building', 'ready'] } },
    select: { id: true, state: true, runId: true, stepName: true, digest: true, memoKey: true },
  });
  return { ...artifact, state: artifact.state === 'ready' ? 'ready' : 'building' };
}

async function inputDigests(run: RunWork, step: WorkStep): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const need of step.needs) {
    const digest = run.steps.find((candidate) => candidate.name === need.step)?.artifact?.digest;
    if (!digest) throw new CairnError('internal', `${step.name} is ready, but its input ${need.step} has no result`);
    digests[need.role] = digest;
  }
  for (const { role, sha256: digest } of step.given) digests[role] = digest;
  return digests;
}

/** Cuts the list's distinct ids into contiguous shards of nearly equal length. */
async function planShards(run: RunWork, step: WorkStep): Promise<void> {
  const lists = run.steps.find((candidate) => candidate.kind === 'prepare')?.artifact;
  const row = lists && (await run.tx.artifact.findUnique({ where: { id: lists.id }, select: { details: true } }));
  const list = String(step.settings.list);
  const distinct = listsDetails.parse(row?.details).lists[list]?.distinct;
  if (distinct === undefined)
    throw new CairnError('invalid_setting', `${step.name} extracts the list "${list}", which prepare does not make`);
  const total = Math.max(1, Math.min(Number(step.settings.shards), distinct));
  const edges = Array.from({ length: total + 1 }, (_, index) => Math.floor((index * distinct) / total));
  // Of a run that is being made, its shards need it in the table.
  await writePending(run.tx, run, run.pending);
  await run.tx.shard.deleteMany({ where: { stepId: step.id } });
  await run.tx.shard.createMany({
    data: Array.from({ length: total }, (_, index) => {
      const from = edges[index] ?? 0;
      return { stepId: step.id, index, fromRow: from, count: (edges[index + 1] ?? from) - from };
    }),
  });
  changeStep(run, step, { shardsTotal: total, shardsCommitted: 0, rows: 0, rejected: 0 });
  step.shardsTotal = total;
  step.shardsCommitted = 0;
}

/** Gives up a result that will not be built; whoever waits for it decides anew. */
export async function releaseResult(run: RunWork, step: WorkStep): Promise<void> {
  const artifact = step.artifact;
  if (!artifact) return;
  changeStep(run, step, { artifactId: null });
  step.artifact = null;
  if (artifact.state !== 'building' || artifact.runId !== run.id || artifact.stepName !== step.name) return;
  // What follows reads and changes the tables.
  await writePending(run.tx, run, run.pending);
  const waiting = await run.tx.$queryRaw<{ runId: string }[]>`
    with given_up as (update artifact set state = 'deleting' where id = ${artifact.id} and state = 'building')
    update step set artifact_id = null where artifact_id = ${artifact.id} returning run_id as "runId"`;
  for (const other of waiting) run.alsoSettle.add(other.runId);
}
