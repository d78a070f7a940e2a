import { join } from 'node:path';
import { CairnError, type PlannedStep, settingPathText } from '@cairn/contract';
import { tinyCounts } from '@cairn/mini-dataset';
import { Command, CommanderError, Option } from 'commander';
import { collect, wholeNumber } from '../commands/options.ts';
import { homeOf } from '../connection.ts';
import { exitCodesHelp } from '../exit-codes.ts';
import { parseSetOptions } from '../recipe/read-recipe.ts';

export type DemoOptions = {
  home: string;
  recipe: string;
  seed: number;
  set: Record<string, unknown>;
  /** Where artifacts are stored, and where the images are read. */
  storage: DemoStorage;
  images: DemoStorage;
  /** Leaves the service running at the end. */
  isKept: boolean;
};

/** A folder of the home, or a bucket of an S3 server that the demo starts. */
export type DemoStorage = 'folder' | 's3';
const storages: readonly DemoStorage[] = ['folder', 's3'];

/**
 * The options of the demo; null when its help was requested and printed.
 *
 * @throws CairnError `invalid_request` or `invalid_setting`
 */
export function parseDemoOptions(args: readonly string[], env: Readonly<Record<string, string | undefined>>): DemoOptions | null {
  const command = new Command('npm run demo --')
    .description(
      'Makes a small landmark collection, trains four stages on it, extracts, searches and scores, all through the real service.',
    )
    .option('--keep', 'leaves the service running at the end, until Ctrl-C')
    .option('--seed <number>', 'seed of the generated collection', wholeNumber(0, 2 ** 31 - 1), 0)
    .option(
      '--home <folder>',
      'where everything is stored (default: the folder demo, with --storage s3 demo-s3, in $CAIRN_HOME, else in ~/.local/share/cairn)',
    )
    .option('-s, --set <path=value>', 'overrides a setting, such as stages.512_all.epochs=1 (repeatable)', collect)
    .option(
      '--recipe <name>',
      'mini: minutes, and it learns; mini-resnet50: the same with a backbone of the reference; mini-submission: two models searched together; tiny: seconds, the same graph; or any other',
      'mini',
    )
    .addOption(
      new Option('--storage <kind>', 'where artifacts are stored: a folder, or a bucket of an S3 server that the demo starts')
        .choices(storages)
        .default('folder'),
    )
    .addOption(
      new Option('--images <kind>', 'where the images are read: a folder, or the bucket, as tars: then no program needs them on its disk')
        .choices(storages)
        .default('folder'),
    )
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .addHelpText('after', exitCodesHelp());
  try {
    command.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return null;
    throw new CairnError('invalid_request', error.message.replace(/^error: /, ''), {
      details: { remedy: '`npm run demo -- --help` shows the options.' },
    });
  }
  const { keep, home, set, ...rest } = command.opts<
    Pick<DemoOptions, 'seed' | 'recipe' | 'storage' | 'images'> & { keep?: true; home?: string; set?: string[] }
  >();
  // A service finds its artifacts only in the storage that it made them in.
  const name = rest.storage === 's3' ? 'demo-s3' : 'demo';
  return { ...rest, home: home ?? join(homeOf(env, undefined), name), set: parseSetOptions(set ?? []), isKept: keep === true };
}

/** The collection that the demo makes and registers: its name, its folder and its size. Only `tiny` has its own. */
export function demoDataset({ home, recipe, seed }: Pick<DemoOptions, 'home' | 'recipe' | 'seed'>) {
  const name = recipe === 'tiny' ? 'tiny' : 'mini';
  return {
    name,
    out: join(home, 'datasets', seed === 0 ? name : `${name}-${seed}`),
    seed,
    counts: name === 'tiny' ? tinyCounts : undefined,
  };
}

/** The slots of the demo's machine, and how its commands are written. */
type DemoPlace = { slots: number; home: string };

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
