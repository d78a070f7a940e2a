import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';

const dist = join(import.meta.dirname, 'dist');
const maxBytes = 200_000;

const manifest = z.record(
  z.string(),
  z.object({ file: z.string(), imports: z.array(z.string()).default([]), css: z.array(z.string()).default([]) }),
);

test('up to the first row of runs a browser loads at most 200 kB of pages, compressed by brotli', async () => {
  const chunks = manifest.parse(JSON.parse(await readFile(join(dist, 'manifest.json'), 'utf8')));
  const files = new Set(['index.html']);
  const add = (name: string): void => {
    const chunk = chunks[name];
    if (chunk === undefined) throw new Error(`The build has no chunk ${name}; it has ${Object.keys(chunks).join(', ')}`);
    if (files.has(chunk.file)) return;
    for (const file of [chunk.file, ...chunk.css]) files.add(file);
    for (const one of chunk.imports) add(one);
  };
  add('index.html');
  add('pages/runs/runs-page.tsx');

  const sizes = await Promise.all([...files].map(async (file) => ({ file, bytes: (await stat(join(dist, `${file}.br`))).size })));
  expect(sizes.length).toBeGreaterThan(4);
  const sum = sizes.reduce((bytes, size) => bytes + size.bytes, 0);
  expect(sum, sizes.map(({ file, bytes }) => `${file} ${bytes}`).join('\n')).toBeLessThanOrEqual(maxBytes);
});
