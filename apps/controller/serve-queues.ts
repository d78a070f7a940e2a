import { isDeepStrictEqual } from 'node:util';
import { type BaselineVersion, CairnError, isCairnError, isEndedRun, protocol } from '@cairn/contract';
import { currentAliases, findEvaluation } from '@cairn/db';
import {
  artifactReady,
  awaitBaseline,
  beginLaunch,
  type DueJudgement,
  dropStaging,
  dueJudgement,
  type Finalization,
  finalizationDelayed,
  finalizationFailed,
  gateDelayed,
  gateJudged,
  gateRefused,
  pendingFinalization,
  recordLaunchFailure,
  recordPlace,
} from '@cairn/engine';
import { incomparableBaseline, judgeEvaluation } from '@cairn/judging';
import { attemptToken } from '@cairn/runtime';
import { commitArtifact, keepTensorBoardFiles } from '@cairn/storage';
import { unknownPool } from './configuration.ts';
import { deliver } from './deliveries/deliver.ts';
import type { ControllerParts } from './parts.ts';

const concurrency = { launch: 8, finalize: 2, judge: 1, deliver: 16 };

/**
 * Consumes the queues in every controller, leader or spare: the rows say whether an entry is still due. In a pool of a single machine
 * (processes or a Docker engine) only the leader starts attempts, with {@link consumeLaunch}, since another replica may be on another
 * machine.
 */
export async function serveQueues(parts: ControllerParts, signal: AbortSignal): Promise<void> {
  const { queues, log } = parts;
  for (let isReady = false; !isReady; ) {
    if (signal.aborted) return;
    isReady = await queues.waitUntilReady({ signal }).then(
      () => true,
      (error: unknown) => {
        if (!signal.aborted) log.warn({ err: error }, 'the queue is not responding yet');
        return false;
      },
    );
  }
  queues.consume('finalize', {
    concurrency: concurrency.finalize,
    handler: (entry, jobSignal) => finalizeStep(parts, entry.stepId, entry.generation, AbortSignal.any([signal, jobSignal])),
  });
  queues.consume('deliver', {
    concurrency: concurrency.deliver,
    handler: (entry, jobSignal) => deliver({ ...parts, clock: () => new Date() }, entry, AbortSignal.any([signal, jobSignal])),
  });
  queues.consume('judge', {
    concurrency: concurrency.judge,
    handler: (entry, jobSignal) => judgeRun(parts, entry.runId, entry.generation, AbortSignal.any([signal, jobSignal])),
  });
  if (!isBoundToMachine(parts)) consumeLaunch(parts, signal);
}

export function consumeLaunch(parts: ControllerParts, signal: AbortSignal) {
  return parts.queues.consume('launch', {
    concurrency: concurrency.launch,
    handler: (entry, jobSignal) => launchAttempt(parts, entry.attemptId, entry.generation, AbortSignal.any([signal, jobSignal])),
  });
}

/** True when a pool runs its attempts on the machine of the controller that starts them. */
export const isBoundToMachine = ({ pools }: Pick<ControllerParts, 'pools'>): boolean =>
  pools.some(({ executor }) => executor === 'process' || executor === 'docker');

type Launch = NonNullable<Awaited<ReturnType<typeof beginLaunch>>>;

/** Starts one attempt in the pool that `admit` chose. When repeated after a crash, it adopts what was already started. */
async function launchAttempt(parts: ControllerParts, attemptId: string, generation: number, signal: AbortSignal): Promise<void> {
  const launch = await beginLaunch(parts.ctx, attemptId, generation);
  if (!launch) return;
  const executor = parts.executors.get(launch.pool);
  if (!executor) throw unknownPool(launch.pool);
  const env = {
    ...parts.agentEnv,
    CAIRN_ATTEMPT_ID: attemptId,
    CAIRN_ATTEMPT_GENERATION: String(generation),
    CAIRN_ATTEMPT_TOKEN: attemptToken(parts.serverKey, attemptId, generation),
    CAIRN_INTERNAL_URL: parts.internalUrls.join(','),
  };
  const { name, slots, loaderBytes, avoidNodes } = launch;
  const spec = { attemptId, generation, name, slots, env, loaderBytes, avoidNodes };
  try {
    const { place, handle } = await executor.start(spec, signal);
    await recordPlace(parts.ctx, attemptId, generation, place, handle);
  } catch (error) {
    // The leader queues it again; until then the step shows why it does not start.
    if (isCairnError(error) && !signal.aborted) await recordFailure(parts, launch, error);
    throw error;
  }
}

async function recordFailure({ ctx }: ControllerParts, launch: Launch, { code, message }: CairnError): Promise<void> {
  const finding = { code, message: `cannot be started: ${message}`, since: launch.createdAt.toISOString() };
  if (!isDeepStrictEqual(finding, launch.finding)) await recordLaunchFailure(ctx, launch, finding);
}

/**
 * Makes the artifact of a step that one attempt did, unless it is no longer pending, and removes the staged files of the step's attempts
 * once its result is stored. Any replica may do it, and several in parallel: all write the same bytes to the same keys, and the row decides
 * which one counts.
 */
export async function finalizeStep(
  parts: Pick<ControllerParts, 'ctx' | 'store'>,
  stepId: string,
  generation: number,
  signal: AbortSignal,
): Promise<void> {
  const finalization = await pendingFinalization(parts.ctx, stepId, generation);
  if (finalization) await makeArtifact(parts, finalization, signal);
  for (const { attemptId, prefix } of await dropStaging(parts.ctx, stepId, generation)) {
    await keepTensorBoardFiles(parts.store, attemptId, signal);
    await parts.store.removePrefix(prefix.replace(/\/$/, ''), signal);
  }
}

async function makeArtifact(
  { ctx, store }: Pick<ControllerParts, 'ctx' | 'store'>,
  finalization: Finalization,
  signal: AbortSignal,
): Promise<void> {
  const { kind, artifactId: id, details } = finalization;
  try {
    const manifest = await commitArtifact(store, {
      prefix: finalization.prefix.replace(/\/$/, ''),
      files: finalization.files.map(({ name, key, bytes, sha256 }) => ({ name, from: key, bytes, sha256 })),
      manifest: { kind, id, protocol, createdAt: finalization.createdAt.toISOString(), details },
      signal,
    });
    await artifactReady(ctx, finalization, { digest: manifest.digest, files: manifest.files, details });
  } catch (error) {
    if (signal.aborted || !isCairnError(error, 'corrupt_artifact', 'not_found', 'storage_failed', 'storage_full')) throw error;
    const failure = { cause: 'infrastructure', code: error.code, message: error.message } as const;
    // Staged files that differ from what was reported: start over. When the storage fails or is full, the staged files stay.
    const isStorage = isCairnError(error, 'storage_failed', 'storage_full');
    await (isStorage ? finalizationDelayed : finalizationFailed)(ctx, finalization, failure);
  }
}

/**
 * Judges a run that succeeded by the gate that it was submitted with, unless that is no longer due. Any replica may do it, and several in
 * parallel: the row decides which judgement counts.
 */
export async function judgeRun(
  { ctx, readScores }: Pick<ControllerParts, 'ctx' | 'readScores'>,
  runId: string,
  generation: number,
  signal: AbortSignal,
): Promise<void> {
  const due = await dueJudgement(ctx, runId, generation);
  if (due === null) return;
  try {
    const { prisma } = ctx;
    const { projectId } = due.actor;
    // Before the comparison: a move in between must be noticed.
    const aliases = await aliasesOfRun(ctx, due);
    const found = await findEvaluation(prisma, { projectId, reference: runId });
    const judge = () => judgeEvaluation({ prisma, readScores }, { projectId, found, runId, question: due.gate }, signal);
    const judgement = await judge().catch(async (error: unknown) => {
      const baseline = due.gate.evaluateBaseline ? incomparableBaseline(error) : null;
      if (baseline === null) throw error;
      // All of its steps may have been reused.
      return (await isBaselineEvaluated(ctx, due, baseline)) ? judge() : null;
    });
    if (judgement === null) return;
    const named = aliases.find(({ model, alias }) => model === judgement.model?.model && alias === due.gate.promote?.alias);
    await gateJudged(ctx, due, judgement, named?.version ?? null);
  } catch (error) {
    if (signal.aborted) throw error;
    // What may pass, such as an outage of the storage, is waited for. An unknown error is logged by the queue, too.
    if (isCairnError(error) && !error.row.retry && error.code !== 'internal') return gateRefused(ctx, due, error);
    await gateDelayed(ctx, due, error instanceof Error ? error.message : String(error));
    if (!(error instanceof CairnError)) throw error;
  }
}

/**
 * Has the baseline evaluated on the data of the judged run, and lets the gate wait for it: false. It is looked at again every half minute.
 *
 * @throws CairnError `not_comparable` when the run that was to evaluate it did not succeed
 */
async function isBaselineEvaluated(ctx: ControllerParts['ctx'], due: DueJudgement, baseline: BaselineVersion): Promise<boolean> {
  const called = `${baseline.model}@${baseline.version}`;
  const { name, state, cause } = await awaitBaseline(ctx, { runId: due.runId, ...baseline }, due.actor);
  if (state === 'succeeded') return true;
  if (isEndedRun(state)) {
    const what = `${state === 'failed' ? 'failed' : 'was cancelled'}${cause === null ? '' : ` (${cause})`}`;
    throw new CairnError('not_comparable', `${called} was to be evaluated on the same data by ${name}, which ${what}`, {
      details: { remedy: `Retry that run with \`cairn retry ${name}\`; then judge this one again with \`cairn gate\`.` },
    });
  }
  await gateDelayed(ctx, due, `${called} is evaluated on the same data first, by ${name}`);
  return false;
}

async function aliasesOfRun({ prisma }: ControllerParts['ctx'], { runId, gate, actor }: DueJudgement) {
  if (gate.promote === null) return [];
  const models = await prisma.model.findMany({ where: { runId }, select: { name: true } });
  return currentAliases(
    prisma,
    actor.projectId,
    models.map(({ name }) => name),
  );
}
