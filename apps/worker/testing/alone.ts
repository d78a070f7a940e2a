import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AloneEvent, AloneJob, AloneResult } from '@cairn/contract';
import { openStore, readManifest } from '@cairn/storage';
import { createStop } from '../agent/stop.ts';
import { extractAlone } from '../alone/run-alone.ts';
import { makeImages } from './images.ts';

export const aloneImages = 24;
/** The number of the image that is none. */
export const aloneBroken = 5;

/** Images in a folder with their list, and the jobs that extract them with the model of `features.onnx`. */
export async function openAloneWorld() {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-alone-'));
  const { ids } = makeImages(join(folder, 'images'), aloneImages, [aloneBroken]);
  const list = join(folder, 'ids.txt');
  await writeFile(list, ids.map((id) => `${id}\n`).join(''));
  const jobOf = (name: string, change: Partial<AloneJob> = {}): AloneJob => ({
    model: join(import.meta.dirname, 'features.onnx'),
    imageSize: 8,
    preprocessing: 'cairn',
    list,
    source: { kind: 'folder', root: join(folder, 'images') },
    places: null,
    out: { store: pathToFileURL(folder).href, prefix: name },
    devices: [null],
    batch: 4,
    threads: 1,
    shardRows: 4,
    ...change,
  });
  /** In this process, with its children. */
  async function run(job: AloneJob): Promise<{ result: AloneResult; events: AloneEvent[] }> {
    const events: AloneEvent[] = [];
    const result = await extractAlone(job, { env: process.env, stop: createStop(), tell: (event) => void events.push(event) });
    return { result, events };
  }
  return { folder, ids, jobOf, run, close: () => rmSync(folder, { recursive: true }) };
}

/** What two runs of the same extraction have in common. */
export async function setWithoutTimes({ out }: AloneJob) {
  const { createdAt: _, details, ...rest } = await readManifest(openStore(out.store), out.prefix);
  return { ...rest, details: { ...details, seconds: null } };
}
