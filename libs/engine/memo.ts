import { CairnError } from '@cairn/contract';
import { type KnownInput, type MemoParts, mayReuse, memoParts, rulesOf, stepKinds } from '@cairn/domain';
import { canonicalJson, newId, sha256 } from '@cairn/runtime';
import { detailsColumn, memoPartsColumn, toJson } from './columns.ts';
import { findEarlier } from './earlier-features.ts';
import { writePending } from './pending-writes.ts';
import { changeStep, emit, makesItsResult, type RunWork, replaceResult, type WorkArtifact, type WorkStep } from './run-work.ts';

export const memoKeyOf = (parts: MemoParts): string => sha256(canonicalJson(parts));

/**
 * Looks up the result of a ready step: a ready result is reused, one that is being built is awaited, otherwise it is reserved and built.
 */
export async function claimResult(run: RunWork, step: WorkStep): Promise<void> {
  const inputs = await readInputs(run, step);
  const { parts, unknown } = memoParts(step, inputs, run.dataset.digest);
  if (parts === null) throw new CairnError('internal', `${step.name} is ready, but its inputs ${unknown.join(', ')} have no result`);
  // Without reuse the result is built under a unique key, and takes over the memo key when it is ready.
  const memoKey = mayReuse(step, run.noReuse) ? memoKeyOf(parts) : sha256(canonicalJson([parts, run.id, step.name, step.generation]));
  const id = newId('artifact');
  const { makes, folder } = stepKinds[step.kind];
  const insert = () => run.tx.$queryRaw<WorkArtifact[]>`
    insert into artifact (id, project_id, kind, state, memo_key, memo_parts, prefix, run_id, step_name)
    values (${id}, ${run.projectId}, ${makes}, 'building', ${memoKey}, ${JSON.stringify(parts)}::jsonb, ${`${folder}/${id}/`}, ${run.id}, ${step.name})
    on conflict (project_id, memo_key) where state in ('building', 'ready') do nothing
    returning id, state, run_id as "runId", step_name as "stepName", digest, memo_key as "memoKey"`;
  let inserted = await insert();
  let artifact = inserted[0] ?? (await findResult(run, memoKey));
  if (artifact === null) {
    // A collection removed it in between.
    inserted = await insert();
    artifact = inserted[0] ?? (await findResult(run, memoKey));
  }
  if (artifact === null) throw new Error(`the result of ${step.name} was removed twice while it was taken up`);
  changeStep(run, step, { artifact });
  if (inserted.length > 0) {
    await planShards(run, step, inputs);
    if (step.kind === 'extract') await findEarlier(run, step, parts);
  }
  if (inserted.length === 0 && artifact.state === 'building') {
    emit(run, 'step', `${step.name} waits for the same result, which another run is building`, {
      step: step.name,
      artifactId: artifact.id,
    });
  }
}

/**
 * The result with this memo key. The lock waits for a collection that is about to remove it, and keeps one that begins from doing so until
 * the step's reference is committed.
 */
async function findResult(run: RunWork, memoKey: string): Promise<WorkArtifact | null> {
  const rows = await run.tx.$queryRaw<WorkArtifact[]>`
    select id, state, run_id as "runId", step_name as "stepName", digest, memo_key as "memoKey" from artifact
     where project_id = ${run.projectId} and memo_key = ${memoKey} and state in ('building', 'ready') for key share`;
  return rows[0] ?? null;
}

/** The inputs of a step by role, with details for artifacts that it reads in part, and for the one from which the size of a fleet's work is known. */
export async function readInputs(run: RunWork, step: WorkStep): Promise<Record<string, KnownInput>> {
  const inputs: Record<string, KnownInput> = {};
  const { reads, fleet } = rulesOf(step);
  const needsDetails = (role: string): boolean => typeof reads(role) === 'object' || fleet?.sizedBy === role;
  for (const { role, step: name } of step.needs) {
    const artifact = run.steps.find((candidate) => candidate.name === name)?.artifact;
    inputs[role] =
      artifact && needsDetails(role) ? await withDetails(run, artifact.id) : { digest: artifact?.digest ?? null, details: null };
  }
  for (const { role, artifactId, sha256: digest } of step.given)
    inputs[role] = needsDetails(role) ? await withDetails(run, artifactId) : { digest, details: null };
  return inputs;
}

/** The artifact of an input with its details; null for a role that the step does not have. */
export async function inputArtifact(run: RunWork, step: WorkStep, role: string): Promise<KnownInput | null> {
  const need = step.needs.find((one) => one.role === role);
  const made = run.steps.find(({ name }) => name === need?.step)?.artifact?.id;
  const id = made ?? step.given.find((one) => one.role === role)?.artifactId;
  return id === undefined ? null : withDetails(run, id);
}

/** Each artifact is looked up once per run: most steps read the same lists. */
async function withDetails(run: RunWork, artifactId: string): Promise<KnownInput> {
  const known = run.inputs.get(artifactId);
  if (known) return known;
  const { digest, details } = await run.tx.artifact.findUniqueOrThrow({
    where: { id: artifactId },
    select: { digest: true, details: true },
  });
  const input = { digest, details: detailsColumn.parse(details) };
  run.inputs.set(artifactId, input);
  return input;
}

/** Cuts the items of a fleet into contiguous shards of nearly equal length. */
async function planShards(run: RunWork, step: WorkStep, inputs: Readonly<Record<string, KnownInput>>): Promise<void> {
  const { fleet } = rulesOf(step);
  if (fleet === null) return;
  const { items, shards } = fleet.plan(step.name, inputs[fleet.sizedBy]?.details);
  const total = Math.max(1, Math.min(shards, items));
  // A new run must be in the table before its shards.
  await writePending(run.tx, run, run.pending);
  await run.tx.shard.deleteMany({ where: { stepId: step.id } });
  // At most 100,000 rows: generated by the database, not sent to it.
  await run.tx.$executeRaw`
    insert into shard (step_id, "index", from_row, count)
    select ${step.id}, i, i * ${items}::bigint / ${total}, (i + 1) * ${items}::bigint / ${total} - i * ${items}::bigint / ${total}
      from generate_series(0, ${total}::bigint - 1) as i`;
  changeStep(run, step, { shardsTotal: total, shardsCommitted: 0, rows: 0, rejected: 0 });
}

/** Abandons a result that will not be built; runs that wait for it decide again. */
export async function releaseResult(run: RunWork, step: WorkStep): Promise<void> {
  const artifact = step.artifact;
  if (!artifact) return;
  const isOurs = makesItsResult(run, step);
  changeStep(run, step, { artifact: null });
  if (artifact.state !== 'building' || !isOurs) return;
  // The following statements read and change the tables.
  await writePending(run.tx, run, run.pending);
  const waiting = await run.tx.$queryRaw<{ runId: string }[]>`
    with given_up as (update artifact set state = 'deleting' where id = ${artifact.id} and state = 'building')
    update step set artifact_id = null where artifact_id = ${artifact.id} returning run_id as "runId"`;
  replaceResult(run, artifact.id, null);
  for (const other of waiting) run.alsoSettle.add(other.runId);
}

type ReadyResult = {
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
