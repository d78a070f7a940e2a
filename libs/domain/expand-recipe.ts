import {
  CairnError,
  type KindAndSettings,
  ownValue,
  type Recipe,
  settingPathText,
  type TrainSettings,
  type WeightsContent,
} from '@cairn/contract';

export type StepNeed = { role: string; step: string };

/** Imported weights that a step reads, by name, and what they may hold; `setting` is where the recipe says so. */
export type StepWant = { role: string; name: string; contents: readonly WeightsContent[]; setting: string };

/** One step of a run: its kind says where it runs and how many slots it takes ({@link rulesOf}). */
export type StepPlan = KindAndSettings & {
  name: string;
  needs: StepNeed[];
  wants: StepWant[];
};

/**
 * The graph of a recipe's steps in topological order: prepare, the stages (each after the one it starts from), export, the
 * two extractions, search, evaluate, register. A recipe that exports an imported model has no stages.
 *
 * @throws CairnError `invalid_setting` when stages start from each other in a circle or from one that is not there, or a step reads a list
 *   that prepare does not make
 */
export function expandRecipe(recipe: Recipe): StepPlan[] {
  const stages = orderStages(recipe);
  refuseListsNotMade(recipe);
  const { stage: _stage, weights: _weights, ...exportOptions } = recipe.export;
  const { needs: exported, wants } = exportedCheckpoint(recipe);
  const extractions = Object.entries(recipe.extract).map(
    ([name, settings]): StepPlan => ({
      name: `extract_${name}`,
      kind: 'extract',
      settings,
      needs: [
        { role: 'lists', step: 'prepare' },
        { role: 'model', step: 'export' },
      ],
      wants: [],
    }),
  );
  return [
    { name: 'prepare', kind: 'prepare', settings: recipe.prepare, needs: [], wants: [] },
    ...stages.map((name) => trainStep(recipe, name)),
    {
      name: 'export',
      kind: 'export',
      settings: { ...exportOptions, model: recipe.model },
      needs: [{ role: 'lists', step: 'prepare' }, ...exported],
      wants,
    },
    ...extractions,
    {
      name: 'search',
      kind: 'search',
      settings: recipe.search,
      needs: [
        { role: 'index', step: 'extract_index' },
        { role: 'query', step: 'extract_query' },
      ],
      wants: [],
    },
    {
      name: 'evaluate',
      kind: 'evaluate',
      settings: recipe.evaluate,
      needs: [
        { role: 'lists', step: 'prepare' },
        { role: 'neighbours', step: 'search' },
      ],
      wants: [],
    },
    {
      name: 'register',
      kind: 'register',
      settings: recipe.register,
      needs: [
        ...exported,
        { role: 'model', step: 'export' },
        { role: 'index', step: 'extract_index' },
        { role: 'query', step: 'extract_query' },
        { role: 'neighbours', step: 'search' },
        { role: 'evaluation', step: 'evaluate' },
      ],
      // Not read, but told: what the model began with, and under which licence.
      wants: [...wants, ...startingWeights(recipe)],
    },
  ];
}

/** A step that reads a list which prepare does not make would fail only when the steps before it are done, days later. */
function refuseListsNotMade({ prepare, stages, extract }: Recipe): void {
  const made = prepare.lists;
  const reads = [
    ...Object.entries(stages).flatMap(([name, { list, evaluate }]) => [
      { list, where: `${stagePath(name)}.list is "${list}"` },
      ...(evaluate === 'none' ? [] : (['query', 'index'] as const)).map((scored) => ({
        list: scored,
        where: `${stagePath(name)}.evaluate is "${evaluate}", which scores "${scored}"`,
      })),
    ]),
    ...Object.entries(extract).map(([name, { list }]) => ({ list, where: `extract.${name}.list is "${list}"` })),
    { list: 'query' as const, where: 'the step evaluate scores "query"' },
  ];
  const missing = reads.find(({ list }) => !made.includes(list));
  if (missing !== undefined)
    throw new CairnError('invalid_setting', `${missing.where}, but prepare.lists makes only ${made.join(', ')}`, {
      details: { remedy: `Let it be made too: --set 'prepare.lists=${JSON.stringify([...made, missing.list])}'.` },
    });
  if (extract.query.list !== 'query')
    throw new CairnError('invalid_setting', `extract.query.list is "${extract.query.list}", but the step evaluate scores the list query`);
}

/** The path of a stage as `--set` takes it. */
const stagePath = (name: string): string => settingPathText(['stages', name]);

/** What is exported: the checkpoint of a stage, or an imported model. */
function exportedCheckpoint({ stages, export: { stage, weights } }: Recipe): { needs: StepNeed[]; wants: StepWant[] } {
  const names = Object.keys(stages);
  if ((stage === null) === (weights === null)) {
    const found = stage === null ? 'neither is given' : 'both are given';
    throw new CairnError('invalid_setting', `export takes a stage or the weights of an imported model; ${found}`);
  }
  if (stage === null) {
    if (names.length > 0)
      throw new CairnError('invalid_setting', `export.weights is "${weights}", so the stages ${names.join(', ')} lead nowhere`);
    return { needs: [], wants: [{ role: 'checkpoint', name: weights ?? '', contents: ['model'], setting: 'export.weights' }] };
  }
  if (names.length === 0) throw new CairnError('invalid_setting', 'the recipe has no stages; it needs one, or export.weights');
  if (!Object.hasOwn(stages, stage))
    throw new CairnError('invalid_setting', `export.stage is "${stage}", but the stages are ${names.join(', ')}`);
  return { needs: [{ role: 'checkpoint', step: stage }], wants: [] };
}

function trainStep(recipe: Recipe, name: string): StepPlan {
  const settings = ownValue(recipe.stages, name);
  if (!settings) throw new CairnError('internal', `stage ${name} is not in the recipe`);
  const start = settings.from === 'init' ? [] : [{ role: 'start', step: settings.from }];
  return {
    name,
    kind: 'train',
    settings: { ...settings, model: recipe.model },
    needs: [{ role: 'lists', step: 'prepare' }, ...start],
    wants: weightsOf(name, settings),
  };
}

/** A stage starts from a backbone as others published it, or goes on from a whole model as from a stage before. */
function weightsOf(stage: string, { weights }: TrainSettings): StepWant[] {
  if (weights === null) return [];
  return [{ role: 'weights', name: weights, contents: ['backbone', 'model'], setting: `${stagePath(stage)}.weights` }];
}

/** The imported weights with which the chain of stages begins that ends in the exported one. */
function startingWeights({ stages, export: { stage } }: Recipe): StepWant[] {
  let name = stage;
  for (;;) {
    const settings = name === null ? undefined : ownValue(stages, name);
    if (name === null || settings === undefined) return [];
    if (settings.from === 'init') return weightsOf(name, settings);
    name = settings.from;
  }
}

/** What one setting says of another. */
function checkStage(
  name: string,
  { batch, ranks, effectiveBatch, epochs, lastEpoch, from, weights, sampler, imagesPerId }: TrainSettings,
): void {
  const refuse = (what: string) => {
    throw new CairnError('invalid_setting', `${stagePath(name)}.${what}`);
  };
  const atOnce = batch * ranks;
  if (effectiveBatch !== null && effectiveBatch % atOnce !== 0)
    refuse(
      `effectiveBatch is ${effectiveBatch}; it must be a multiple of batch x ranks, ${batch} x ${ranks} = ${atOnce}, or null for a step of ` +
        'batch x ranks images, whatever the learning rate was chosen for',
    );
  if (lastEpoch !== null && lastEpoch > epochs) refuse(`lastEpoch is ${lastEpoch}, but the stage has ${epochs} epochs`);
  if (weights !== null && from !== 'init') refuse(`weights is "${weights}", but the stage starts from the stage ${from}`);
  if (sampler === 'id_uniform' && batch % imagesPerId !== 0)
    refuse(`batch is ${batch}; the sampler id_uniform needs a multiple of imagesPerId, ${imagesPerId}`);
}

/** Names of steps that a stage may not take. */
const reservedNames = new Set(['prepare', 'export', 'extract_index', 'extract_query', 'search', 'evaluate', 'register', 'init']);

function orderStages(recipe: Recipe): string[] {
  const stages = Object.entries(recipe.stages);
  const names = stages.map(([name]) => name);
  const ordered: string[] = [];
  for (const [name, settings] of stages) {
    if (reservedNames.has(name))
      throw new CairnError(
        'invalid_setting',
        `${stagePath(name)}: "${name}" is the name of another step; choose another name for the stage`,
      );
    if (settings.from !== 'init' && !Object.hasOwn(recipe.stages, settings.from)) {
      throw new CairnError('invalid_setting', `${stagePath(name)}.from is "${settings.from}", but the stages are ${names.join(', ')}`);
    }
    checkStage(name, settings);
  }
  while (ordered.length < names.length) {
    const next = stages.flatMap(([name, { from }]) =>
      !ordered.includes(name) && (from === 'init' || ordered.includes(from)) ? [name] : [],
    );
    if (next.length === 0) {
      const rest = names.filter((name) => !ordered.includes(name));
      throw new CairnError('invalid_setting', `stages ${rest.join(', ')} start from each other in a circle; one must start from init`);
    }
    ordered.push(...next);
  }
  return ordered;
}
