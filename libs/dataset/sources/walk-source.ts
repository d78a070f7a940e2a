import { createHash } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import type { ListedFile } from '../folders.ts';
import type { Remote } from './create-sources.ts';

/** Folders listed at a time: a tree of three levels of 16 has 4,368 of them, and each listing is a request. */
const foldersAtATime = 16;

/**
 * The digest of an image tree in object storage: SHA-256 over its sorted listing, each object with its size and ETag (where it has none, the
 * time), so that a copy of the bucket has the same. `onFiles` receives the files of each folder, in the order of the folders.
 *
 * @throws CairnError `missing_file` for a web server, which cannot list; as the source does
 */
export async function walkSource(
  { source, path: root }: Remote,
  { onFiles, signal }: { onFiles?: ((files: readonly ListedFile[]) => Promise<void>) | undefined; signal?: AbortSignal | undefined },
): Promise<{ digest: string; files: number; bytes: number }> {
  const { list } = source;
  if (list === null) {
    const message = `${source.url} cannot list its files: register its tars (--kind tars), or use a bucket`;
    throw new CairnError('missing_file', message, { details: { address: source.url } });
  }
  const hash = createHash('sha256');
  let [files, bytes] = [0, 0];

  /** All files below a folder, sorted; the folders in it are listed ahead. */
  const walk = async (folder: string): Promise<void> => {
    const found = await entriesOf(folder);
    await take(found.files);
    for (let from = 0; from < found.folders.length; from += foldersAtATime) {
      const some = found.folders.slice(from, from + foldersAtATime).map((name) => (folder === '' ? name : `${folder}/${name}`));
      const entries = await Promise.all(some.map(entriesOf));
      for (const [index, name] of some.entries()) {
        const entry = entries[index];
        if (entry === undefined) continue;
        await take(entry.files);
        for (const inner of entry.folders) await walk(`${name}/${inner}`);
      }
    }
  };

  const entriesOf = async (folder: string) => {
    const all: { files: ListedFile[]; folders: string[] } = { files: [], folders: [] };
    for await (const page of list(folder, signal)) {
      for (const file of page.files) {
        const path = root === '' ? file.path : file.path.slice(root.length + 1);
        all.files.push({ path, bytes: file.bytes, changedMs: file.changedMs, ...(file.etag === null ? {} : { etag: file.etag }) });
      }
      all.folders.push(...page.folders);
    }
    all.files.sort((a, b) => (a.path < b.path ? -1 : 1));
    all.folders.sort();
    return all;
  };

  const take = async (listed: readonly ListedFile[]): Promise<void> => {
    for (const file of listed) hash.update(`${file.path}\0${file.bytes}\0${file.etag ?? file.changedMs}\n`);
    files += listed.length;
    bytes += listed.reduce((sum, file) => sum + file.bytes, 0);
    if (listed.length > 0) await onFiles?.(listed);
  };

  await walk(root);
  return { digest: hash.digest('hex'), files, bytes };
}
