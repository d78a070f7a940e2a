import { finishAttempt, startAttempt } from './attempts/lifecycle.ts';
import { report } from './attempts/report.ts';
import { claimShard, commitShard, releaseShard } from './attempts/shards.ts';
import { attemptSpec } from './attempts/spec.ts';
import { removeBudget, setBudget } from './budgets.ts';
import { cancelRun, releaseRun, retryRun } from './cancel-and-retry.ts';
import type { Engine, EngineContext } from './engine.ts';
import { stagedFiles } from './finalize-fleet.ts';
import { collectGarbage, type RemovePrefix } from './garbage.ts';
import { removeAlias, rollBackAlias, setAlias } from './model-aliases.ts';
import { planRun } from './plan.ts';
import { recordJudgement } from './record-judgement.ts';
import { pinRun, setRetention } from './retention.ts';
import { submitRun } from './submit.ts';

/** Binds the commands of people and attempts to their context. */
export function createEngine(ctx: EngineContext, removePrefix: RemovePrefix): Engine {
  return {
    submitRun: (request, actor, idempotencyKey, origin) => submitRun(ctx, request, actor, idempotencyKey, origin),
    planRun: (request, actor) => planRun(ctx, request, actor),
    cancelRun: (runId, actor, reason) => cancelRun(ctx, runId, actor, reason),
    retryRun: (runId, actor, from) => retryRun(ctx, runId, actor, from),
    releaseRun: (runId, actor) => releaseRun(ctx, runId, actor),
    pinRun: (runId, isPinned, actor) => pinRun(ctx, runId, isPinned, actor),
    setRetention: (policy, actor) => setRetention(ctx, policy, actor),
    setBudget: (scope, budget, actor) => setBudget(ctx, scope, budget, actor),
    removeBudget: (scope, actor) => removeBudget(ctx, scope, actor),
    recordJudgement: (runId, judgement, actor) => recordJudgement(ctx, runId, judgement, actor),
    setAlias: (name, change, actor) => setAlias(ctx, name, change, actor),
    rollBackAlias: (name, reason, actor) => rollBackAlias(ctx, name, reason, actor),
    removeAlias: (name, reason, actor) => removeAlias(ctx, name, reason, actor),
    collectGarbage: (options, actor) => collectGarbage(ctx, removePrefix, options, actor),
    attemptSpec: (id, generation, agentProtocol) => attemptSpec(ctx, id, generation, agentProtocol),
    startAttempt: (id, generation, request) => startAttempt(ctx, id, generation, request),
    report: (id, generation, request) => report(ctx, id, generation, request),
    claimShard: (id, generation, request) => claimShard(ctx, id, generation, request),
    commitShard: (id, generation, index, commit) => commitShard(ctx, id, generation, index, commit),
    stagedFiles: (id, generation, from) => stagedFiles(ctx, id, generation, from),
    releaseShard: (id, generation, index) => releaseShard(ctx, id, generation, index),
    finishAttempt: (id, generation, request) => finishAttempt(ctx, id, generation, request),
  };
}
