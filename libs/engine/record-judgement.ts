import { CairnError, type Judgement } from '@cairn/contract';
import { audit } from './audit.ts';
import { toJson } from './columns.ts';
import type { Actor, EngineContext } from './engine.ts';
import { announceRun, changeRun, emit } from './run-work.ts';
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
    const { gate, verdict, reason, baseline } = judgement;
    await run.tx.judgement.createMany({ data: [{ runId, verdict, details: toJson(judgement), actor: actor.name }] });
    changeRun(run, { verdict });
    emit(run, 'gate', `gate ${verdict}: ${gate}. ${reason}`, { gate, verdict });
    announceRun(run, 'gate.judged', { ...judgement, judgedBy: actor.name });
    await audit(run.tx, actor, { action: 'run.judge', target: runId, before: null, after: { verdict }, details: { gate, baseline } });
  });
}
