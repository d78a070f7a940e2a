import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CairnError,
  type ExporterConfig,
  exporterConfig,
  type FinishRequest,
  type ListsDetails,
  listsDetails,
  modelDetails,
  type TrainerEvent,
} from '@cairn/contract';
import type { Runner } from '../agent/attempt-context.ts';
import { failure, failureOfProgram } from '../agent/failure.ts';
import { fetchFile, inputOf, uploadFile, withImportNames } from '../agent/stored-files.ts';
import { runProgram } from '../program/run-program.ts';
import { reportBadImage } from '../report/reporter.ts';
import { fetchList } from './stage-config.ts';

type Exported = Extract<TrainerEvent, { event: 'exported' }>;
type Failed = Extract<TrainerEvent, { event: 'failed' }>;

/** The list on whose images ONNX Runtime is compared with PyTorch; null without lists. A recipe may make any of them. */
export function listToCheck(lists: ListsDetails['lists']): string | null {
  const names = Object.keys(lists);
  return ['index', 'query', 'clean', 'full', 'all'].find((name) => names.includes(name)) ?? names[0] ?? null;
}

/** One attempt at an export: converts a stage's checkpoint to model.onnx, compared with PyTorch on real images, and its weights. */
export const runExport: Runner<'export'> = async (context) => {
  const { spec, workDir, stop } = context;
  const { model, ...settings } = spec.settings;
  const folder = join(workDir, 'export');
  const outputDir = join(folder, 'model');
  mkdirSync(outputDir, { recursive: true });
  const lists = listsDetails.safeParse(inputOf(spec, 'lists').details).data?.lists ?? {};
  const listName = listToCheck(lists);
  if (listName === null) throw new CairnError('model_mismatch', 'No list was prepared');
  const config: ExporterConfig = exporterConfig.parse({
    protocol: 1,
    settings,
    model,
    checkpoint: await fetchFile(context, inputOf(spec, 'checkpoint'), 'checkpoint.pt'),
    list: (await fetchList(context, listName)).list,
    imageRoot: spec.source.root,
    outputDir,
    eventsPath: join(folder, 'events.ndjson'),
  } satisfies ExporterConfig);
  const configPath = join(folder, 'export.json');
  writeFileSync(configPath, `${JSON.stringify(config, null, 2)}\n`);

  let exported: Exported | null = null;
  let failed: Failed | null = null;
  stop.asked.throwIfAborted();
  const end = await runProgram(context, {
    module: 'cairn_trainer.export',
    args: ['--config', configPath],
    cwd: folder,
    eventsPath: config.eventsPath,
    stopPath: null,
    onEvent(event) {
      if (event.event === 'exported') exported = event;
      if (event.event === 'failed') failed ??= event;
      if (event.event === 'badImage') reportBadImage(context, event);
    },
  });
  if (stop.asked.aborted) return stop.outcome('the export was stopped');
  return finish(exported, failed);

  async function finish(result: Exported | null, fault: Failed | null): Promise<FinishRequest> {
    if (result === null) {
      if (fault !== null) return failureOfProgram(fault.code, withImportNames(context, fault.message));
      const words = end.lastOutput === '' ? '' : `. Its last output:\n${end.lastOutput}`;
      return failure('infrastructure', end.how === 'hung' ? 'hang' : 'program_failed', `The export ${end.end} without a result${words}`);
    }
    const files = [];
    for (const { name, path } of result.files) files.push(await uploadFile(context, name, { file: path }, { signal: stop.asked }));
    const details = modelDetails.parse({ ...settings, embeddingDim: model.embeddingDim, cosine: result.cosine });
    return { outcome: 'succeeded', files, details };
  }
};
