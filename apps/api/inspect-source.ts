import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, type ImageSource } from '@cairn/contract';
import { canonicalJson, sha256 } from '@cairn/runtime';

// TEMPORARY until @cairn/dataset is there.
export async function inspectSource(source: ImageSource, _signal: AbortSignal): Promise<{ digest: string; digestBasis: string }> {
  const names = await readdir(source.metadata).catch((cause: unknown) => {
    throw new CairnError('missing_file', `There is no folder ${source.metadata}`, { cause });
  });
  const sizes = await Promise.all(names.map(async (name) => [name, (await stat(join(source.metadata, name))).size]));
  return { digest: sha256(canonicalJson(sizes)), digestBasis: 'temporary' };
}
