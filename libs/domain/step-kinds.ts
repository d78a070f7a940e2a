import { type ArtifactKind, CairnError, listsDetails, type StepKind, type StepSettings, stepVersions } from '@cairn/contract';

/**
 * What of an input counts in a step's memo key: all of it, nothing (it only judges the result or is told of), or some of its lists with
 * the images that these name.
 */
export type InputReading = 'all' | 'none' | { lists: readonly string[] };

/** An input that a kind of step takes, by its role. */
export type StepInput<K extends StepKind> = {
  kinds: readonly ArtifactKind[];
  required: boolean;
  reads: (settings: StepSettings[K]) => InputReading;
};

/** How a step is cut into shards that many attempts share. */
export type Fleet<K extends StepKind> = {
  /** Items (distinct images) and shards, by the details of the step's inputs. */
  plan: (settings: StepSettings[K], step: string, inputDetails: (role: string) => unknown) => { items: number; shards: number };
  /** The most attempts at a time. */
  workers: (settings: StepSettings[K]) => number;
  /** The share of its items that may be rejected. */
  allowedRejects: (settings: StepSettings[K]) => number;
};

/** All that the control plane knows of a kind of step. */
export type StepKindRules<K extends StepKind> = {
  makes: ArtifactKind;
  /** Where its artifacts lie in the object store. */
  folder: string;
  /** False where each run makes a result of its own. */
  reusable: boolean;
  /** `tasks`: beside the control plane; `gpu`: on a pool. */
  pool: 'tasks' | 'gpu';
  /** Slots (GPUs) of one attempt. */
  slots: (settings: StepSettings[K]) => number;
  /** Whether the digest of the whole dataset is of the key. What reads lists depends on these and the images that they name instead. */
  readsDataset: boolean;
  inputs: Readonly<Record<string, StepInput<K>>>;
  fleet: Fleet<K> | null;
  /** Whether its attempts save checkpoints that later ones go on from. */
  resumes: boolean;
};

const one = () => 1;
const all = () => 'all' as const;
const none = () => 'none' as const;

/** A new kind of step begins with a row here: docs/architecture.md, "Adding a kind of step". */
export const stepKinds: { readonly [K in StepKind]: StepKindRules<K> } = {
  prepare: {
    makes: 'lists',
    folder: 'lists',
    reusable: true,
    pool: 'tasks',
    slots: one,
    readsDataset: true,
    inputs: {},
    fleet: null,
    resumes: false,
  },
  train: {
    makes: 'checkpoint',
    folder: 'checkpoints',
    reusable: true,
    pool: 'gpu',
    slots: ({ ranks }) => ranks,
    readsDataset: false,
    inputs: {
      // Query and index are read to score the stage; its weights do not depend on them.
      lists: { kinds: ['lists'], required: true, reads: ({ list }) => ({ lists: [list] }) },
      start: { kinds: ['checkpoint'], required: false, reads: all },
      weights: { kinds: ['weights', 'checkpoint'], required: false, reads: all },
    },
    fleet: null,
    resumes: true,
  },
  export: {
    makes: 'model',
    folder: 'models',
    reusable: true,
    pool: 'gpu',
    slots: one,
    readsDataset: false,
    inputs: {
      // Images of the lists are what ONNX Runtime is compared with PyTorch on.
      lists: { kinds: ['lists'], required: true, reads: none },
      checkpoint: { kinds: ['checkpoint'], required: true, reads: all },
    },
    fleet: null,
    resumes: false,
  },
  extract: {
    makes: 'features',
    folder: 'features',
    reusable: true,
    pool: 'gpu',
    slots: one,
    readsDataset: false,
    inputs: {
      lists: { kinds: ['lists'], required: true, reads: ({ list }) => ({ lists: [list] }) },
      model: { kinds: ['model'], required: true, reads: all },
    },
    fleet: {
      plan: ({ list, shards }, step, inputDetails) => {
        const distinct = listsDetails.parse(inputDetails('lists')).lists[list]?.distinct;
        if (distinct === undefined)
          throw new CairnError('invalid_setting', `${step} extracts the list "${list}", which is not among its lists`);
        return { items: distinct, shards };
      },
      workers: ({ workers }) => workers,
      allowedRejects: ({ maxBadImageShare }) => maxBadImageShare,
    },
    resumes: false,
  },
  search: {
    makes: 'neighbours',
    folder: 'neighbours',
    reusable: true,
    pool: 'tasks',
    slots: one,
    readsDataset: false,
    inputs: {
      query: { kinds: ['features'], required: true, reads: all },
      index: { kinds: ['features'], required: true, reads: all },
    },
    fleet: null,
    resumes: false,
  },
  evaluate: {
    makes: 'evaluation',
    folder: 'evaluations',
    reusable: true,
    pool: 'tasks',
    slots: one,
    readsDataset: false,
    inputs: {
      lists: { kinds: ['lists'], required: true, reads: () => ({ lists: ['query', 'ground_truth'] }) },
      neighbours: { kinds: ['neighbours'], required: true, reads: all },
    },
    fleet: null,
    resumes: false,
  },
  register: {
    makes: 'registration',
    folder: 'registrations',
    reusable: false,
    pool: 'tasks',
    slots: one,
    readsDataset: false,
    inputs: {
      checkpoint: { kinds: ['checkpoint'], required: false, reads: all },
      weights: { kinds: ['weights', 'checkpoint'], required: false, reads: all },
      model: { kinds: ['model'], required: true, reads: all },
      index: { kinds: ['features'], required: false, reads: all },
      query: { kinds: ['features'], required: false, reads: all },
      neighbours: { kinds: ['neighbours'], required: false, reads: all },
      evaluation: { kinds: ['evaluation'], required: false, reads: all },
    },
    fleet: null,
    resumes: false,
  },
};

/** The rules of a step with its settings applied: callers need not know of which kind it is. */
export function rulesOf<K extends StepKind>({ kind, settings }: { kind: K; settings: StepSettings[K] }) {
  const rules: StepKindRules<K> = stepKinds[kind];
  const { fleet } = rules;
  return {
    ...rules,
    version: stepVersions[kind],
    slots: rules.slots(settings),
    /** The size of a fleet, else 1. */
    maxAttempts: fleet === null ? 1 : fleet.workers(settings),
    /** Nothing of a role that the kind does not have: runs of earlier releases gave some inputs that nobody read. */
    reads: (role: string): InputReading => rules.inputs[role]?.reads(settings) ?? 'none',
    fleet: fleet && {
      plan: (step: string, inputDetails: (role: string) => unknown) => fleet.plan(settings, step, inputDetails),
      allowedRejects: fleet.allowedRejects(settings),
    },
  };
}
