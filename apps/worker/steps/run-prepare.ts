import { join } from 'node:path';
import type { ListsDetails, StoredFile } from '@cairn/contract';
import { type ListsManifest, prepareLists } from '@cairn/dataset';
import type { Runner } from '../agent/attempt-context.ts';
import { uploadFile } from '../agent/stored-files.ts';

/** One attempt at a preparation: the metadata's CSV files become the lists that all other steps read. */
export const runPrepare: Runner<'prepare'> = async (context) => {
  const { spec, workDir, stop, reporter } = context;
  const { kind, root, metadata, countries } = spec.source;
  const out = join(workDir, 'lists');
  reporter.progress({
    done: 0,
    total: spec.settings.lists.length,
    unit: 'files',
    rate: null,
    etaSeconds: null,
    message: 'reading the metadata',
  });
  const manifest = await prepareLists({
    metadata,
    ...(countries === null ? {} : { countries }),
    images: { kind, root },
    lists: spec.settings.lists,
    testSeed: spec.settings.testSeed,
    categoryQuotes: spec.settings.categoryQuotes,
    out,
    signal: stop.asked,
  });
  const paths = filesOf(manifest);
  const files: StoredFile[] = [];
  for (const path of paths) {
    files.push(await uploadFile(context, path, { file: join(out, path) }, { signal: stop.asked }));
    reporter.progress({
      done: files.length,
      total: paths.length,
      unit: 'files',
      rate: null,
      etaSeconds: null,
      message: `${path} is stored`,
    });
  }
  return { outcome: 'succeeded', files, details: { ...manifest, ...countsOf(manifest) } };
};

/** The files that a preparation wrote, relative to its folder. */
function filesOf({ lists, groundTruth, tars }: ListsManifest): string[] {
  const written = [...Object.values(lists), ...(groundTruth === null ? [] : [groundTruth]), ...Object.values(tars ?? {})];
  return written.map(({ path }) => path);
}

/** What every other step reads of the lists, beside what is kept for people. */
function countsOf({ lists }: ListsManifest): ListsDetails {
  return { lists: Object.fromEntries(Object.entries(lists).map(([name, entry]) => [name, { ...entry, distinct: entry.images }])) };
}
