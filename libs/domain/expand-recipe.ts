import {
  CairnError,
  type ListName,
  type ModelSettings,
  ownValue,
  type Pipeline,
  pipelinesOf,
  type Recipe,
  settingPathText,
  type TrainSettings,
} from '@cairn/contract';
import { ensembleSteps, memberOf } from './ensemble-steps.ts';
import {
  checkInputs,
  checkStage,
  graphPlan,
  inOrder,
  type ListRead,
  listsScored,
  nameOfInput,
  refuseListsNotMade,
  refuseSameNames,
  type StepInputs,
  type StepNeed,
  type StepPlan,
  type StepWant,
  withNeeds,
} from './graph-steps.ts';

/**
 * The steps of a recipe in topological order: the lists, the pipeline of each model (stages, export, extractions, search, evaluation,
 * registration), and what its graph adds.
 *
 * @param until the steps that are wanted, in place of the recipe's own: only these and what they need are answered
 * @throws CairnError `invalid_setting` when a step reads what is not there or not of the right kind, a list that is not made, or steps
 *   depend on each other in a cycle
 */
export function expandRecipe(recipe: Recipe, until: readonly string[] | undefined = recipe.until): StepPlan[] {
  const { ensemble } = recipe;
  const models = pipelinesOf(recipe).map(([name, pipeline]): [string, Pipeline] => [
    name,
    ensemble === undefined ? pipeline : memberOf(recipe, ensemble, name, pipeline),
  ]);
  const pipelines = models.flatMap(([name, pipeline]) => pipelineSteps(recipe, name, pipeline));
  const together =
    ensemble === undefined
      ? []
      : ensembleSteps(
          recipe,
          ensemble,
          models.map(([name, pipeline]) => ({ name, ...lineageOf(pipeline, scopeOf(name)) })),
        );
  const graph = Object.entries(recipe.steps).map(([name, step]) => graphPlan(name, step));
  const prepare: StepPlan = { name: 'prepare', kind: 'prepare', settings: recipe.prepare, needs: [], wants: [] };
  const hasOwnLists = Object.hasOwn(recipe.steps, 'prepare');
  const steps = [...(hasOwnLists ? [] : [prepare]), ...pipelines, ...together, ...graph];
  refuseSameNames(steps);
  for (const step of steps) checkInputs(step, steps, hasOwnLists ? 'steps.prepare.lists' : 'prepare.lists');
  const ordered = inOrder(steps);
  const wanted = until ?? ordered.map(({ name }) => name).filter((name) => name !== 'prepare' || isWhole(recipe));
  return withNeeds(ordered, wanted);
}

/** A recipe with a pipeline makes its lists whatever reads them; one that is a graph alone only where a step needs them. */
const isWhole = (recipe: Recipe): boolean => pipelinesOf(recipe).length > 0 || Object.keys(recipe.steps).length === 0;

// Pipelines --------------------------------------------------------------------------------------------------------------

function pipelineSteps(recipe: Recipe, model: string, pipeline: Pipeline): StepPlan[] {
  const at = scopeOf(model);
  const { nameOf } = at;
  checkStages(pipeline, at);
  checkLists(recipe, pipeline, at);
  const lists: StepNeed = { role: 'lists', step: 'prepare' };
  const steps: StepPlan[] = pipeline.model === undefined ? [] : trainedSteps(pipeline, pipeline.model, at);
  const has = (extraction: string) => Object.hasOwn(pipeline.extract, extraction);
  const need = (role: string, step: string, isThere: boolean): StepNeed[] => (isThere ? [{ role, step: nameOf(step) }] : []);
  const exported = modelOf(pipeline, at);
  for (const [name, settings] of Object.entries(pipeline.extract))
    steps.push({ name: nameOf(`extract_${name}`), kind: 'extract', settings, needs: [lists, ...exported.needs], wants: exported.wants });
  const searches = pipeline.search !== null && has('index') && has('query');
  const evaluates = searches && pipeline.evaluate !== null;
  if (pipeline.search !== null && searches) {
    const { fleet, ...settings } = pipeline.search;
    const features = [...need('index', 'extract_index', true), ...need('query', 'extract_query', true)];
    if (fleet !== null)
      steps.push({
        name: nameOf('scan_index'),
        kind: 'scan',
        settings: { ...fleet, topK: settings.topK },
        needs: features,
        wants: [],
      });
    const needs = [...features, ...need('candidates', 'scan_index', fleet !== null)];
    steps.push({ name: nameOf('search'), kind: 'search', settings, needs, wants: [] });
  }
  if (pipeline.evaluate !== null && evaluates)
    steps.push({
      name: nameOf('evaluate'),
      kind: 'evaluate',
      settings: pipeline.evaluate,
      needs: [lists, ...need('neighbours', 'search', true)],
      wants: [],
    });
  if (pipeline.register !== undefined) {
    const { needs, wants } = lineageOf(pipeline, at);
    steps.push({
      name: nameOf('register'),
      kind: 'register',
      settings: pipeline.register,
      needs: [...needs, ...need('neighbours', 'search', searches), ...need('evaluation', 'evaluate', evaluates)],
      wants,
    });
  }
  return steps;
}

/** The stages, and the export of the last. */
function trainedSteps(pipeline: Pipeline, model: ModelSettings, at: PipelineScope): StepPlan[] {
  const { nameOf } = at;
  const lists: StepNeed = { role: 'lists', step: 'prepare' };
  const stages = Object.entries(pipeline.stages).map(([name, settings]): StepPlan => {
    const { from } = settings;
    const isOutside = typeof from !== 'string';
    return {
      name: nameOf(name),
      kind: 'train',
      // The trainer's settings say that it starts from something; the input says from what.
      settings: { ...settings, from: isOutside ? 'start' : from, model },
      needs: [lists, ...(isOutside || from === 'init' ? [] : [{ role: 'start', step: nameOf(from) }])],
      wants: isOutside
        ? [{ role: 'start', input: from, contents: [], setting: settingAt(at, 'stages', name, 'from') }]
        : weightsOf(name, settings, at),
    };
  });
  if (pipeline.export === undefined) return stages;
  const { stage: _stage, weights: _weights, ...settings } = pipeline.export;
  const { needs, wants } = exportedCheckpoint(pipeline, at);
  return [...stages, { name: nameOf('export'), kind: 'export', settings: { ...settings, model }, needs: [lists, ...needs], wants }];
}

/** The model that extracts: what `export` makes, or a registered one. */
function modelOf({ registered }: Pipeline, at: PipelineScope): StepInputs {
  if (registered === undefined) return { needs: [{ role: 'model', step: at.nameOf('export') }], wants: [] };
  const want: StepWant = { role: 'model', input: { model: registered }, setting: settingAt(at, 'registered'), contents: [] };
  return { needs: [], wants: [want] };
}

/** What is registered of a model: its checkpoint, the model, its features, and what it began with, which is not read but recorded for its licence. */
function lineageOf(pipeline: Pipeline, at: PipelineScope): StepInputs {
  const checkpoint = pipeline.export === undefined ? { needs: [], wants: [] } : exportedCheckpoint(pipeline, at);
  const model = modelOf(pipeline, at);
  const extracted = ['index', 'query'].filter((name) => Object.hasOwn(pipeline.extract, name));
  return {
    needs: [...checkpoint.needs, ...model.needs, ...extracted.map((role) => ({ role, step: at.nameOf(`extract_${role}`) }))],
    wants: [...checkpoint.wants, ...model.wants, ...startingWeights(pipeline, at)],
  };
}

/** Where the settings of a pipeline are in the recipe, and what its steps are called. */
type PipelineScope = { path: readonly string[]; nameOf: (step: string) => string };

const scopeOf = (model: string): PipelineScope => ({
  path: model === '' ? [] : ['models', model],
  nameOf: (step) => (model === '' ? step : `${model}-${step}`),
});

const settingAt = ({ path }: PipelineScope, ...parts: string[]): string => settingPathText([...path, ...parts]);

/** The lists that a pipeline reads are made, and its evaluation scores the queries of the list that it extracts. */
function checkLists({ prepare, steps }: Recipe, { stages, extract, search, evaluate }: Pipeline, at: PipelineScope): void {
  const evaluates = search !== null && evaluate !== null && Object.hasOwn(extract, 'index') && Object.hasOwn(extract, 'query');
  const own = ownValue(steps, 'prepare');
  const [made, setting] = own?.kind === 'prepare' ? [own.lists, 'steps.prepare.lists'] : [prepare.lists, 'prepare.lists'];
  const readAt = (list: ListName, ...path: string[]): ListRead => ({ list, where: `${settingAt(at, ...path, 'list')} is "${list}"` });
  const reads = [
    ...Object.entries(stages).flatMap(([name, stage]) => [
      readAt(stage.list, 'stages', name),
      ...listsScored(stage, settingAt(at, 'stages', name)),
    ]),
    ...Object.entries(extract).map(([name, { list }]) => readAt(list, 'extract', name)),
    ...(evaluates ? [{ list: 'query' as const, where: `the step ${at.nameOf('evaluate')} scores "query"` }] : []),
  ];
  refuseListsNotMade(reads, made, setting);
  const query = ownValue(extract, 'query');
  if (evaluates && query !== undefined && query.list !== 'query')
    throw new CairnError(
      'invalid_setting',
      `${settingAt(at, 'extract', 'query', 'list')} is "${query.list}", but the step ${at.nameOf('evaluate')} scores the list query`,
    );
}

/** What is exported: the checkpoint of a stage, or an imported model. */
function exportedCheckpoint({ stages, export: exported }: Pipeline, at: PipelineScope): StepInputs {
  const { stage, weights } = exported ?? { stage: null, weights: null };
  const names = Object.keys(stages);
  const where = settingAt(at, 'export');
  if ((stage === null) === (weights === null)) {
    const found = stage === null ? 'neither is given' : 'both are given';
    throw new CairnError('invalid_setting', `${where} takes a stage or the weights of an imported model; ${found}`);
  }
  if (weights !== null) {
    if (names.length > 0)
      throw new CairnError('invalid_setting', `${where}.weights is "${weights}", so no step uses the stages ${names.join(', ')}`);
    return { needs: [], wants: [{ role: 'checkpoint', input: { weights }, contents: ['model'], setting: `${where}.weights` }] };
  }
  if (names.length === 0) throw new CairnError('invalid_setting', `the recipe has no stages; it needs one, or ${where}.weights`);
  if (stage === null || !Object.hasOwn(stages, stage))
    throw new CairnError('invalid_setting', `${where}.stage is "${stage}", but the stages are ${names.join(', ')}`);
  return { needs: [{ role: 'checkpoint', step: at.nameOf(stage) }], wants: [] };
}

/** A stage starts from a backbone as others published it, or goes on from a whole model as from a stage before. */
function weightsOf(stage: string, { weights }: Pick<TrainSettings, 'weights'>, at: PipelineScope): StepWant[] {
  if (weights === null) return [];
  return [{ role: 'weights', input: { weights }, contents: ['backbone', 'model'], setting: settingAt(at, 'stages', stage, 'weights') }];
}

/** The imported weights with which the chain of stages begins that ends in the exported one. */
function startingWeights({ stages, export: exported }: Pipeline, at: PipelineScope): StepWant[] {
  let name = exported?.stage ?? null;
  // At most as many as there are stages: those in a cycle are refused when the steps are ordered.
  for (const _ of Object.keys(stages)) {
    const settings = name === null ? undefined : ownValue(stages, name);
    if (name === null || settings === undefined) return [];
    if (settings.from === 'init') return weightsOf(name, settings, at);
    // What a checkpoint of another run began with is in its lineage.
    if (typeof settings.from !== 'string') return [];
    name = settings.from;
  }
  return [];
}

/** Names of steps of a pipeline that a stage may not take. */
const reservedNames = new Set(['prepare', 'export', 'search', 'evaluate', 'register', 'init']);

function checkStages({ stages, extract }: Pipeline, at: PipelineScope): void {
  const names = Object.keys(stages);
  for (const [name, settings] of Object.entries(stages)) {
    const stageAt = (...parts: string[]) => settingAt(at, 'stages', name, ...parts);
    if (reservedNames.has(name) || Object.keys(extract).some((extraction) => name === `extract_${extraction}`))
      throw new CairnError('invalid_setting', `${stageAt()}: "${name}" is the name of another step; choose another name for the stage`);
    const { from } = settings;
    if (typeof from === 'string' && from !== 'init' && !Object.hasOwn(stages, from))
      throw new CairnError('invalid_setting', `${stageAt('from')} is "${from}", but the stages are ${names.join(', ')}`);
    if (settings.weights !== null && from !== 'init')
      throw new CairnError(
        'invalid_setting',
        `${stageAt('weights')} is "${settings.weights}", but the stage starts from ${typeof from === 'string' ? `the stage ${from}` : nameOfInput(from)}`,
      );
    checkStage(settings, stageAt());
  }
}
