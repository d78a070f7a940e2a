import { openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { CairnError, isCairnError, maxWeightsBytes, safeName, type WeightsQuery, type WeightsView } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { z } from 'zod';
import type { Session } from '../cli.ts';
import { formatBytes } from '../output/units.ts';
import { runPython } from './run-python.ts';

export type BringInOptions = {
  backbone: string;
  name?: string;
  source?: string;
  licence?: string;
  extent?: WeightsQuery['extent'];
};

/** What docker/trainer's check_import tells of a file that fits. */
const checked = z.object({
  tensors: z.number().int(),
  parameters: z.number().int(),
  embeddingDim: z.number().int().optional(),
  classes: z.number().int().optional(),
});

/**
 * Checks a file of tensors against its backbone and sends it to the service, unless it is there.
 *
 * @throws CairnError `missing_file`, `payload_too_large`, `unsafe_file`, `unreadable_file`, `model_mismatch`, and those of the service
 */
export async function bringInWeights(
  session: Session,
  file: string,
  content: WeightsQuery['content'],
  options: BringInOptions,
): Promise<{ weights: WeightsView; isNew: boolean; tensors: number; parameters: number }> {
  const { ui, signal } = session;
  const path = resolve(file);
  const name = nameOf(path, options.name);
  await requireFile(path);
  // First what can fail at once: a service that is not there.
  const client = await session.client();
  const there = await client.getWeights(name, { signal }).catch((error: unknown) => {
    if (isCairnError(error, 'not_found')) return null;
    throw error;
  });
  const { backbone, source, licence, extent = 'all' } = options;
  const args = [content, '--file', path, '--backbone', backbone, '--extent', extent];
  const { tensors, parameters, ...shape } = await runPython(session, 'cairn_trainer.check_import', args, checked);
  const sha256 = await sha256File(path, signal);
  const suffix = /-([0-9a-f]{8})$/.exec(name)?.[1];
  if (suffix !== undefined && !sha256.startsWith(suffix))
    ui.note(
      ui.style.warn(`The name ${name} promises a sha256 that begins with ${suffix}; that of the file begins with ${sha256.slice(0, 8)}.`),
    );
  if (there?.sha256 === sha256 && there.content === content && there.backbone === backbone && there.extent === extent)
    return { weights: there, isNew: false, tensors, parameters };
  const said = { content, backbone, extent, sha256, ...shape };
  const given = { ...(source === undefined ? {} : { source }), ...(licence === undefined ? {} : { licence }) };
  const weights = await client.importWeights(name, { ...said, ...given }, await openAsBlob(path), { signal });
  return { weights, isNew: true, tensors, parameters };
}

/** The name that recipes call it: the file's, as publishers name them, without its ending. */
function nameOf(path: string, given: string | undefined): string {
  const name = given ?? basename(path).replace(/\.(pth\.tar|pth|pt|bin)$/, '');
  const parsed = safeName.safeParse(name);
  if (parsed.success) return parsed.data;
  throw new CairnError('invalid_request', `"${name}" is no name for weights: ${parsed.error.issues[0]?.message}`, {
    details: { remedy: 'Give one with --name.' },
  });
}

async function requireFile(path: string): Promise<void> {
  // What hides a file, such as a folder that may not be read, is not that it is absent: that error is told as it is.
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  });
  if (!found?.isFile()) {
    throw new CairnError('missing_file', `There is no file ${path}`, { details: { remedy: 'Give the path of the file to import.' } });
  }
  if (found.size > maxWeightsBytes) {
    throw new CairnError('payload_too_large', `${path} has ${formatBytes(found.size)}; at most ${formatBytes(maxWeightsBytes)} are taken`);
  }
}
