import type {
  AnnotateRequest,
  AttemptSpec,
  BudgetScope,
  budgetRequest,
  ClaimRequest,
  CodeHostRequest,
  CodeHostToken,
  DatasetFiles,
  DatasetView,
  FinishRequest,
  GcResult,
  HookAnswer,
  ImageSource,
  Judgement,
  PlanView,
  ReportReply,
  ReportRequest,
  RetentionPolicy,
  RunOrigin,
  ScheduleRequest,
  SecretKeyList,
  ShardClaim,
  ShardCommit,
  StagedFilesPage,
  StartRequest,
  SubmitRequest,
  TriggerRequest,
  ViewRequest,
  WebhookRequest,
} from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import type { Logger, SecretKeys } from '@cairn/runtime';
import type { z } from 'zod';
import type { BuiltinRecipe } from './recipes.ts';
import type { BoundTrigger, MayManage, RefusedDelivery, SignedDelivery } from './triggers/bound-trigger.ts';

/**
 * The caller of a command: a token's name, project and id, and the client address. The last two are null for a command that the service
 * itself gives in that name, such as a run of a schedule.
 */
export type Actor = { name: string; projectId: string; tokenId: string | null; address: string | null };

/** A dataset to register, after its files were checked. */
export type NewDataset = {
  name: string;
  source: ImageSource;
  /** SHA-256 of the metadata and the images' digest. */
  digest: string;
  digestBasis: string;
  files: DatasetFiles;
};

export type RetryOptions = {
  /** Extractions that rejected images also run again, and read only these. */
  rejected?: boolean;
};

/** A version of a model, and the run on whose data it is to be scored. */
export type BaselineOnRun = {
  runId: string;
  /** The evaluation of the run; by default the one that its gate is about. */
  step?: string | null;
  model: string;
  version: number;
};

/** An alias of a model. */
export type AliasName = { model: string; alias: string };

/**
 * The commands: the only writer of run state. Each is one transaction that includes its audit entry and ends in `advance`; each throws
 * CairnError with a code of the error table (not_found, wrong_state, superseded, lease_lost, unknown_recipe, unknown_setting,
 * idempotency_conflict ...).
 */
export type Engine = {
  // People and external programs
  /** `origin` says what started the run; by default the caller. Only code that acts on behalf of a trigger or a schedule gives one. */
  submitRun(
    request: SubmitRequest,
    actor: Actor,
    idempotencyKey: string | null,
    origin?: RunOrigin,
  ): Promise<{ runId: string; created: boolean }>;
  planRun(request: SubmitRequest, actor: Actor): Promise<PlanView>;
  cancelRun(runId: string, actor: Actor, reason: string): Promise<void>;
  retryRun(runId: string, actor: Actor, from: string | null, options?: RetryOptions): Promise<void>;
  releaseRun(runId: string, actor: Actor): Promise<void>;
  /** Keeps the results of a run whatever the retention policy, or no longer. */
  pinRun(runId: string, isPinned: boolean, actor: Actor): Promise<void>;
  /** Changes the note and the tags of a run. */
  annotateRun(runId: string, request: AnnotateRequest, actor: Actor): Promise<void>;
  /** Saves or changes a view of the actor. */
  saveView(name: string, request: ViewRequest, actor: Actor): Promise<void>;
  removeView(view: { owner: string; name: string }, actor: Actor): Promise<void>;
  setRetention(policy: RetentionPolicy, actor: Actor): Promise<void>;
  setBudget(scope: BudgetScope, budget: z.output<typeof budgetRequest>, actor: Actor): Promise<void>;
  removeBudget(scope: BudgetScope, actor: Actor): Promise<void>;
  /** Stores what a quality gate decided about a run that succeeded. */
  recordJudgement(runId: string, judgement: Judgement, actor: Actor): Promise<void>;
  /** Starts the run that scores a version of a model on the data of another run, for a gate. Asking again gives the same run. */
  evaluateBaseline(wanted: BaselineOnRun, actor: Actor): Promise<{ runId: string; created: boolean }>;
  setAlias(
    name: AliasName,
    change: { version: number; reason: string; ifVersion?: number | null | undefined },
    actor: Actor,
  ): Promise<void>;
  rollBackAlias(name: AliasName, reason: string, actor: Actor): Promise<void>;
  removeAlias(name: AliasName, reason: string, actor: Actor): Promise<void>;
  /** The dataset with this name and content: its newest version if nothing changed, else a new one, which starts what is bound to it. */
  registerDataset(dataset: NewDataset, actor: Actor): Promise<{ dataset: DatasetView; created: boolean }>;
  addSchedule(request: ScheduleRequest, actor: Actor): Promise<void>;
  pauseSchedule(name: string, actor: Actor): Promise<void>;
  resumeSchedule(name: string, actor: Actor): Promise<void>;
  removeSchedule(name: string, actor: Actor): Promise<void>;
  /** Starts its run now, in the actor's name. */
  runSchedule(name: string, actor: Actor, idempotencyKey: string | null): Promise<{ runId: string; created: boolean }>;
  /** Returns the webhook's secret, which is not shown again. */
  addWebhook(request: WebhookRequest, actor: Actor): Promise<string>;
  removeWebhook(name: string, actor: Actor): Promise<void>;
  /** Returns its new secret; the one before signs too for a day. */
  rotateWebhook(name: string, actor: Actor): Promise<string>;
  /** Sends `webhook.test`; returns the delivery's id. */
  testWebhook(name: string, actor: Actor): Promise<string>;
  resendDelivery(webhook: string, delivery: string, actor: Actor): Promise<void>;
  addCodeHost(request: CodeHostRequest, actor: Actor): Promise<void>;
  replaceCodeHostToken(name: string, secret: CodeHostToken, actor: Actor): Promise<void>;
  removeCodeHost(name: string, actor: Actor): Promise<void>;
  collectGarbage(options: { dryRun: boolean; olderThanHours: number }, actor: Actor): Promise<GcResult>;
  /** Seals every secret of the project with the newest key; then older keys can be removed. */
  resealSecrets(actor: Actor): Promise<void>;
  listSecretKeys(projectId: string): Promise<SecretKeyList>;
  // Triggers. `mayManage` throws for a caller who may not change one of this owner; a secret is in no other answer.
  addTrigger(request: TriggerRequest, actor: Actor): Promise<{ secret: string }>;
  removeTrigger(name: string, actor: Actor, mayManage: MayManage): Promise<void>;
  rotateTrigger(name: string, options: { keepHours: number }, actor: Actor, mayManage: MayManage): Promise<{ secret: string }>;
  findTrigger(name: string): Promise<BoundTrigger>;
  triggerSecrets(trigger: BoundTrigger): Promise<string[]>;
  receiveDelivery(trigger: BoundTrigger, delivery: SignedDelivery): Promise<HookAnswer>;
  /** Records a delivery that cannot be accepted, and returns its id. */
  recordRefusal(trigger: BoundTrigger, refused: RefusedDelivery): Promise<string>;
  releaseDelivery(trigger: string, id: string, actor: Actor): Promise<HookAnswer>;
  // Attempts, over /internal. `generation` is the one that the caller's token proves.
  /** @throws CairnError `protocol_mismatch` when the agent supports no protocol of the control plane */
  attemptSpec(attemptId: string, generation: number, agentProtocol: number): Promise<AttemptSpec>;
  startAttempt(attemptId: string, generation: number, request: StartRequest): Promise<void>;
  report(attemptId: string, generation: number, request: ReportRequest): Promise<ReportReply>;
  claimShard(attemptId: string, generation: number, request: ClaimRequest): Promise<ShardClaim>;
  commitShard(attemptId: string, generation: number, index: number, commit: ShardCommit): Promise<void>;
  /** For an attempt that finalizes. */
  stagedFiles(attemptId: string, generation: number, from: number): Promise<StagedFilesPage>;
  releaseShard(attemptId: string, generation: number, index: number): Promise<void>;
  finishAttempt(attemptId: string, generation: number, request: FinishRequest): Promise<void>;
};

/** The dependencies of every engine command. */
export type EngineContext = {
  prisma: PrismaClient;
  log: Logger;
  limits: EngineLimits;
  /** The built-in recipes by name. */
  recipes: ReadonlyMap<string, BuiltinRecipe>;
  /** Seals and opens the secrets of triggers and the like. */
  secretKeys: SecretKeys;
};

export type EngineLimits = {
  /** An attempt reports at least this often. */
  heartbeatSeconds: number;
  /** A shard's lease lasts this long after the attempt's newest report. */
  leaseSeconds: number;
  /** An attempt without progress for this long hangs. */
  hangSeconds: number;
  /** How long an attempt may take to save its work when it is asked to stop. */
  graceSeconds: number;
  /** Most live runs of one owner and of a project; 0: unlimited. */
  ownerRuns: number;
  projectRuns: number;
  /** Most bytes to keep of the log of one attempt, and of all logs of a run; 0: unlimited. */
  attemptLogBytes: number;
  runLogBytes: number;
  /** The hosts that webhooks and reports may be sent to; null: any. */
  deliveryHosts: readonly string[] | null;
};

export const defaultLimits: EngineLimits = {
  heartbeatSeconds: 2,
  leaseSeconds: 15,
  hangSeconds: 600,
  graceSeconds: 30,
  ownerRuns: 2_000,
  projectRuns: 10_000,
  attemptLogBytes: 64_000_000,
  runLogBytes: 512_000_000,
  deliveryHosts: null,
};
