import {
  CairnError,
  checkRerank,
  checkVotes,
  type ExternalInput,
  type GraphStep,
  type KindAndSettings,
  kindAndSettings,
  type ListName,
  listName,
  ownValue,
  settingPathText,
  type TrainSettings,
  type WeightsContent,
} from '@cairn/contract';
import { rulesOf, stepKinds } from './step-kinds.ts';

export function graphPlan(name: string, step: GraphStep): StepPlan {
  const needs: StepNeed[] = [];
  const wants: StepWant[] = [];
  for (const [role, input] of Object.entries(step.inputs)) {
    if (typeof input === 'string') needs.push({ role, step: input });
    else wants.push({ role, input, setting: settingPathText(['steps', name, 'inputs', role]), contents: contentsOf(role) });
  }
  return { name, needs, wants, ...kindAndSettingsOf(name, step) };
}

const contentsOf = (role: string): readonly WeightsContent[] =>
  role === 'weights' ? ['backbone', 'model'] : role === 'matcher' ? ['matcher'] : ['model'];

function kindAndSettingsOf(name: string, step: GraphStep): KindAndSettings {
  if (step.kind !== 'train') {
    const { kind, inputs: _, ...settings } = step;
    return kindAndSettings.parse({ kind, settings });
  }
  const { kind, inputs, ...settings } = step;
  checkStage(settings, settingPathText(['steps', name]));
  const { start, weights } = inputs;
  if (start !== undefined && weights !== undefined)
    throw new CairnError(
      'invalid_setting',
      `${settingPathText(['steps', name, 'inputs'])} has both start and weights; a stage begins with one of them`,
    );
  // The trainer's settings say that it starts from something; the input says from what.
  const from = start === undefined ? 'init' : typeof start === 'string' ? start : 'start';
  return { kind, settings: { ...settings, from, weights: weights === undefined ? null : nameOfInput(weights) } };
}

/** How an input from outside is called in sentences and lists. */
export function nameOfInput(input: ExternalInput | string): string {
  if (typeof input === 'string') return input;
  if ('weights' in input) return input.weights;
  if ('model' in input) return input.model;
  return 'run' in input ? `${input.step} of ${input.run}` : input.artifact;
}

/** What one setting of a stage says of another. */
export function checkStage(settings: Omit<TrainSettings, 'from' | 'weights'>, where: string): void {
  const { batch, ranks, effectiveBatch, epochs, lastEpoch, sampler, imagesPerId } = settings;
  const refuse = (what: string) => {
    throw new CairnError('invalid_setting', `${where}.${what}`);
  };
  const atOnce = batch * ranks;
  if (effectiveBatch !== null && effectiveBatch % atOnce !== 0)
    refuse(
      `effectiveBatch is ${effectiveBatch}; it must be a multiple of batch x ranks, ${batch} x ${ranks} = ${atOnce}, or null for a step of ` +
        'batch x ranks images, whatever the learning rate was chosen for',
    );
  if (lastEpoch !== null && lastEpoch > epochs) refuse(`lastEpoch is ${lastEpoch}, but the stage has ${epochs} epochs`);
  if (sampler === 'id_uniform' && batch % imagesPerId !== 0)
    refuse(`batch is ${batch}; the sampler id_uniform needs a multiple of imagesPerId, ${imagesPerId}`);
}

/** A list that a step reads, and where the recipe says so. */
export type ListRead = { list: ListName; where: string };

/** The lists that a training stage reads to score itself. */
export const listsScored = ({ evaluate }: Pick<TrainSettings, 'evaluate'>, where: string): ListRead[] =>
  evaluate === 'none'
    ? []
    : (['query', 'index'] as const).map((list) => ({ list, where: `${where}.evaluate is "${evaluate}", which scores "${list}"` }));

/**
 * A step that reads a list which prepare does not make would fail only when the steps before it are done, days later.
 *
 * @param setting where the lists that are made are set
 */
export function refuseListsNotMade(reads: readonly ListRead[], made: readonly ListName[], setting: string): void {
  for (const { list, where } of reads) {
    if (made.includes(list)) continue;
    throw new CairnError('invalid_setting', `${where}, but ${setting} makes only ${made.join(', ')}`, {
      details: { remedy: `Let it be made too: --set '${setting}=${JSON.stringify([...made, list])}'.` },
    });
  }
}

export function refuseSameNames(steps: readonly StepPlan[]): void {
  const seen = new Set<string>();
  for (const { name } of steps) {
    if (seen.has(name)) throw new CairnError('invalid_setting', `two steps are named "${name}"; rename the one in \`steps\``);
    seen.add(name);
  }
}

/** Each input is there, of a role and a kind that the step takes, and names a list that is made. */
export function checkInputs(step: StepPlan, steps: readonly StepPlan[], listsOfPrepare: string): void {
  const { inputs } = rulesOf(step);
  if (step.kind === 'rerank') checkRerank(step.settings.rerank);
  if (step.kind === 'vote') checkVotes(step.settings);
  const where = (role: string) => `the input ${role} of the step ${step.name}`;
  for (const { role } of [...step.needs, ...step.wants])
    if (!Object.hasOwn(inputs, role))
      throw new CairnError(
        'invalid_setting',
        `${where(role)}: a step of the kind ${step.kind} takes ${Object.keys(inputs).join(', ') || 'no inputs'}`,
      );
  for (const [role, { required }] of Object.entries(inputs))
    if (required && ![...step.needs, ...step.wants].some((input) => input.role === role))
      throw new CairnError('invalid_setting', `the step ${step.name} (${step.kind}) needs an input ${role}`);
  for (const { role, step: name } of step.needs) {
    const source = steps.find((candidate) => candidate.name === name);
    if (source === undefined)
      throw new CairnError(
        'invalid_setting',
        `${where(role)} is "${name}", which is not a step; the steps are ${steps.map((one) => one.name).join(', ')}`,
      );
    const { makes } = stepKinds[source.kind];
    const accepted = ownValue(inputs, role)?.kinds ?? [];
    if (!accepted.includes(makes))
      throw new CairnError(
        'invalid_setting',
        `${where(role)} is the step ${name}, which makes ${makes}; it must be ${accepted.join(' or ')}`,
      );
    if (source.kind === 'prepare')
      refuseListsNotMade(
        listsRead(step, role),
        source.settings.lists,
        name === 'prepare' ? listsOfPrepare : `${settingPathText(['steps', name])}.lists`,
      );
  }
}

/** The lists that a step reads of its input `role`. */
function listsRead(step: StepPlan, role: string): ListRead[] {
  const reading = rulesOf(step).reads(role);
  const scored = step.kind === 'train' && role === 'lists' ? listsScored(step.settings, settingPathText(['steps', step.name])) : [];
  const lists = typeof reading === 'object' ? reading.lists.map((list) => (list === 'ground_truth' ? 'query' : listName.parse(list))) : [];
  return [...lists.map((list) => ({ list, where: `the step ${step.name} reads the list "${list}"` })), ...scored];
}

/** The steps so that each comes after what it needs, else in the order of the recipe. */
export function inOrder(steps: readonly StepPlan[]): StepPlan[] {
  const ordered: StepPlan[] = [];
  const done = new Set<string>();
  const rest = [...steps];
  while (rest.length > 0) {
    const index = rest.findIndex((step) => step.needs.every((need) => done.has(need.step)));
    const next = rest.splice(index, 1)[0];
    if (index === -1 || next === undefined)
      throw new CairnError(
        'invalid_setting',
        `${steps
          .filter(({ name }) => !done.has(name))
          .map(({ name }) => name)
          .join(', ')} depend on each other in a cycle`,
      );
    ordered.push(next);
    done.add(next.name);
  }
  return ordered;
}

export function withNeeds(steps: readonly StepPlan[], wanted: readonly string[]): StepPlan[] {
  const kept = new Set<string>();
  const keep = (name: string): void => {
    const step = steps.find((candidate) => candidate.name === name);
    if (step === undefined)
      throw new CairnError('invalid_setting', `until names "${name}", but the steps are ${steps.map((one) => one.name).join(', ')}`);
    if (kept.has(name)) return;
    kept.add(name);
    for (const need of step.needs) keep(need.step);
  };
  for (const name of wanted) keep(name);
  return steps.filter(({ name }) => kept.has(name));
}

export type StepNeed = { role: string; step: string };

/** Something from outside the run that a step reads; `setting` is where the recipe says so. */
export type StepWant = {
  role: string;
  input: ExternalInput;
  setting: string;
  /** Of imported weights: what they may hold. */
  contents: readonly WeightsContent[];
};

/** What a step reads: of the run, and from outside. */
export type StepInputs = { needs: StepNeed[]; wants: StepWant[] };

/** One step of a run: its kind says where it runs and how many slots it takes (`rulesOf`). */
export type StepPlan = KindAndSettings & StepInputs & { name: string };
