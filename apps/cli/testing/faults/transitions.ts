import { type RecipeInput, type RunEvent, stepOfEvent } from '@cairn/contract';
import { seededRandom } from '@cairn/testing';

/** The programs that a fault may hit. */
export const victims = ['controller', 'api', 'tasks', 'postgres', 'agent', 'rank'] as const;
export type Victim = (typeof victims)[number];

/** The code that a program's death tests. */
export const touchesOf: Readonly<Record<Victim, readonly string[]>> = {
  controller: ['apps/controller', 'libs/engine', 'libs/domain'],
  api: ['apps/api', 'libs/engine', 'libs/client'],
  tasks: ['apps/worker/tasks', 'libs/queue'],
  postgres: ['libs/db', 'libs/queue', 'prisma'],
  agent: ['apps/worker', 'libs/executor/process', 'libs/client'],
  rank: ['docker/trainer', 'apps/worker/train'],
};

/**
 * A point in a run's life at which a fault strikes: a step, and its latest event in the history. `created`: an attempt
 * was given to a pool; `running`: its process reported; `ended`: it reported its success.
 */
export type Moment = 'ready' | 'created' | 'active' | 'running' | 'checkpoint' | 'ended' | 'succeeded';
export type Transition = { step: string; moment: Moment };

export type Fault = Transition & { victim: Victim };

/** `kill controller at 384:checkpoint`. */
export const nameOf = ({ victim, step, moment }: Fault): string => `${victim} at ${step}:${moment}`;

const voteConstants = { voteNeighbours: 10, k1: 5 };

/**
 * What the recipe `tiny` does not have: its index is searched by a fleet, tagged by another, and searched with votes that a third finds. Its
 * own images are the references, the only ones with landmarks whose features there are.
 */
export const scanFleet = { shards: 3, workers: 2, threads: 1, blockRows: 50_000 };
export const furtherSteps: RecipeInput['steps'] = {
  tag_index: {
    kind: 'tag',
    inputs: { lists: 'prepare', index: 'extract_index', references: 'extract_index' },
    references: 'index',
    shards: 4,
    workers: 2,
    threads: 1,
  },
  vote_query: {
    kind: 'vote',
    inputs: { lists: 'prepare', query: 'extract_query', references: 'extract_index' },
    references: 'index',
    ...voteConstants,
    shards: 3,
    workers: 2,
    threads: 1,
  },
  rerank: {
    kind: 'rerank',
    inputs: {
      lists: 'prepare',
      'query.M': 'extract_query',
      'index.M': 'extract_index',
      'references.M': 'extract_index',
      'tags.M': 'tag_index',
      'votes.M': 'vote_query',
    },
    references: 'index',
    weights: { M: 1 },
    rerank: { mode: 'before_merge', ...voteConstants },
  },
};

const stages = ['384', '384_finetune', '512_finetune', '512_all'];
const steps = [
  ...['prepare', ...stages, 'export', 'extract_index', 'extract_query', 'scan_index', 'search'],
  ...['tag_index', 'vote_query', 'rerank', 'evaluate', 'register'],
];
const moments: readonly Moment[] = ['ready', 'created', 'active', 'running', 'ended', 'succeeded'];

/** Every transition of the recipe `tiny` and {@link furtherSteps} in the order in which a run passes them. */
export const transitions: readonly Transition[] = steps.flatMap((step) => {
  const own = moments.map((moment): Transition => ({ step, moment }));
  return stages.includes(step)
    ? own.flatMap((item): Transition[] => (item.moment === 'ended' ? [{ step, moment: 'checkpoint' }, item] : [item]))
    : own;
});

/** Every meaningful pair: an agent or a rank can only be hit while an attempt runs. */
export const allFaults: readonly Fault[] = transitions.flatMap((transition) =>
  victims
    .filter((victim) => {
      if (victim === 'agent') return transition.moment === 'running' || transition.moment === 'checkpoint';
      if (victim === 'rank')
        return stages.includes(transition.step) && (transition.moment === 'running' || transition.moment === 'checkpoint');
      return true;
    })
    .map((victim) => ({ ...transition, victim })),
);

/** The transition of an event of the history, or null. */
export function transitionOf(event: RunEvent): Transition | null {
  const step = stepOfEvent(event);
  const moment = momentOf(event);
  return step === null || moment === null ? null : { step, moment };
}

function momentOf({ type, data }: RunEvent): Moment | null {
  if (type === 'checkpoint') return 'checkpoint';
  if (type === 'attempt')
    return data.state === 'created' ? 'created' : data.state === 'running' ? 'running' : data.state === 'succeeded' ? 'ended' : null;
  if (type === 'step') return data.state === 'ready' || data.state === 'active' || data.state === 'succeeded' ? data.state : null;
  return null;
}

/**
 * A seeded sample of `count` faults out of `from`, spread over victims and over the run: victims in turn, transitions drawn without
 * repeating one. The same seed gives the same sample.
 */
export function sampleFaults(seed: number, count: number, from: readonly Fault[] = allFaults): Fault[] {
  const random = seededRandom(seed);
  const left = [...from];
  const sample: Fault[] = [];
  for (let index = 0; index < count && left.length > 0; index += 1) {
    const victim = victims[(index + seed) % victims.length];
    const fitting = left.filter(
      (fault) => fault.victim === victim && !sample.some((taken) => taken.step === fault.step && taken.moment === fault.moment),
    );
    const candidates = fitting.length > 0 ? fitting : left;
    const fault = candidates[Math.floor(random() * candidates.length)];
    if (!fault) continue;
    sample.push(fault);
    left.splice(left.indexOf(fault), 1);
  }
  return sample;
}

/** Cuts faults into runs of at most `perRun`, each in the order in which the run reaches them. */
export function packFaults(faults: readonly Fault[], perRun: number): Fault[][] {
  const runs = Array.from({ length: Math.ceil(faults.length / perRun) }, (): Fault[] => []);
  faults.forEach((fault, index) => {
    runs[index % runs.length]?.push(fault);
  });
  const place = (fault: Fault) => transitions.findIndex((item) => item.step === fault.step && item.moment === fault.moment);
  return runs.map((run) => run.sort((a, b) => place(a) - place(b)));
}
