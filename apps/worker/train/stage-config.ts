import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AttemptSpecOf,
  CairnError,
  type InputArtifact,
  isCairnError,
  type ListFile,
  listsDetails,
  type ResumePoint,
  type TrainerConfig,
  trainerConfig,
} from '@cairn/contract';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { fetchFile, fetchVerified, inputOf } from '../agent/stored-files.ts';

type TrainContext = AttemptContext<AttemptSpecOf<'train'>>;

export type Stage = {
  config: TrainerConfig;
  configPath: string;
};

/** Fetches what the stage reads (lists, start weights, the checkpoint to resume from) and writes the trainer's configuration. */
export async function prepareStage(context: TrainContext): Promise<Stage> {
  const { spec, workDir } = context;
  const { model, ...settings } = spec.settings;
  const folder = join(workDir, 'stage');
  const outputDir = join(folder, 'checkpoints');
  mkdirSync(outputDir, { recursive: true });
  const { list, classes } = await fetchList(context, settings.list);
  const config = trainerConfig.parse({
    protocol: 1,
    stage: spec.step.name,
    settings,
    model,
    classes,
    list,
    imageRoot: spec.source.root,
    evaluation: settings.evaluate === 'none' ? null : await fetchEvaluation(context),
    ...(await fetchStart(context)),
    resume: await newestResumePoint(context, join(folder, 'resume')),
    outputDir,
    eventsPath: join(folder, 'events.ndjson'),
    stopPath: join(folder, 'stop'),
  } satisfies TrainerConfig);
  const configPath = join(folder, 'stage.json');
  writeFileSync(configPath, `${JSON.stringify(config, null, 2)}\n`);
  return { config, configPath };
}

/** What the stage starts from: the previous stage, an imported model treated as one, a published backbone, or nothing. */
async function fetchStart(context: TrainContext): Promise<Pick<TrainerConfig, 'start' | 'weights'>> {
  const { from, weights } = context.spec.settings;
  const wholeModel = (input: InputArtifact) => fetchFile(context, input, 'checkpoint.pt');
  if (from !== 'init') return { start: await wholeModel(inputOf(context.spec, 'start')), weights: null };
  if (weights === null) return { start: null, weights: null };
  const imported = inputOf(context.spec, 'weights');
  if (imported.kind === 'checkpoint') return { start: await wholeModel(imported), weights: null };
  return { start: null, weights: await fetchFile(context, imported, 'weights.pth') };
}

/** A list of the step's input `lists`, with the classes of its label space. */
export async function fetchList(context: AttemptContext, name: string): Promise<{ list: ListFile; classes: number }> {
  const input = inputOf(context.spec, 'lists');
  const counts = listsDetails.safeParse(input.details).data?.lists[name];
  if (counts === undefined) {
    throw new CairnError(
      'model_mismatch',
      `The lists ${input.id} do not contain a list "${name}": add it to \`prepare.lists\` of the recipe`,
    );
  }
  const { path } = await fetchFile(context, input, `lists/${name}.parquet`);
  return { list: { path, rows: counts.rows, labels: counts.classes }, classes: counts.classes ?? 1 };
}

async function fetchEvaluation(context: TrainContext): Promise<NonNullable<TrainerConfig['evaluation']>> {
  const lists = inputOf(context.spec, 'lists');
  const fetched = async (name: string) => (await fetchFile(context, lists, `lists/${name}.parquet`)).path;
  return { query: await fetched('query'), index: await fetched('index'), groundTruth: await fetched('ground_truth') };
}

/**
 * Fetches the newest checkpoint of the stage that verifies: one that is missing, truncated or changed is skipped with
 * a note, in favour of the previous one. Null when there is none: the stage starts from its beginning.
 */
async function newestResumePoint(
  context: AttemptContext<AttemptSpecOf<'train'>>,
  folder: string,
): Promise<{ path: string; sha256: string } | null> {
  for (const point of context.spec.resume.toSorted((a, b) => b.step - a.step)) {
    const path = join(folder, `${point.sha256}.pt`);
    try {
      await fetchVerified(context, point, path);
      context.reporter.report({ type: 'resumed', checkpointId: point.id, step: point.step, epoch: point.epoch });
      context.log.info(`resuming from the checkpoint of step ${point.step} (epoch ${point.epoch.toFixed(2)})`);
      return { path, sha256: point.sha256 };
    } catch (error) {
      if (!isCairnError(error, 'corrupt_artifact', 'not_found')) throw error;
      context.reporter.report({ type: 'note', level: 'warning', message: skippedNote(point, error.message) });
    }
  }
  return null;
}

function skippedNote(point: ResumePoint, why: string): string {
  return `The checkpoint of step ${point.step} (${point.id}) is not valid and is skipped: ${why}`;
}
