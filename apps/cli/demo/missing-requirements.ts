import { CairnError, type PlannedStep, settingPathText } from '@cairn/contract';

/** The slots of the demo's machine, and how its commands are written. */
export type DemoPlace = { slots: number; home: string };

type DemoModel = { model?: { backbone: string } | undefined; stages: Record<string, { weights: string | null }> };

/** The required parts of a plan. */
export type DemoPlan = {
  recipe: { name: string; models?: Record<string, DemoModel> } & DemoModel;
  steps: readonly Pick<PlannedStep, 'name' | 'action' | 'slots' | 'given'>[];
};

/**
 * Why the demo cannot run a plan, with what to do about it: a recipe for a cluster would wait for its eight GPUs without end. Null when
 * it can.
 */
export function missingRequirements({ recipe, steps }: DemoPlan, { slots, home }: DemoPlace): CairnError | null {
  const toRun = steps.filter(({ action }) => action !== 'reuse');
  const large = toRun.filter((step) => step.slots > slots);
  const absent = [...new Set(toRun.flatMap(({ given }) => given.flatMap(({ name, sha256 }) => (sha256 === null ? [name] : []))))];
  if (large.length === 0 && absent.length === 0) return null;
  const isAbsent = (weights: string | null): boolean => weights !== null && absent.includes(weights);
  const what = [
    ...large.map((step) => `${step.name} trains on ${step.slots} slots at once, and the demo has ${slots}`),
    ...absent.map((name) => `the weights ${name} are not imported`),
  ];
  const stages = stagesOf(recipe);
  const settings = [
    ...stages
      .filter(({ step }) => large.some(({ name }) => name === step))
      .map(({ path }) => `--set ${settingPathText([...path, 'ranks'])}=${slots}`),
    ...stages.filter(({ weights }) => isAbsent(weights)).map(({ path }) => `--set ${settingPathText([...path, 'weights'])}=null`),
  ];
  const cairn = `npx cairn --home ${home}`;
  const backboneOf = (name: string): string => stages.find(({ weights }) => weights === name)?.backbone ?? 'BACKBONE';
  const imports = absent.map((name) => `\`${cairn} import weights ${name}.pth --backbone ${backboneOf(name)}\``);
  const bring =
    imports.length === 0
      ? ''
      : ` To start from these weights, import them while \`${cairn} up\` runs in another terminal: ${imports.join(', ')}.`;
  return new CairnError('invalid_request', `the recipe ${recipe.name} needs more than the demo has: ${what.join('; ')}`, {
    details: {
      remedy: `Use a recipe made for it (mini, mini-resnet50, mini-submission, tiny), or reduce this one: ${settings.join(' ')}.${bring}`,
    },
  });
}

/** The stages of all models: the step and the path of the settings of each. */
function stagesOf(recipe: DemoPlan['recipe']) {
  const models: [string, DemoModel][] = [['', recipe], ...Object.entries(recipe.models ?? {})];
  return models.flatMap(([name, { model, stages }]) =>
    Object.entries(stages).map(([stage, { weights }]) => ({
      step: name === '' ? stage : `${name}-${stage}`,
      path: [...(name === '' ? [] : ['models', name]), 'stages', stage],
      weights,
      backbone: model?.backbone,
    })),
  );
}
