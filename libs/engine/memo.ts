import { CairnError } from '@cairn/contract';
import { type KnownInput, type MemoParts, mayReuse, memoParts, rulesOf, stepKinds } from '@cairn/domain';
import { canonicalJson, newId, sha256 } from '@cairn/runtime';
import { detailsColumn } from './columns.ts';
import { writePending } from './pending-writes.ts';
import { changeStep, emit, makesItsResult, type RunWork, type WorkArtifact, type WorkStep } from './run-work.ts';

export const memoKeyOf = (parts: MemoParts): string => sha256(canonicalJson(parts));

/** Looks a ready step's result up: a ready one is reused, one being built is waited for, else it is reserved and built. */
export async function claimResult(run: RunWork, step: WorkStep): Promise<void> {
  const inputs = await readInputs(run, step);
  const { parts, unknown } = memoParts(step, inputs, run.dataset.digest);
  if (parts === null) throw new CairnError('internal', `${step.name} is ready, but its inputs ${unknown.join(', ')} have no result`);
  // Without reuse the result is built under a key of its own, and takes the memo's place when it is ready.
  const memoKey = mayReuse(step, run.noReuse) ? memoKeyOf(parts) : sha256(canonicalJson([parts, run.id, step.name, step.generation]));
  const id = newId('artifact');
  const { makes, folder } = stepKinds[step.kind];
  const inserted = await run.tx.$queryRaw<WorkArtifact[]>`
    insert into artifact (id, project_id, kind, state, memo_key, memo_parts, prefix, run_id, step_name)
    values (${id}, ${run.projectId}, ${makes}, 'building', ${memoKey}, ${JSON.stringify(parts)}::jsonb, ${`${folder}/${id}/`}, ${run.id}, ${step.name})
    on conflict (project_id, memo_key) where state in ('building', 'ready') do nothing
    returning id, state, run_id as "runId", step_name as "stepName", digest, memo_key as "memoKey"`;
  const artifact = inserted[0] ?? (await findResult(run, memoKey));
  changeStep(run, step, { artifact });
  if (inserted.length > 0) await planShards(run, step, inputs);
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

/** What the step reads, by role, with the details of artifacts of which it reads a part. */
export async function readInputs(run: RunWork, step: WorkStep): Promise<Record<string, KnownInput>> {
  const inputs: Record<string, KnownInput> = {};
  const { reads } = rulesOf(step);
  for (const { role, step: name } of step.needs) {
    const artifact = run.steps.find((candidate) => candidate.name === name)?.artifact;
    const isPart = typeof reads(role) === 'object';
    inputs[role] = artifact && isPart ? await withDetails(run, artifact.id) : { digest: artifact?.digest ?? null, details: null };
  }
  for (const { role, artifactId, sha256: digest } of step.given)
    inputs[role] = typeof reads(role) === 'object' ? await withDetails(run, artifactId) : { digest, details: null };
  return inputs;
}

/** Of the artifacts of one run, each is looked up once: most steps read the same lists. */
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
  const { items, shards } = fleet.plan(step.name, (role) => inputs[role]?.details);
  const total = Math.max(1, Math.min(shards, items));
  // Of a run that is being made, its shards need it in the table.
  await writePending(run.tx, run, run.pending);
  await run.tx.shard.deleteMany({ where: { stepId: step.id } });
  // 100,000 rows at most: made by the database, not sent to it.
  await run.tx.$executeRaw`
    insert into shard (step_id, "index", from_row, count)
    select ${step.id}, i, i * ${items}::bigint / ${total}, (i + 1) * ${items}::bigint / ${total} - i * ${items}::bigint / ${total}
      from generate_series(0, ${total}::bigint - 1) as i`;
  changeStep(run, step, { shardsTotal: total, shardsCommitted: 0, rows: 0, rejected: 0 });
}

/** Gives up a result that will not be built; runs that wait for it decide again. */
export async function releaseResult(run: RunWork, step: WorkStep): Promise<void> {
  const artifact = step.artifact;
  if (!artifact) return;
  const isOurs = makesItsResult(run, step);
  changeStep(run, step, { artifact: null });
  if (artifact.state !== 'building' || !isOurs) return;
  // What follows reads and changes the tables.
  await writePending(run.tx, run, run.pending);
  const waiting = await run.tx.$queryRaw<{ runId: string }[]>`
    with given_up as (update artifact set state = 'deleting' where id = ${artifact.id} and state = 'building')
    update step set artifact_id = null where artifact_id = ${artifact.id} returning run_id as "runId"`;
  for (const other of run.steps) if (other.artifact?.id === artifact.id) other.artifact = null;
  for (const other of waiting) run.alsoSettle.add(other.runId);
}
