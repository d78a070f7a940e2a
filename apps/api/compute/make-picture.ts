import { readdir } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import type { ComputeJobOf } from './messages.ts';

/** The first image of a folder that exists, as a JPEG; null where none does. Throws `unreadable_image`, and as `openImageReader` does. */
export async function makePicture({ root, roots, candidates, maxSide, timeoutMs }: ComputeJobOf<'picture'>): Promise<Uint8Array | null> {
  const { ImageUnavailable, openImageReader } = await import('@cairn/dataset/images');
  const pictures = await import('@cairn/retrieval/image');
  const reader = await openImageReader(root, roots);
  try {
    // A collection need not have every split; the reader takes a split that is missing for a lost mount.
    const folders = new Set(await readdir(root));
    const present = candidates.filter(({ path }) => folders.has(path.split('/')[0] ?? ''));
    for (const location of present.length === 0 ? candidates : present) {
      try {
        return await pictures.makePicture(await reader.read(location), { maxSide, timeoutMs });
      } catch (error) {
        if (error instanceof ImageUnavailable && error.reason === 'missing') continue;
        const isFault = error instanceof ImageUnavailable || error instanceof pictures.UnreadableImage;
        throw isFault ? unreadableImage(location.path, error) : error;
      }
    }
    return null;
  } finally {
    await reader.close();
  }
}

/** The JPEG of an image that was read at an address: this process has no credentials. Throws `unreadable_image`. */
export async function makeThumbnail({ path, image, maxSide, timeoutMs }: ComputeJobOf<'thumbnail'>): Promise<Uint8Array> {
  const pictures = await import('@cairn/retrieval/image');
  try {
    return await pictures.makePicture(image, { maxSide, timeoutMs });
  } catch (error) {
    throw error instanceof pictures.UnreadableImage ? unreadableImage(path, error) : error;
  }
}

export function unreadableImage(path: string, cause: Error): CairnError {
  return new CairnError('unreadable_image', `The image ${path} cannot be read: ${cause.message}`, {
    cause,
    details: { path, reason: cause.message },
  });
}
