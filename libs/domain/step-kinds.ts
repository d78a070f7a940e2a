import {
  type ArtifactKind,
  CairnError,
  candidatesFile,
  featuresDetails,
  listsDetails,
  needsReferences,
  ownValue,
  partFile,
  type StepKind,
  type StepSettings,
  stepVersions,
  tagsFile,
  votesFile,
} from '@cairn/contract';

/**
 * What of an input counts in a step's memo key: all of it, nothing (it only judges the result, or is only mentioned), or some of its lists with
 * the images that these name.
 */
export type InputReading = 'all' | 'none' | { lists: readonly string[] };

/** An input that a step takes in a role. */
export type StepInput = { kinds: readonly ArtifactKind[]; required: boolean; reads: InputReading };

/** How a step is cut into shards that many attempts share. */
export type Fleet<K extends StepKind> = {
  /** The role of the input whose details tell the number of items. */
  sizedBy: string;
  /** Items (images) and shards, by the details of that input. */
  plan: (settings: StepSettings[K], step: string, details: unknown) => { items: number; shards: number };
  /** The most attempts at a time. */
  workers: (settings: StepSettings[K]) => number;
  /** The files of a shard, sorted by name. */
  files: (index: number, rejected: number) => string[];
  /** The share of its items that may be rejected. */
  allowedRejects: (settings: StepSettings[K]) => number;
};

type PoolKind = 'tasks' | 'gpu';

/** All that the control plane knows of a kind of step. */
export type StepKindRules<K extends StepKind> = {
  makes: ArtifactKind;
  /** Where its artifacts lie in the object store. */
  folder: string;
  /** False where each run makes a result of its own. */
  reusable: boolean;
  /** `tasks`: next to the control plane; `gpu`: on a pool. A function where it depends on the settings. */
  pool: PoolKind | ((settings: StepSettings[K]) => PoolKind);
  /** Slots (GPUs) of one attempt. */
  slots: (settings: StepSettings[K]) => number;
  /** Whether the digest of the whole dataset is of the key. What reads lists depends on these and the images that they name instead. */
  readsDataset: boolean;
  /** By role. What a step of several models reads of each has the model's name: `index.NAME`. */
  inputs: (settings: StepSettings[K]) => Readonly<Record<string, StepInput>>;
  fleet: Fleet<K> | null;
  /** Whether its attempts save checkpoints that later ones go on from. */
  resumes: boolean;
};

const one = () => 1;

const input = (kinds: readonly ArtifactKind[], reads: InputReading = 'all'): StepInput => ({ kinds, required: true, reads });
const optional = (...kinds: readonly ArtifactKind[]): StepInput => ({ kinds, required: false, reads: 'all' });

/** A fleet whose shards are ranges of the rows of a feature set, none of which is rejected. */
const overRows = (sizedBy: string, file: (shard: number) => string): Fleet<'scan' | 'tag' | 'vote'> => ({
  sizedBy,
  plan: ({ shards }, _, details) => ({ items: featuresDetails.parse(details).rows, shards }),
  workers: ({ workers }) => workers,
  files: (index) => [file(index)],
  allowedRejects: () => 0,
});

/** The roles of each model, with its name: `index.NAME`. */
function ofEach(models: readonly string[], roles: Readonly<Record<string, StepInput>>): Record<string, StepInput> {
  return Object.fromEntries(
    models.flatMap((model) => Object.entries(roles).map(([role, taken]): [string, StepInput] => [`${role}.${model}`, taken])),
  );
}

/** What is registered of a model. */
const registered: Readonly<Record<string, StepInput>> = {
  checkpoint: optional('checkpoint'),
  weights: optional('weights', 'checkpoint'),
  model: input(['model']),
  index: optional('features'),
  query: optional('features'),
};

/** A new kind of step begins with a row here: docs/architecture.md, "Adding a kind of step". */
export const stepKinds: { readonly [K in StepKind]: StepKindRules<K> } = {
  prepare: {
    makes: 'lists',
    folder: 'lists',
    reusable: true,
    pool: 'tasks',
    slots: one,
    readsDataset: true,
    inputs: () => ({}),
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
    inputs: ({ list }) => ({
      // Query and index are read to score the stage; its weights do not depend on them.
      lists: input(['lists'], { lists: [list] }),
      start: optional('checkpoint'),
      weights: optional('weights', 'checkpoint'),
    }),
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
    inputs: () => ({
      // Images of the lists are what ONNX Runtime is compared with PyTorch on.
      lists: input(['lists'], 'none'),
      checkpoint: input(['checkpoint']),
    }),
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
    inputs: ({ list }) => ({ lists: input(['lists'], { lists: [list] }), model: input(['model']) }),
    fleet: {
      sizedBy: 'lists',
      plan: ({ list, shards }, step, details) => {
        const distinct = listsDetails.parse(details).lists[list]?.distinct;
        if (distinct === undefined)
          throw new CairnError('invalid_setting', `${step} extracts the list "${list}", which is not among its lists`);
        return { items: distinct, shards };
      },
      workers: ({ workers }) => workers,
      files: (index, rejected) => [
        partFile('embeddings', index),
        partFile('metadata', index),
        ...(rejected > 0 ? [partFile('rejected', index)] : []),
      ],
      allowedRejects: ({ maxBadImageShare }) => maxBadImageShare,
    },
    resumes: false,
  },
  scan: {
    makes: 'candidates',
    folder: 'candidates',
    reusable: true,
    pool: 'gpu',
    slots: one,
    readsDataset: false,
    inputs: () => ({ query: input(['features']), index: input(['features']) }),
    fleet: overRows('index', candidatesFile),
    resumes: false,
  },
  search: {
    makes: 'neighbours',
    folder: 'neighbours',
    reusable: true,
    pool: 'tasks',
    slots: one,
    readsDataset: false,
    inputs: () => ({
      query: input(['features']),
      index: input(['features']),
      // They follow from query and index, and the step checks that they are of these.
      candidates: { kinds: ['candidates'], required: false, reads: 'none' },
    }),
    fleet: null,
    resumes: false,
  },
  tag: {
    makes: 'tags',
    folder: 'tags',
    reusable: true,
    pool: 'gpu',
    slots: one,
    readsDataset: false,
    inputs: ({ references }) => ({
      lists: input(['lists'], { lists: [references] }),
      index: input(['features']),
      references: input(['features']),
    }),
    fleet: overRows('index', tagsFile),
    resumes: false,
  },
  vote: {
    makes: 'votes',
    folder: 'votes',
    reusable: true,
    pool: 'gpu',
    slots: one,
    readsDataset: false,
    inputs: ({ references }) => ({
      lists: input(['lists'], { lists: [references] }),
      query: input(['features']),
      references: input(['features']),
    }),
    fleet: overRows('query', votesFile),
    resumes: false,
  },
  rerank: {
    makes: 'neighbours',
    folder: 'neighbours',
    reusable: true,
    // Images are matched by Python, which only the image of pools has.
    pool: ({ rerank }) => (rerank.localMatching === null ? 'tasks' : 'gpu'),
    slots: one,
    readsDataset: false,
    inputs: ({ weights, rerank, references, queryList = 'query', indexList = 'index' }) => ({
      ...((needsReferences(rerank) || rerank.localMatching !== null) && {
        lists: input(['lists'], {
          lists: [...(needsReferences(rerank) ? [references] : []), ...(rerank.localMatching === null ? [] : [queryList, indexList])],
        }),
      }),
      ...(rerank.localMatching !== null && { matcher: optional('matcher') }),
      ...ofEach(Object.keys(weights), {
        query: input(['features']),
        index: input(['features']),
        ...(needsReferences(rerank) && {
          references: input(['features']),
          // They follow from the other inputs and the settings, and the step checks that they are of these.
          tags: { kinds: ['tags'], required: false, reads: 'none' },
          votes: { kinds: ['votes'], required: false, reads: 'none' },
        }),
        whitening: rerank.whitenTo === null ? optional('features') : input(['features']),
      }),
    }),
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
    inputs: () => ({ lists: input(['lists'], { lists: ['query', 'ground_truth'] }), neighbours: input(['neighbours']) }),
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
    inputs: ({ models }) => ({
      ...(models === undefined
        ? registered
        : { ...ofEach(models, { ...registered, references: optional('features') }), matcher: optional('matcher') }),
      neighbours: optional('neighbours'),
      evaluation: optional('evaluation'),
    }),
    fleet: null,
    resumes: false,
  },
};

/** The rules of a step with its settings applied: callers need not know of which kind it is. */
export function rulesOf<K extends StepKind>({ kind, settings }: { kind: K; settings: StepSettings[K] }) {
  const rules: StepKindRules<K> = stepKinds[kind];
  const { fleet } = rules;
  const inputs = rules.inputs(settings);
  return {
    ...rules,
    inputs,
    version: stepVersions[kind],
    pool: typeof rules.pool === 'function' ? rules.pool(settings) : rules.pool,
    slots: rules.slots(settings),
    /** The size of a fleet, else 1. */
    maxAttempts: fleet === null ? 1 : fleet.workers(settings),
    /** Nothing of a role that the kind does not have: runs of earlier releases gave some inputs that nobody read. */
    reads: (role: string): InputReading => ownValue(inputs, role)?.reads ?? 'none',
    fleet: fleet && {
      sizedBy: fleet.sizedBy,
      plan: (step: string, details: unknown) => fleet.plan(settings, step, details),
      allowedRejects: fleet.allowedRejects(settings),
    },
  };
}
