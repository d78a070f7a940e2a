import { mkdtempSync, rmSync } from 'node:fs';
import { glob, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openImageCache } from './image-cache.ts';

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-cache-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

const image = (byte: number) => Buffer.alloc(100, byte);
const sizes = { a: 1, b: 2, c: 3, d: 4 };

async function kept(cache: Awaited<ReturnType<typeof openImageCache>>): Promise<string> {
  const found = await Promise.all(Object.keys(sizes).map(async (key) => ((await cache.get(key, 100)) === null ? '' : key)));
  return found.join('');
}

test('a full cache gives up what was not used for longest, but nothing that was used since it was opened', async () => {
  const folder = temporaryFolder();
  const before = await openImageCache(folder, 200);
  await before.keep('a', image(1));
  await before.keep('b', image(2));
  // All of the earlier attempt.
  for await (const path of glob('??/*', { cwd: folder })) await utimes(join(folder, path), 1000, 1000);

  const cache = await openImageCache(folder, 200);
  expect(cache.stats.bytes).toBe(200);
  expect(await cache.get('b', 100)).toEqual(image(2));
  await cache.keep('c', image(3));
  expect(cache.stats).toMatchObject({ bytes: 200, evictedBytes: 100 });
  // Both are in use now.
  await cache.keep('d', image(4));
  expect(cache.stats).toMatchObject({ bytes: 200, evictedBytes: 100 });
  expect(await kept(cache)).toBe('bc');
  expect(cache.stats).toMatchObject({ hits: 3, misses: 2 });
});

test('an image of another size counts as missing, and one larger than the cache is not kept', async () => {
  const cache = await openImageCache(temporaryFolder(), 50);
  await cache.keep('a', image(1));
  expect(cache.stats.bytes).toBe(0);
  await cache.keep('b', Buffer.alloc(10));
  expect(await cache.get('b', 9)).toBeNull();
  expect(cache.stats).toMatchObject({ hits: 0, misses: 1, bytes: 10 });
});
