import {
  CairnError,
  type Ensemble,
  type ListName,
  needsReferences,
  ownValue,
  type Pipeline,
  type Recipe,
  settingPathText,
  usesFound,
  votingConstantsOf,
} from '@cairn/contract';
import type { StepInputs, StepNeed, StepPlan, StepWant } from './graph-steps.ts';

/** A model of an ensemble, with what is registered of it. */
export type Member = StepInputs & { name: string };

/**
 * The pipeline of a model as an ensemble has it: with features of the references where these vote, extracted as those of the index are, and
 * without a search of its own.
 *
 * @throws CairnError `invalid_setting` where the features are missing, or are of other images than the ensemble searches
 */
export function memberOf({ evaluate }: Recipe, ensemble: Ensemble, name: string, pipeline: Pipeline): Pipeline {
  const at = (...parts: string[]) => settingPathText(['models', name, 'extract', ...parts]);
  const refuse = (message: string) => new CairnError('invalid_setting', message);
  const { rerank, references: list, whitening, eachModel } = ensemble;
  const [index, query, references] = ['index', 'query', 'references'].map((one) => ownValue(pipeline.extract, one));
  if (index === undefined || query === undefined)
    throw refuse(`the ensemble searches ${name}, but the recipe has no ${at(index === undefined ? 'index' : 'query')}`);
  if (evaluate !== null && query.list !== 'query')
    throw refuse(`${at('query', 'list')} is "${query.list}", but the step evaluate scores the list query`);
  if (needsReferences(rerank) && references !== undefined && references.list !== list)
    throw refuse(`${at('references', 'list')} is "${references.list}", but ensemble.references is "${list}"`);
  const extract = needsReferences(rerank) ? { ...pipeline.extract, references: references ?? { ...index, list } } : pipeline.extract;
  if (whitening !== null && !Object.hasOwn(extract, whitening))
    throw refuse(`ensemble.whitening is "${whitening}", but the recipe has no ${at(whitening)}`);
  return { ...pipeline, extract, ...(eachModel ? {} : { search: null }) };
}

/** The search of all models together, its evaluation, and the registration of the ensemble with the lineage of each model. */
export function ensembleSteps(recipe: Recipe, ensemble: Ensemble, members: readonly Member[]): StepPlan[] {
  const { evaluate, register } = recipe;
  const { weights, whitening, tags, voting, matcher, eachModel: _, ...settings } = ensemble;
  const names = members.map(({ name }) => name);
  const votes = needsReferences(settings.rerank);
  const matched =
    settings.rerank.localMatching === null ? null : { queryList: listOf(recipe, 'query'), indexList: listOf(recipe, 'index') };
  if (matcher !== null && matched === null)
    throw new CairnError('invalid_setting', `ensemble.matcher is "${matcher}", but ensemble.rerank.localMatching is null`, {
      details: { remedy: "Switch it on, with its defaults or others: --set 'ensemble.rerank.localMatching={}'." },
    });
  const lists: StepNeed = { role: 'lists', step: 'prepare' };
  const features = (name: string, role: string, extraction: string): StepNeed => ({
    role: `${role}.${name}`,
    step: `${name}-extract_${extraction}`,
  });
  const references = votes ? names.map((name) => features(name, 'references', 'references')) : [];
  // Of whitened or expanded vectors the step rerank finds them.
  const used = usesFound(settings.rerank, whitening !== null);
  const [tagFleet, voteFleet] = [votes && used.tags ? tags : null, votes && used.votes ? voting : null];
  const matching: StepWant[] =
    matcher === null ? [] : [{ role: 'matcher', input: { weights: matcher }, setting: 'ensemble.matcher', contents: ['matcher'] }];
  const needsOf = (name: string, role: 'index' | 'query'): StepNeed[] => [
    lists,
    ...[role, 'references'].map((one) => ({ role: one, step: `${name}-extract_${one}` })),
  ];
  const { references: list } = settings;
  const constants = votingConstantsOf(settings.rerank);
  const tagging =
    tagFleet === null
      ? []
      : names.map((name): StepPlan => {
          const fleet = { ...tagFleet, references: list };
          return { name: tagStepOf(name), kind: 'tag', settings: fleet, needs: needsOf(name, 'index'), wants: [] };
        });
  const voters =
    voteFleet === null
      ? []
      : names.map((name): StepPlan => {
          const fleet = { ...voteFleet, ...constants, references: list };
          return { name: voteStepOf(name), kind: 'vote', settings: fleet, needs: needsOf(name, 'query'), wants: [] };
        });
  const steps: StepPlan[] = [
    ...tagging,
    ...voters,
    {
      name: 'rerank',
      kind: 'rerank',
      settings: { ...settings, ...matched, weights: Object.fromEntries(names.map((name) => [name, ownValue(weights, name) ?? 1])) },
      needs: [
        ...(votes || matched !== null ? [lists] : []),
        ...names.flatMap((name) => [features(name, 'query', 'query'), features(name, 'index', 'index')]),
        ...references,
        ...(tagFleet === null ? [] : names.map((name) => ({ role: `tags.${name}`, step: tagStepOf(name) }))),
        ...(voteFleet === null ? [] : names.map((name) => ({ role: `votes.${name}`, step: voteStepOf(name) }))),
        ...(whitening === null ? [] : names.map((name) => features(name, 'whitening', whitening))),
      ],
      wants: matching,
    },
  ];
  const neighbours: StepNeed = { role: 'neighbours', step: 'rerank' };
  if (evaluate !== null) steps.push({ name: 'evaluate', kind: 'evaluate', settings: evaluate, needs: [lists, neighbours], wants: [] });
  if (register === undefined) return steps;
  const named = <T extends { role: string }>(name: string, inputs: readonly T[]) =>
    inputs.map((input) => ({ ...input, role: `${input.role}.${name}` }));
  steps.push({
    name: 'register',
    kind: 'register',
    settings: { ...register, models: names },
    needs: [
      ...members.flatMap(({ name, needs }) => named(name, needs)),
      ...references,
      neighbours,
      ...(evaluate === null ? [] : [{ role: 'evaluation', step: 'evaluate' }]),
    ],
    // The matcher is recorded for its licence.
    wants: [...members.flatMap(({ name, wants }) => named(name, wants)), ...matching],
  });
  return steps;
}

const tagStepOf = (model: string): string => `${model}-tag_index`;
const voteStepOf = (model: string): string => `${model}-vote_query`;

/** The list that all models extract: its images are matched. */
function listOf({ models }: Recipe, extraction: 'query' | 'index'): ListName {
  const lists = new Set(Object.values(models).flatMap(({ extract }) => ownValue(extract, extraction)?.list ?? []));
  const [list] = lists;
  if (list !== undefined && lists.size === 1) return list;
  throw new CairnError(
    'invalid_setting',
    `ensemble.rerank.localMatching reads the images of one list, but models.NAME.extract.${extraction}.list is ${[...lists].join(', ')}`,
  );
}
