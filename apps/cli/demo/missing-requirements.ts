import { CairnError, type PlannedStep, settingPathText } from '@cairn/contract';

/** The slots of the demo's machine, and how its commands are written. */
export type DemoPlace = { slots: number; home: string };

/** The required parts of a plan. */
export type DemoPlan = {
  recipe: { name: string; model?: { backbone: string } | undefined; stages: Record<string, { weights: string | null }> };
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
  const what = [
    ...large.map((step) => `${step.name} trains on ${step.slots} slots at once, and the demo has ${slots}`),
    ...absent.map((name) => `the weights ${name} are not imported`),
  ];
  const starts = Object.entries(recipe.stages).filter(([, { weights }]) => weights !== null && absent.includes(weights));
  const settings = [
    ...large.map((step) => `--set ${settingPathText(['stages', step.name, 'ranks'])}=${slots}`),
    ...starts.map(([stage]) => `--set ${settingPathText(['stages', stage, 'weights'])}=null`),
  ];
  const cairn = `npx cairn --home ${home}`;
  const imports = absent.map((name) => `\`${cairn} import weights ${name}.pth --backbone ${recipe.model?.backbone ?? 'BACKBONE'}\``);
  const bring =
    imports.length === 0
      ? ''
      : ` To start from these weights, import them while \`${cairn} up\` runs in another terminal: ${imports.join(', ')}.`;
  return new CairnError('invalid_request', `the recipe ${recipe.name} needs more than the demo has: ${what.join('; ')}`, {
    details: {
      remedy: `Use a recipe made for it (mini, mini-resnet50, tiny), or reduce this one: ${settings.join(' ')}.${bring}`,
    },
  });
}
