import { z } from 'zod';

/** The states of a run. `held` waits for something outside the queue (budget, concurrency, a person). */
export const runState = z.enum(['held', 'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled']);
export type RunState = z.infer<typeof runState>;

/** Actions on a run. */
export const runAction = z.enum(['cancel', 'retry', 'release']);
export type RunAction = z.infer<typeof runAction>;

/** For each state of a run: the states that may follow, whether the run has ended, and the allowed actions. */
export const runStates = {
  // A release lets it start, or continue if it was held as it was retried.
  held: { next: ['queued', 'running', 'cancelling'], isEnded: false, actions: ['cancel', 'release'] },
  queued: { next: ['running', 'cancelling', 'succeeded', 'failed'], isEnded: false, actions: ['cancel'] },
  running: { next: ['cancelling', 'succeeded', 'failed'], isEnded: false, actions: ['cancel'] },
  cancelling: { next: ['cancelled'], isEnded: false, actions: [] },
  // A retry reopens an ended run, or holds it: for a budget, or while another run of its concurrency group is live.
  succeeded: { next: ['running', 'held'], isEnded: true, actions: ['retry'] },
  failed: { next: ['running', 'held'], isEnded: true, actions: ['retry'] },
  cancelled: { next: ['running', 'held'], isEnded: true, actions: ['retry'] },
} as const satisfies Record<RunState, { next: readonly RunState[]; isEnded: boolean; actions: readonly RunAction[] }>;

export const isEndedRun = (state: RunState): boolean => runStates[state].isEnded;
export const endedRunStates = runState.options.filter(isEndedRun);
export const liveRunStates = runState.options.filter((state) => !isEndedRun(state));
/** Live runs that were let start. */
export const unheldRunStates: RunState[] = liveRunStates.filter((state) => state !== 'held');
/** The states in which steps of a run may start. */
export const workingRunStates: RunState[] = unheldRunStates.filter((state) => state !== 'cancelling');

/** True when a run in this state can be cancelled, released, or retried (all of it, or from one of its steps). */
export const allowsAction = (state: RunState, action: RunAction): boolean => runStates[state].actions.some((one) => one === action);
/** The states in which a run can be cancelled, released or retried. */
export const statesThatAllow = (action: RunAction): RunState[] => runState.options.filter((state) => allowsAction(state, action));

/** The verdict of a run's quality gate, separate from its state: a worse model is a succeeded run with a failed verdict. */
export const runVerdict = z.enum(['none', 'passed', 'failed', 'inconclusive']);
export type RunVerdict = z.infer<typeof runVerdict>;

/** The states of a step: one node of a run's graph. */
export const stepState = z.enum(['blocked', 'ready', 'active', 'succeeded', 'reused', 'failed', 'cancelled']);
export type StepState = z.infer<typeof stepState>;

/**
 * For each state of a step: the states that may follow, and whether the step has ended with a result (`done`) or without one. A retry of
 * the run runs a step again if it has no result, or if the retry names it.
 */
export const stepStates = {
  // Failed when the lists that it reads, together with steps that start now, show that it cannot succeed.
  blocked: { next: ['ready', 'failed', 'cancelled'], end: null },
  ready: { next: ['active', 'reused', 'cancelled'], end: null },
  // Back to ready when an attempt ended and the retry budget of its cause allows another.
  active: { next: ['ready', 'succeeded', 'failed', 'cancelled'], end: null },
  // A retry sets the steps that run again, and those that depend on them, to blocked.
  succeeded: { next: ['blocked'], end: 'done' },
  reused: { next: ['blocked'], end: 'done' },
  failed: { next: ['blocked'], end: 'without-result' },
  cancelled: { next: ['blocked'], end: 'without-result' },
} as const satisfies Record<StepState, { next: readonly StepState[]; end: 'done' | 'without-result' | null }>;

export const isDoneStep = (state: StepState): boolean => stepStates[state].end === 'done';
export const isEndedStep = (state: StepState): boolean => stepStates[state].end !== null;
export const endedStepStates = stepState.options.filter(isEndedStep);

/** The states of an attempt: one process's (or pod's) try at a step. */
export const attemptState = z.enum([
  'created',
  'launching',
  'running',
  'stopping',
  'succeeded',
  'failed',
  'preempted',
  'cancelled',
  'lost',
]);
export type AttemptState = z.infer<typeof attemptState>;

/** For each state of an attempt: the states that may follow, and whether it is `starting`, `working` or `ended`. */
export const attemptStates = {
  created: { next: ['launching', 'running', 'stopping', 'failed', 'cancelled', 'lost'], phase: 'starting' },
  launching: { next: ['running', 'stopping', 'succeeded', 'failed', 'preempted', 'cancelled', 'lost'], phase: 'starting' },
  running: { next: ['stopping', 'succeeded', 'failed', 'preempted', 'cancelled', 'lost'], phase: 'working' },
  stopping: { next: ['succeeded', 'failed', 'preempted', 'cancelled', 'lost'], phase: 'working' },
  succeeded: { next: [], phase: 'ended' },
  failed: { next: [], phase: 'ended' },
  preempted: { next: [], phase: 'ended' },
  cancelled: { next: [], phase: 'ended' },
  lost: { next: [], phase: 'ended' },
} as const satisfies Record<AttemptState, { next: readonly AttemptState[]; phase: 'starting' | 'working' | 'ended' }>;

export const attemptStatesIn = (phase: (typeof attemptStates)[AttemptState]['phase']): AttemptState[] =>
  attemptState.options.filter((state) => attemptStates[state].phase === phase);
export const isLiveAttempt = (state: AttemptState): boolean => attemptStates[state].phase !== 'ended';
export const liveAttemptStates = attemptState.options.filter(isLiveAttempt);

/** True when a table allows the change of state; staying in a state is always allowed. */
export const mayFollow = <S extends string>(table: Readonly<Record<S, { next: readonly S[] }>>, from: S, to: S): boolean =>
  from === to || table[from].next.includes(to);

/** What an attempt is for: its step's work, or making a fleet's artifact from the committed shards. */
export const attemptPurpose = z.enum(['work', 'finalize']);
export type AttemptPurpose = z.infer<typeof attemptPurpose>;

/** Why an attempt failed: each cause has its own retry budget. */
export const attemptCause = z.enum(['user', 'data', 'infrastructure', 'preemption', 'gpu', 'deadline']);
export type AttemptCause = z.infer<typeof attemptCause>;

/** Why the control plane asks an attempt to stop, for programs; people read the reason next to it. */
export const stopCause = z.enum([
  /** Its run was cancelled. */
  'cancelled',
  /** Another attempt of the step used up the retry budget: the step fails, so the result of this attempt is not needed. */
  'step_failed',
  /** Another step needs its slots; its step continues later. */
  'preempted',
]);
export type StopCause = z.infer<typeof stopCause>;

/** The states of a shard: a contiguous piece of a fleet's work, leased by an attempt. */
export const shardState = z.enum(['pending', 'leased', 'committed']);
export type ShardState = z.infer<typeof shardState>;

/** The states of an artifact. PostgreSQL decides which artifacts exist; the manifest, written last, proves it. */
export const artifactState = z.enum(['building', 'ready', 'deleting']);
export type ArtifactState = z.infer<typeof artifactState>;

/** The kinds of steps. */
export const stepKind = z.enum([
  'prepare',
  'train',
  'export',
  'extract',
  'scan',
  'search',
  'tag',
  'vote',
  'rerank',
  'evaluate',
  'register',
]);
export type StepKind = z.infer<typeof stepKind>;

/** The kinds that many attempts do together, shard by shard, with ONNX Runtime. */
export const fleetKinds = ['extract', 'scan', 'tag', 'vote'] as const satisfies readonly StepKind[];
export const isFleetKind = (kind: string): kind is (typeof fleetKinds)[number] => fleetKinds.some((one) => one === kind);

/** Where steps run: `tasks` next to the control plane, `gpu` on the other pools. */
export const stepPool = z.enum(['tasks', 'gpu']);

/** The result of a step, or an import (`weights`; `checkpoint` too). */
export const artifactKind = z.enum([
  'lists',
  'checkpoint',
  'model',
  'features',
  'tags',
  'votes',
  'candidates',
  'neighbours',
  'evaluation',
  'registration',
  'weights',
  'matcher',
]);
export type ArtifactKind = z.infer<typeof artifactKind>;

/** Roles of tokens, each including the previous ones. */
export const tokenRole = z.enum(['viewer', 'submitter', 'admin']);
export type TokenRole = z.infer<typeof tokenRole>;

/**
 * What an executor can observe about an attempt that waits, is in trouble or has ended, named after the symptom, not the cause.
 * `failureTable` in libs/domain defines what each one means and what is done.
 */
export const failureSignal = z.enum([
  // The attempt waits: nothing of it runs yet.
  'queued',
  'quota_exceeded',
  'no_pod',
  'unschedulable',
  'image_pull',
  'image_registry_busy',
  'image_name_invalid',
  'container_configuration',
  'container_creation',
  'container_creating',
  // The attempt runs, and something is wrong around it.
  'node_silent',
  'gpu_unhealthy',
  // The attempt was ended from outside, or ended without reporting to the control plane.
  'container_start',
  'admission_refused',
  'ended_without_result',
  'agent_failed',
  'agent_configuration',
  'agent_superseded',
  'agent_preempted',
  'out_of_memory',
  'shared_memory_full',
  'killed',
  'node_pressure',
  'node_shutdown',
  'preempted',
  'drained',
  'node_lost',
  'node_gone',
  'failed_beside_sick_gpu',
  'deadline_exceeded',
  'pod_gone',
]);
export type FailureSignal = z.infer<typeof failureSignal>;

/** A signal observed about one attempt. */
export type Finding = {
  signal: FailureSignal;
  /** When it began, in milliseconds since the epoch, as far as is known. */
  since: number;
  /** Details in the words of the program that reported it: a node, an image, the scheduler's reason. */
  message: string;
};
