import { type BaselineVersion, CairnError, isCairnError, isEndedRun } from '@cairn/contract';
import { currentAliases, findEvaluation } from '@cairn/db';
import { awaitBaseline, type DueJudgement, dueJudgement, gateDelayed, gateJudged, gateRefused } from '@cairn/engine';
import { incomparableBaseline, judgeEvaluation } from '@cairn/judging';
import type { ControllerParts } from './parts.ts';

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
    throw new CairnError('not_comparable', `${called} was to be evaluated on the same data by ${name}, which ${what}`);
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
