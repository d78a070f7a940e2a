import { CairnError, type Judgement, parseGate, type Recipe, type RunGate, reportedMessage, runGate } from '@cairn/contract';
import { findEvaluation, versionNamed } from '@cairn/db';
import { baselineRecipe, type StepPlan } from '@cairn/domain';
import { z } from 'zod';
import type { Actor, EngineContext } from './engine.ts';
import { promote } from './model-aliases.ts';
import { storeJudgement } from './record-judgement.ts';
import { changeRun, emit, type RunWork } from './run-work.ts';
import { withRun } from './with-run.ts';

/** The column: the gate, and the token that submitted it, for the audit entry of the judgement; null for a run that a schedule or a trigger started. */
const gateColumn = runGate.extend({ tokenId: z.string().nullable() });
export const gateColumnOf = (gate: RunGate, { tokenId }: Actor): z.infer<typeof gateColumn> => ({ ...gate, tokenId });

/** The step whose evaluation is judged, if a run has several. */
const mainStep = 'evaluate';

/** The step of a run whose evaluation a gate judges; null where there is none, or several without that name. */
export function evaluationStepOf(plan: readonly Pick<StepPlan, 'kind' | 'name'>[]): string | null {
  const names = plan.filter(({ kind }) => kind === 'evaluate').map(({ name }) => name);
  const [only, ...others] = names;
  return names.includes(mainStep) ? mainStep : only !== undefined && others.length === 0 ? only : null;
}

/** The name of the model that a run registers; null for none, or several. */
function registeredModelOf(plan: readonly StepPlan[]): string | null {
  const names = new Set(plan.flatMap((step) => (step.kind === 'register' ? [step.settings.model] : [])));
  const [only] = names;
  return only !== undefined && names.size === 1 ? only : null;
}

/**
 * Refuses a gate that could not be judged when the run is over, perhaps in days.
 *
 * @param options `mayStartLater` for what triggers and schedules start: their alias may be set before the first of their runs is judged
 * @throws CairnError `invalid_request` for a gate that cannot be read, or steps that it needs and the run does not have; `not_found` for a
 *   baseline that does not exist
 */
export async function checkGate(
  { prisma }: EngineContext,
  gate: RunGate,
  { recipe, plan }: { recipe: Recipe; plan: readonly StepPlan[] },
  { projectId, mayStartLater }: { projectId: string; mayStartLater: boolean },
): Promise<void> {
  const { baseline } = parseGate(gate.gate);
  const evaluations = plan.filter(({ kind }) => kind === 'evaluate').map(({ name }) => name);
  const refuse = (what: string, remedy: string) => new CairnError('invalid_request', what, { details: { remedy } });
  if (evaluations.length === 0) throw refuse('A gate judges an evaluation, and the run has none', 'Use a recipe with a step `evaluate`.');
  if (evaluations.length > 1 && !evaluations.includes(mainStep))
    throw refuse(
      `A gate judges one evaluation, and the run has ${evaluations.join(', ')}`,
      `Submit without a gate, and judge one of them: \`cairn gate GATE RUN/${evaluations[0]}\`; or name one \`${mainStep}\`.`,
    );
  if (gate.evaluateBaseline && baselineRecipe(recipe, evaluationStepOf(plan) ?? '', 'model@1') === null)
    throw refuse(
      'The baseline cannot be evaluated on the data of the run, because the run evaluates more than one model',
      'Leave out evaluateBaseline (--evaluate-baseline), and name a baseline that was evaluated on the same data.',
    );
  const registers = plan.some(({ kind }) => kind === 'register');
  if (!registers && gate.promote !== null)
    throw refuse('An alias names a registered model, and the run registers none', 'Use a recipe that registers its model.');
  if ('value' in baseline) return;
  if (baseline.model === null && !registers)
    throw refuse(
      'The run registers no model, so the gate has to name one',
      'Write the baseline as MODEL@VERSION or MODEL@ALIAS, such as landmark@production.',
    );
  const model = baseline.model ?? registeredModelOf(plan);
  if (model === null || mayStartLater) return;
  const version = await versionNamed(prisma, { projectId, model, version: baseline.version });
  await findEvaluation(prisma, { projectId, reference: `${model}@${version}` });
}

/** A run that its gate is to judge now. */
export type DueJudgement = { runId: string; generation: number; gate: RunGate; actor: Actor };

/** The judgement that an entry of the queue `judge` asks for, or null when it is not due, or no longer. */
export async function dueJudgement({ prisma }: EngineContext, runId: string, generation: number): Promise<DueJudgement | null> {
  const row = await prisma.run.findFirst({
    where: { id: runId, gateState: 'judging', gateGeneration: generation, state: 'succeeded' },
    select: { gate: true, owner: true, projectId: true },
  });
  if (row === null) return null;
  const { tokenId, ...gate } = gateColumn.parse(row.gate);
  return { runId, generation, gate, actor: { name: row.owner, projectId: row.projectId, tokenId, address: 'controller' } };
}

/** Runs that controllers must judge: the leader queues them again, since an entry may be lost. */
export async function judgementsDue({ prisma }: EngineContext): Promise<{ runId: string; generation: number }[]> {
  return prisma.$queryRaw<{ runId: string; generation: number }[]>`
    select id as "runId", gate_generation as generation from run
     where gate_state = 'judging' and (gate_not_before is null or gate_not_before <= now()) order by id limit 1000`;
}

/**
 * Stores the verdict, and lets the alias that the gate names move on: one transaction. Only the first of several judgements of the same
 * generation counts. `aliasBefore` is the version that the alias named when judging began.
 */
export async function gateJudged(ctx: EngineContext, due: DueJudgement, judgement: Judgement, aliasBefore: number | null): Promise<void> {
  await withDue(ctx, due, async (run) => {
    const promotion = await promotionOf(run, due, judgement, aliasBefore);
    await storeJudgement(run, judgement, due.actor, { generation: due.generation, promotion });
    changeRun(run, { gateState: 'judged', gateProblem: null, gateNotBefore: null });
  });
}

async function promotionOf(run: RunWork, { gate, actor }: DueJudgement, { verdict, model, baseline }: Judgement, before: number | null) {
  if (gate.promote === null || verdict !== 'passed') return null;
  const { alias } = gate.promote;
  if (model === null) return { alias, outcome: 'kept', reason: `${alias} was kept: the run registered no model.` } as const;
  const expected = baseline?.model === model.model ? baseline.version : before;
  const reason = `the gate of ${run.name} passed: ${gate.gate}`;
  return promote(run.tx, { model: model.model, alias }, { version: model.version, expected, reason }, actor);
}

/** The gate cannot be judged, now or later: its baseline is of another gallery, for example. The remedy is kept with the reason. */
export async function gateRefused(ctx: EngineContext, due: DueJudgement, { message, details }: CairnError): Promise<void> {
  const problem = reportedMessage.parse(typeof details.remedy === 'string' ? `${message}. ${details.remedy}` : message);
  await withDue(ctx, due, async (run) => {
    changeRun(run, { gateState: 'refused', gateProblem: problem, gateNotBefore: null });
    emit(run, 'gate', `gate not judged: ${due.gate.gate}. ${problem}`, { gate: due.gate.gate, verdict: 'none' });
  });
}

/** The scores cannot be read now: tried again after a while, as often as it takes. */
export async function gateDelayed(ctx: EngineContext, due: DueJudgement, message: string): Promise<void> {
  const problem = reportedMessage.parse(message);
  await withDue(ctx, due, async (run) => {
    const { gateProblem } = await run.tx.run.findUniqueOrThrow({ where: { id: run.id }, select: { gateProblem: true } });
    changeRun(run, { gateProblem: problem, gateNotBefore: new Date(run.now.getTime() + retryAfterMs) });
    // Once for each reason: an outage may last for days.
    if (gateProblem !== problem) emit(run, 'note', `the gate cannot be judged yet: ${problem}`, { level: 'warning' });
  });
}
const retryAfterMs = 30_000;

/** Runs `work` only if the judgement is still due: another controller may have been faster, or a retry of the run. */
async function withDue(ctx: EngineContext, { runId, generation }: DueJudgement, work: (run: RunWork) => Promise<void>): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.gate?.state === 'judging' && run.gate.generation === generation && run.state === 'succeeded') await work(run);
  });
}
