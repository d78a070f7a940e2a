import { CairnError, type Judgement, type Promotion } from '@cairn/contract';
import { audit } from './audit.ts';
import { toJson } from './columns.ts';
import type { Actor, EngineContext } from './engine.ts';
import { announceRun, changeRun, emit, type RunWork } from './run-work.ts';
import { withRun } from './with-run.ts';

/**
 * Stores what a gate decided about a run, as its verdict.
 *
 * @throws CairnError `wrong_state` unless the run has succeeded
 */
export async function recordJudgement(ctx: EngineContext, runId: string, judgement: Judgement, actor: Actor): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    if (run.state !== 'succeeded') throw new CairnError('wrong_state', `${run.name} is ${run.state}; a gate judges a run that succeeded`);
    await storeJudgement(run, judgement, actor, { generation: null, promotion: null });
  });
}

/** `generation`: of the run's own gate; null for a judgement that a person asked for. */
export async function storeJudgement(
  run: RunWork,
  judgement: Judgement,
  actor: Actor,
  { generation, promotion }: { generation: number | null; promotion: Promotion | null },
): Promise<void> {
  const { gate, verdict, reason, baseline } = judgement;
  const details = toJson({ ...judgement, promotion });
  await run.tx.judgement.createMany({ data: [{ runId: run.id, verdict, details, actor: actor.name, gateGeneration: generation }] });
  changeRun(run, { verdict });
  const promoted = promotion === null ? '' : ` ${promotion.reason}`;
  const moved = promotion?.outcome === 'moved' ? { alias: promotion.alias } : {};
  emit(run, 'gate', `gate ${verdict}: ${gate}. ${reason}${promoted}`, { gate, verdict, ...moved });
  announceRun(run, 'gate.judged', { ...judgement, judgedBy: actor.name });
  await audit(run.tx, actor, { action: 'run.judge', target: run.id, before: null, after: { verdict }, details: { gate, baseline } });
}
