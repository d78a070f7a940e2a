import type { DecodePool } from '@cairn/retrieval';

/** Decodes files in turn, so many at a time that no thread waits; resolves to how many were decoded. */
export function openDecodeWork({ imageSize, threads, preprocess }: DecodePool, files: readonly Uint8Array[]) {
  const places = Array.from({ length: 4 * threads }, () => new Uint8Array(new SharedArrayBuffer(imageSize * imageSize * 3)));
  return async (count: number): Promise<number> => {
    let next = 0;
    await Promise.all(
      places.map(async (pixels) => {
        while (next < count) {
          const file = files[next++ % files.length];
          if (file !== undefined) await preprocess(file, pixels);
        }
      }),
    );
    return count;
  };
}
