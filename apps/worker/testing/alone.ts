import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
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
    decodeThreads: 0,
    shardRows: 4,
    also: [],
    reuse: null,
    retryRejected: false,
    ...change,
  });
  /** In this process, with its children, which store every batch. `reads`: the ids of the images that they opened, in order. */
  async function run(job: AloneJob, env: NodeJS.ProcessEnv = {}): Promise<{ result: AloneResult; events: AloneEvent[]; reads: string[] }> {
    const events: AloneEvent[] = [];
    const log = join(folder, `reads-${randomUUID()}`);
    const watching = {
      NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, 'watch-reads.mjs')).href}`,
      CAIRN_TEST_READS: log,
    };
    const result = await extractAlone(job, {
      env: { ...process.env, ...watching, ...env },
      stop: createStop(),
      tell: (event) => void events.push(event),
      keepEveryMs: 0,
    });
    return {
      result,
      events,
      reads: await readFile(log, 'utf8').then(
        (text) => text.trim().split('\n'),
        () => [],
      ),
    };
  }
  return { folder, ids, jobOf, run, close: () => rmSync(folder, { recursive: true }) };
}

/** What two runs of the same extraction have in common. */
export async function setWithoutTimes({ out }: AloneJob) {
  const { createdAt: _, details, ...rest } = await readManifest(openStore(out.store), out.prefix);
  return { ...rest, details: { ...details, seconds: null, madeBy: null } };
}
