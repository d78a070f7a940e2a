import { annotateRun } from './annotate-run.ts';
import { finishAttempt, startAttempt } from './attempts/lifecycle.ts';
import { report } from './attempts/report.ts';
import { claimShard, commitShard, releaseShard } from './attempts/shards.ts';
import { attemptSpec } from './attempts/spec.ts';
import { removeBudget, setBudget } from './budgets.ts';
import { cancelRun, releaseRun, retryRun } from './cancel-and-retry.ts';
import { addCodeHost, removeCodeHost, replaceCodeHostToken } from './deliveries/code-hosts.ts';
import { addWebhook, removeWebhook, resendDelivery, rotateWebhook, testWebhook } from './deliveries/webhooks.ts';
import type { Engine, EngineContext } from './engine.ts';
import { evaluateBaseline } from './evaluate-baseline.ts';
import { stagedFiles } from './finalize-fleet.ts';
import { collectGarbage, type RemovePrefix } from './garbage.ts';
import { removeAlias, rollBackAlias, setAlias } from './model-aliases.ts';
import { planRun } from './plan.ts';
import { recordJudgement } from './record-judgement.ts';
import { registerDataset } from './register-dataset.ts';
import { pinRun, setRetention } from './retention.ts';
import { removeView, saveView } from './saved-views.ts';
import { addSchedule, pauseSchedule, removeSchedule, resumeSchedule, runSchedule } from './schedules.ts';
import { listSecretKeys, resealSecrets } from './sealed-secrets.ts';
import { submitRun } from './submit.ts';
import { addTrigger, removeTrigger, rotateTrigger } from './triggers/manage-triggers.ts';
import { findTrigger, receiveDelivery, recordRefusal, triggerSecrets } from './triggers/receive-delivery.ts';
import { releaseDelivery } from './triggers/start-deliveries.ts';

/** Binds the commands of people and attempts to their context. */
export function createEngine(ctx: EngineContext, removePrefix: RemovePrefix): Engine {
  return {
    submitRun: (request, actor, idempotencyKey, origin) => submitRun(ctx, request, actor, idempotencyKey, origin),
    planRun: (request, actor) => planRun(ctx, request, actor),
    cancelRun: (runId, actor, reason) => cancelRun(ctx, runId, actor, reason),
    retryRun: (runId, actor, from, options) => retryRun(ctx, runId, actor, from, options),
    releaseRun: (runId, actor) => releaseRun(ctx, runId, actor),
    pinRun: (runId, isPinned, actor) => pinRun(ctx, runId, isPinned, actor),
    annotateRun: (runId, request, actor) => annotateRun(ctx, runId, request, actor),
    saveView: (name, request, actor) => saveView(ctx, name, request, actor),
    removeView: (view, actor) => removeView(ctx, view, actor),
    setRetention: (policy, actor) => setRetention(ctx, policy, actor),
    setBudget: (scope, budget, actor) => setBudget(ctx, scope, budget, actor),
    removeBudget: (scope, actor) => removeBudget(ctx, scope, actor),
    recordJudgement: (runId, judgement, actor) => recordJudgement(ctx, runId, judgement, actor),
    evaluateBaseline: (wanted, actor) => evaluateBaseline(ctx, wanted, actor),
    setAlias: (name, change, actor) => setAlias(ctx, name, change, actor),
    rollBackAlias: (name, reason, actor) => rollBackAlias(ctx, name, reason, actor),
    removeAlias: (name, reason, actor) => removeAlias(ctx, name, reason, actor),
    registerDataset: (dataset, actor) => registerDataset(ctx, dataset, actor),
    addSchedule: (request, actor) => addSchedule(ctx, request, actor),
    pauseSchedule: (name, actor) => pauseSchedule(ctx, name, actor),
    resumeSchedule: (name, actor) => resumeSchedule(ctx, name, actor),
    removeSchedule: (name, actor) => removeSchedule(ctx, name, actor),
    runSchedule: (name, actor, idempotencyKey) => runSchedule(ctx, name, actor, idempotencyKey),
    addWebhook: (request, actor) => addWebhook(ctx, request, actor),
    removeWebhook: (name, actor) => removeWebhook(ctx, name, actor),
    rotateWebhook: (name, actor) => rotateWebhook(ctx, name, actor),
    testWebhook: (name, actor) => testWebhook(ctx, name, actor),
    resendDelivery: (webhook, delivery, actor) => resendDelivery(ctx, webhook, delivery, actor),
    addCodeHost: (request, actor) => addCodeHost(ctx, request, actor),
    replaceCodeHostToken: (name, secret, actor) => replaceCodeHostToken(ctx, name, secret, actor),
    removeCodeHost: (name, actor) => removeCodeHost(ctx, name, actor),
    collectGarbage: (options, actor) => collectGarbage(ctx, removePrefix, options, actor),
    resealSecrets: (actor) => resealSecrets(ctx, actor),
    listSecretKeys: (projectId) => listSecretKeys(ctx, projectId),
    addTrigger: (request, actor) => addTrigger(ctx, request, actor),
    removeTrigger: (name, actor, mayManage) => removeTrigger(ctx, name, actor, mayManage),
    rotateTrigger: (name, options, actor, mayManage) => rotateTrigger(ctx, name, options, actor, mayManage),
    findTrigger: (name) => findTrigger(ctx, name),
    triggerSecrets: (trigger) => triggerSecrets(ctx, trigger),
    receiveDelivery: (trigger, delivery) => receiveDelivery(ctx, trigger, delivery),
    recordRefusal: (trigger, refused) => recordRefusal(ctx, trigger, refused),
    releaseDelivery: (trigger, id, actor) => releaseDelivery(ctx, trigger, id, actor),
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
