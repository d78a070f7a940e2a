import { resolve } from 'node:path';
import {
  CairnError,
  type ListName,
  listName,
  type Preprocessing,
  preprocessing,
  type RecipeInput,
  type WeightsQuery,
  type WeightsView,
  weightsExtent,
} from '@cairn/contract';
import { Option } from 'commander';
import { z } from 'zod';
import type { Registrar, Session } from '../cli.ts';
import { runPython, type UploadOptions, uploadWeights } from '../imports/upload-weights.ts';
import { listTable, tableLines } from '../output/table.ts';
import { formatAgo, formatBytes, formatCount, plural } from '../output/units.ts';
import { parseSetOptions } from '../recipe/read-recipe.ts';
import { collect, wholeNumber } from './options.ts';
import { waitForRun } from './submit.ts';

type ModelOptions = UploadOptions & {
  backbone: string;
  dataset?: string;
  imageSize?: number;
  preprocessing: Preprocessing;
  set?: string[];
  wait?: true;
};

export function addImport({ program, action }: Registrar): void {
  const group = program.command('import').description('imports weights, models, matchers, lists and features from elsewhere');
  group
    .command('weights <file>')
    .description(
      'checks a file of published ImageNet weights against its backbone and uploads it to the service, for recipes that start from it',
    )
    .requiredOption('--backbone <name>', 'the backbone: one of the trainer, or timm:NAME')
    .option('--name <name>', "its name in recipes (default: the file's name without its extension)")
    .option('--source <url>', 'where the file comes from, recorded with it')
    .option('--licence <text>', 'the licence under which it is published, recorded with it')
    .addOption(
      new Option('--extent <extent>', 'upstream: the file may lack the squeeze-excitations, which the reference leaves untrained')
        .choices(weightsExtent.options)
        .default('all'),
    )
    .action(action(importWeights));
  group
    .command('model <file>')
    .description(
      "checks a model of the reference's kind and uploads it to the service; with --dataset, submits a run that exports, evaluates and registers it",
    )
    .requiredOption('--backbone <name>', 'the backbone: one of the trainer, or timm:NAME')
    .option('--dataset <name>', 'the dataset with the queries and index for its evaluation: name or name@version')
    .option('--image-size <pixels>', 'side of the square input it was trained for, required with --dataset', wholeNumber(32, 1024))
    .option('--name <name>', "the model's name, and that of its weights (default: the file's name without its extension)")
    .addOption(
      new Option('--preprocessing <way>', "how its images were resized; the reference's models need `reference`")
        .choices(preprocessing.options)
        .default('reference'),
    )
    .option('--source <url>', 'where the file comes from, recorded with it')
    .option('--licence <text>', 'the licence under which it is published, recorded with it')
    .option('-s, --set <path=value>', 'overrides a setting of the run, such as extract.index.shards=64 (repeatable)', collect)
    .option('-w, --wait', "shows the run until it is over; the exit code is the run's")
    .action(action(importModel));
  group
    .command('matcher <file>')
    .description(
      'checks an ONNX file that finds and matches the points of two images (SuperPoint and LightGlue, end to end) and uploads it to the service, for the local matching of runs',
    )
    .option('--name <name>', "its name in recipes (default: the file's name without its extension)")
    .option('--source <url>', 'where the file comes from, recorded with it')
    .option('--licence <text>', 'the licence under which it is published, recorded with it')
    .action(action(importMatcher));
  group
    .command('lists <files...>')
    .description("converts the reference's pickled lists, files or a folder of them, to Parquet with our columns, without the service")
    .requiredOption('--out <folder>', 'gets lists/NAME.parquet')
    .addOption(new Option('--list <name>', 'which list a file is, where its name does not say').choices(listName.options))
    .action(action(importLists));
  group
    .command('features <file>')
    .description("converts the reference's pickled features to a feature set, without the service")
    .requiredOption('--out <folder>', 'the folder to create: img_emb/, metadata/ and rejected/')
    .action(action(importFeatures));
}

async function importWeights(session: Session, file: string, options: UploadOptions): Promise<undefined> {
  const { weights } = await upload(session, file, 'backbone', options);
  session.ui.json(weights);
  session.ui.note(session.ui.style.dim(`A stage starts from it with \`weights: ${weights.name}\`.`));
  return undefined;
}

async function importMatcher({ ui, ...session }: Session, file: string, options: UploadOptions): Promise<undefined> {
  const { weights, isNew } = await uploadWeights({ ui, ...session }, file, 'matcher', options);
  ui.json(weights);
  const { name, bytes, sha256 } = weights;
  ui.line(
    `${ui.style.bold(name)} ${isNew ? 'imported' : 'already there'}: a matcher, ${formatBytes(bytes)}, sha256 ${sha256.slice(0, 16)}`,
  );
  ui.note(ui.style.dim(`An ensemble matches with it: --set ensemble.matcher=${name} --set 'ensemble.rerank.localMatching={}'.`));
  return undefined;
}

async function importModel(session: Session, file: string, options: ModelOptions): Promise<number | undefined> {
  const { ui, signal } = session;
  const { dataset, imageSize } = options;
  const ofTheRun = [imageSize, options.set, options.wait].some((option) => option !== undefined);
  if (dataset === undefined ? ofTheRun : imageSize === undefined)
    throw new CairnError(
      'invalid_request',
      `--dataset and --image-size belong together${dataset === undefined ? ', and --set and --wait to them' : ''}`,
      {
        details: { remedy: 'Use both to evaluate the model, or neither to only import it.' },
      },
    );
  const { weights } = await upload(session, file, 'model', options);
  if (dataset === undefined || imageSize === undefined) {
    ui.json({ weights });
    ui.note(ui.style.dim(`A stage continues from it with \`from: init\` and \`weights: ${weights.name}\`.`));
    return undefined;
  }
  const client = await session.client();
  const recipe = recipeOf(weights.name, weights.embeddingDim ?? 512, { ...options, imageSize });
  const run = await client.submitRun({ recipe, dataset, set: parseSetOptions(options.set ?? []) }, { signal });
  const submitted = `${ui.style.bold(run.name)} submitted: it exports, evaluates and registers the model ${weights.name}`;
  if (options.wait) {
    ui.note(`${submitted}  ${ui.style.dim(run.id)}`);
    return waitForRun(session, client, run);
  }
  ui.json({ weights, run });
  ui.line(`${submitted}  ${ui.style.dim(run.id)}`);
  return undefined;
}

async function upload(session: Session, file: string, content: WeightsQuery['content'], options: UploadOptions) {
  const { ui } = session;
  const uploaded = await uploadWeights(session, file, content, options);
  const { name, backbone, sha256, bytes } = uploaded.weights;
  const what = `${formatCount(uploaded.tensors)} tensors of ${backbone}, ${formatBytes(bytes)}, sha256 ${sha256.slice(0, 16)}`;
  ui.line(`${ui.style.bold(name)} ${uploaded.isNew ? 'imported' : 'already there'}: ${what}`);
  return uploaded;
}

/** A recipe without stages: the imported model replaces what the last stage trains. */
function recipeOf(name: string, embeddingDim: number, options: ModelOptions & { imageSize: number }): RecipeInput {
  const { backbone, imageSize, preprocessing: way } = options;
  return {
    name,
    description: `The imported model ${name}.`,
    model: { backbone, embeddingDim },
    prepare: { lists: ['query', 'index'] },
    stages: {},
    export: { weights: name, imageSize, preprocessing: way },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: name },
  };
}

const listsAnswer = z.object({
  lists: z.record(
    z.string(),
    z.looseObject({
      rows: z.number(),
      images: z.number(),
      labels: z.number(),
      noisy: z.number(),
      unlabelled: z.number(),
      bytes: z.number(),
      sha256: z.string(),
    }),
  ),
});

async function importLists(session: Session, files: string[], options: { out: string; list?: ListName }): Promise<undefined> {
  const { ui } = session;
  const paths = files.map((file) => resolve(file));
  const named = options.list === undefined ? [] : ['--list', options.list];
  const answer = await runPython(session, 'cairn_trainer.import_lists', [...paths, '--out', resolve(options.out), ...named], listsAnswer);
  ui.json(answer);
  for (const line of listTable(answer.lists, ui)) ui.line(line);
  return undefined;
}

const featuresAnswer = z.looseObject({ rows: z.number(), rejected: z.number(), dim: z.number() });

async function importFeatures(session: Session, file: string, options: { out: string }): Promise<undefined> {
  const { ui } = session;
  const out = resolve(options.out);
  const answer = await runPython(session, 'cairn_trainer.import_features', [resolve(file), '--out', out], featuresAnswer);
  ui.json(answer);
  const rejected = answer.rejected === 0 ? '' : `; left out: ${plural(answer.rejected, 'vector')} without a direction`;
  ui.line(`${plural(answer.rows, 'vector')} of length ${answer.dim}${rejected}  ${ui.style.dim(out)}`);
  return undefined;
}

export function addWeights({ program, action }: Registrar): void {
  const weights = program.command('weights').description('lists and removes imported weights');
  weights.command('list', { isDefault: true }).description('lists the imported weights by their names in recipes').action(action(list));
  weights
    .command('remove <name>')
    .description('removes weights from the list, those of other users as an admin; `cairn gc` removes the file when no run refers to it')
    .action(action(remove));
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const items: WeightsView[] = [];
  for await (const one of (await client()).eachWeights({ signal })) items.push(one);
  ui.json({ items });
  if (items.length === 0) {
    ui.line('No weights. `cairn import weights FILE --backbone NAME` imports some.');
    return undefined;
  }
  const rows = items.map(({ name, content, backbone, extent, sha256, bytes, licence, createdAt }) => [
    ui.style.bold(name),
    content === 'matcher' ? 'matcher' : content === 'model' ? 'whole model' : extent === 'all' ? 'backbone' : 'backbone without SE',
    content === 'matcher' ? '' : backbone,
    formatBytes(bytes),
    licence ?? '',
    formatAgo(createdAt, cli.now()),
    ui.style.dim(sha256.slice(0, 16)),
  ]);
  const columns = [
    { title: 'name' },
    { title: 'holds' },
    { title: 'backbone' },
    { title: 'size', align: 'right' as const },
    { title: 'licence' },
    { title: 'imported' },
    { title: 'sha256' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function remove({ ui, signal, client }: Session, name: string): Promise<undefined> {
  await (await client()).removeWeights(name, { signal });
  ui.json({ removed: name });
  ui.line(`Weights ${name} removed from the list; runs that were submitted with them keep them.`);
  return undefined;
}
