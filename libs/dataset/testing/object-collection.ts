import { once } from 'node:events';
import { glob, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { ImageSource } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { imagePath, imageSplits } from '../folders.ts';
import { packTars } from '../tars/pack-tars.ts';
import { handMade, handMadeCountries, writeFiles } from './hand-made-collection.ts';

/** Images of the hand-made collection, of some kilobytes each. */
export const collectionImages = {
  train: ['a1aaaa', 'a2aaaa', 'a3aaaa', 'b1bbbb', 'b2bbbb', 'd1dddd', 'd2dddd', 'g1gggg', 'g2gggg'],
  index: ['i1iiii', 'i2iiii', 'i3iiii', 'i4iiii', 'i5iiii', 'i6iiii'],
  test: ['q1qqqq', 'q3qqqq', 'q4qqqq'],
} as const;

export const contentOf = (id: string): Buffer => Buffer.alloc(50_000, `pixels of ${id} `);

/** The hand-made collection in one folder: metadata, countries/ and the images, in a tree or in two tars a split. */
export async function writeCollection(root: string, kind: ImageSource['kind']): Promise<void> {
  await writeFiles(root, handMade);
  await writeFiles(join(root, 'countries'), handMadeCountries);
  for (const split of imageSplits) {
    const ids = collectionImages[split];
    if (kind === 'tars')
      await packTars(
        root,
        split,
        ids.map((id) => ({ id, read: async () => contentOf(id) })),
        2,
      );
    else await writeFiles(root, Object.fromEntries(ids.map((id) => [imagePath(split, id), contentOf(id).toString()])));
  }
}

/** Copies a folder into an object store. */
export async function upload(folder: string, url: string): Promise<void> {
  const store = openStore(url);
  const files = (await Array.fromAsync(glob('**/*', { cwd: folder, withFileTypes: true }))).filter((entry) => entry.isFile());
  await inParallel(files.values(), 8, async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    await store.put(path.slice(folder.length + 1), { file: path });
  });
}

/** A web server for the files of a folder, with ranges, as nginx answers. */
export async function serveFolder(folder: string): Promise<{ url: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    void readFile(join(folder, request.url ?? '')).then(
      (bytes) => {
        const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
        const headers = { 'last-modified': 'Mon, 30 Nov 2026 10:00:00 GMT', etag: `"${bytes.length}"` };
        if (from === undefined) response.writeHead(200, { ...headers, 'content-length': bytes.length });
        else response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${to}/${bytes.length}` });
        response.end(request.method === 'HEAD' ? '' : from === undefined ? bytes : bytes.subarray(Number(from), Number(to) + 1));
      },
      () => response.writeHead(404).end(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
