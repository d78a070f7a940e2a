import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { makeFolder, pathBelow } from '@cairn/runtime';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { plural } from '../output/units.ts';

export function addTensorBoard({ program, action }: Registrar): void {
  program
    .command('tensorboard <run>')
    .description("downloads a run's event files for TensorBoard: one folder per training stage and attempt")
    .requiredOption('--out <folder>', 'the folder to create, for `tensorboard --logdir`')
    .action(action(download));
}

async function download({ ui, signal, client }: Session, text: string, { out }: { out: string }): Promise<undefined> {
  const api = await client();
  const found = await findRun(api, text, signal);
  const run = await api.getRun(found.id, { signal });
  const files: string[] = [];
  for (const step of run.stepViews.filter(({ kind }) => kind === 'train')) {
    if (step.reusedFrom !== null) ui.note(`${step.name} was reused: its curves are those of run ${step.reusedFrom.runName}.`);
    for (const attempt of (await api.listAttempts(run.id, step.name, { signal })).items) {
      const { items } = await api.listTensorBoardFiles(attempt.id, { signal });
      if (items.length === 0) continue;
      const folder = pathBelow(out, step.name, `attempt-${attempt.ordinal}`);
      await makeFolder(folder);
      for (const { name } of items) {
        const { body } = await api.openTensorBoardFile(attempt.id, name, signal);
        const path = pathBelow(folder, name);
        await pipeline(body === null ? Readable.from([]) : Readable.fromWeb(body), createWriteStream(path), { signal });
        files.push(path);
      }
    }
  }
  ui.json({ files });
  if (files.length === 0) ui.note(`${run.name} has no event files: they are stored when a training attempt ends.`);
  else ui.line(`${plural(files.length, 'file')} in ${out}. View them with \`tensorboard --logdir ${out}\`.`);
  return undefined;
}
