import { type AttemptView, actionsIn, type RunEvent, type RunView, runEvent, type StepView } from '@cairn/contract';

/** An id in the contract's form, from a number. */
export const idFor = (prefix: string, n: number): string => `${prefix}_${String(n).padStart(26, '0')}`;

const created = '2026-01-02T03:04:05.000Z';

export const aStep = (over: Partial<StepView> = {}): StepView => ({
  id: idFor('stp', 1),
  name: 'prepare',
  kind: 'prepare',
  state: 'blocked',
  needs: [],
  reads: [],
  settings: {},
  pool: 'tasks',
  slots: 1,
  gpuSeconds: 0,
  actions: actionsIn('running', ['retry']),
  waiting: null,
  waitingFor: [],
  progress: null,
  shards: null,
  failure: null,
  failureCard: null,
  artifact: null,
  reusedFrom: null,
  scores: {},
  attempts: 0,
  createdAt: created,
  startedAt: null,
  finishedAt: null,
  ...over,
});

export const aRun = (over: Partial<RunView> = {}): RunView => ({
  id: idFor('run', 1),
  name: 'mini-1',
  recipe: 'mini',
  dataset: 'mini@1',
  owner: 'admin',
  state: 'running',
  cause: null,
  verdict: 'none',
  priority: 0,
  seq: 1,
  steps: { total: over.stepViews?.length ?? 1, done: 0, reused: 0 },
  createdAt: created,
  startedAt: created,
  finishedAt: null,
  updatedAt: created,
  share: 0,
  now: null,
  mapAt100: { best: null, last: null },
  gpuSeconds: 0,
  actions: actionsIn(over.state ?? 'running'),
  noReuse: false,
  recipeYaml: 'name: mini\n',
  given: { recipe: 'mini', set: {}, until: null },
  stepViews: [aStep()],
  ...over,
});

export const anAttempt = (over: Partial<AttemptView> = {}): AttemptView => ({
  id: idFor('att', 1),
  runId: idFor('run', 1),
  stepId: idFor('stp', 1),
  step: 'prepare',
  ordinal: 1,
  generation: 1,
  state: 'running',
  purpose: 'work',
  failure: null,
  finding: null,
  contact: 'ok',
  pool: 'local',
  place: null,
  resumedFrom: null,
  reachedStep: null,
  createdAt: created,
  startedAt: created,
  endedAt: null,
  lastContactAt: null,
  ...over,
});

export const anEvent = (
  seq: number,
  over: Partial<Pick<RunEvent, 'runId' | 'at' | 'type' | 'message'>> & { data?: object } = {},
): RunEvent =>
  runEvent.parse({ runId: idFor('run', 1), seq, at: created, type: 'step', message: `event ${seq}`, data: { step: '384' }, ...over });
