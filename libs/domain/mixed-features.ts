import { isDeepStrictEqual } from 'node:util';
import {
  CairnError,
  featuresDetails,
  needsReferences,
  originOf,
  resultSettings,
  type VotingConstants,
  votingConstantsOf,
} from '@cairn/contract';
import type { StepPlan } from './graph-steps.ts';

/** The details of an artifact from outside the run, by step and role; undefined where it is not known yet. */
export type OutsideDetails = (step: StepPlan, role: string) => { digest: string; details: unknown } | undefined;

/** Features that a step compares, as far as a submission knows them. */
type Compared = {
  role: string;
  /** What they are called in errors. */
  name: string;
  list: string | null;
  /** What made them: the export of this run, which another one with the same settings and inputs equals; or the model's digest. */
  madeBy: StepPlan | string | null;
};

/** The roles of the features that a step of one model compares. */
const comparedBy = {
  scan: ['query', 'index'],
  search: ['query', 'index'],
  tag: ['index', 'references'],
  vote: ['query', 'references'],
} as const;

/**
 * Refuses steps that compare features of different models, or of lists that do not belong together, which would fail only when all are
 * extracted, days later. What is not known yet is left to the step.
 *
 * @throws CairnError `model_mismatch`, `invalid_setting`
 */
export function refuseMixedFeatures(plan: readonly StepPlan[], outside: OutsideDetails): void {
  for (const step of plan) {
    const read = (role: string): Compared[] => comparedAs(role, step, plan, outside);
    if (step.kind === 'scan' || step.kind === 'search' || step.kind === 'tag' || step.kind === 'vote') {
      refuseTwoModels(step, 'its features', comparedBy[step.kind].flatMap(read));
      if (step.kind === 'tag' || step.kind === 'vote') refuseOtherLabels(step, step.settings.references, read('references'));
    }
    if (step.kind !== 'rerank') continue;
    const names = Object.keys(step.settings.weights);
    for (const name of names)
      refuseTwoModels(
        step,
        name,
        ['query', 'index', 'references', 'whitening'].flatMap((role) => read(`${role}.${name}`)),
      );
    for (const role of ['query', 'index'])
      refuseTwoLists(
        step,
        names.flatMap((name) => read(`${role}.${name}`)),
      );
    if (!needsReferences(step.settings.rerank)) continue;
    for (const name of names) refuseOtherVotes(step, `votes.${name}`, step.settings.rerank, plan);
    refuseOtherLabels(
      step,
      step.settings.references,
      names.flatMap((one) => read(`references.${one}`)),
    );
  }
}

/** Votes are of the constants with which they were found. */
function refuseOtherVotes(step: StepPlan, role: string, rerank: VotingConstants, plan: readonly StepPlan[]): void {
  const need = step.needs.find((one) => one.role === role);
  const source = plan.find(({ name }) => name === need?.step);
  if (source?.kind !== 'vote') return;
  const [ours, theirs] = [votingConstantsOf(rerank), votingConstantsOf(source.settings)];
  const other = (Object.keys(ours) as (keyof VotingConstants)[]).find((key) => ours[key] !== theirs[key]);
  if (other === undefined) return;
  throw new CairnError(
    'invalid_setting',
    `the input ${role} of the step ${step.name} is ${source.name}, whose ${other} is ${theirs[other]}, but its setting rerank.${other} is ${ours[other]}`,
    { details: { remedy: 'Give both steps the same constants of the votes: votes, voteNeighbours, voteLambda, k1, k2.' } },
  );
}

function refuseOtherLabels(step: StepPlan, references: string, compared: readonly Compared[]): void {
  for (const { role, name, list } of compared)
    if (list !== null && list !== references)
      throw new CairnError(
        'invalid_setting',
        `the input ${role} of the step ${step.name} is ${name}, of the list "${list}", but its setting references is "${references}"`,
        { details: { remedy: 'Take the labels of the references from the list of which their features are.' } },
      );
}

function comparedAs(role: string, step: StepPlan, plan: readonly StepPlan[], outside: OutsideDetails): Compared[] {
  const given = outside(step, role);
  if (given !== undefined) {
    const { model } = originOf(given.details);
    return [{ role, name: 'one from outside', list: featuresDetails.safeParse(given.details).data?.list ?? null, madeBy: model }];
  }
  const need = step.needs.find((one) => one.role === role);
  const source = plan.find(({ name }) => name === need?.step);
  if (source?.kind !== 'extract') return [];
  const exported = source.needs.find((one) => one.role === 'model')?.step;
  const madeBy = plan.find(({ name }) => name === exported) ?? outside(source, 'model')?.digest ?? null;
  return [{ role, name: source.name, list: source.settings.list, madeBy }];
}

function refuseTwoModels(step: StepPlan, what: string, compared: readonly Compared[]): void {
  for (const [at, one] of compared.entries()) {
    const other = compared.slice(at + 1).find(({ madeBy }) => areDifferent(one.madeBy, madeBy));
    if (other === undefined) continue;
    throw new CairnError(
      'model_mismatch',
      `the step ${step.name} compares features of different models as ${what}: its input ${inWords(one)}, ${inWords(other)}`,
      { details: { remedy: 'Use features that one model extracted with one preprocessing and the same scales.' } },
    );
  }
}

/** Only where both are known in the same way. */
function areDifferent(a: Compared['madeBy'], b: Compared['madeBy']): boolean {
  if (typeof a === 'string' || typeof b === 'string') return typeof a === 'string' && typeof b === 'string' && a !== b;
  const asMade = (step: StepPlan) => ({
    settings: resultSettings(step),
    needs: step.needs,
    wants: step.wants.map(({ role, input }) => ({ role, input })),
  });
  return a !== null && b !== null && !isDeepStrictEqual(asMade(a), asMade(b));
}

function refuseTwoLists(step: StepPlan, compared: readonly Compared[]): void {
  const [first, ...others] = compared.filter(({ list }) => list !== null);
  const other = others.find(({ list }) => list !== first?.list);
  if (first === undefined || other === undefined) return;
  throw new CairnError(
    'invalid_setting',
    `the step ${step.name} searches the same images with every model, but its input ${first.role} is of the list "${first.list}", ${other.role} of "${other.list}"`,
  );
}

function inWords({ role, name, madeBy }: Compared): string {
  const model = typeof madeBy === 'string' ? `the model ${madeBy.slice(0, 16)}` : madeBy?.name;
  return `${role} is ${name} of ${model}`;
}
