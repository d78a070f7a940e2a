import { join } from 'node:path';
import { sleep } from '@cairn/runtime';
import { startS3Proxy, type TestS3 } from '@cairn/testing';
import { z } from 'zod';

const program = join(import.meta.dirname, '../../../../worker/testing/bench/training-side.ts');
const figures = z.object({ images: z.number(), seconds: z.number(), agentCpuSeconds: z.number() });

/** What a request to storage in a network takes until its first byte, in milliseconds. */
const latencyMs = 20;

type Reading = {
  folder: string;
  tars: string;
  s3: TestS3;
  /** The prefix of the tars in the bucket. */
  prefix: string;
  size: number;
  workers: number;
  buffer: number;
  run: (command: string, args: readonly string[], env?: NodeJS.ProcessEnv) => Promise<string>;
};

/** How fast the loaders of one rank read tars of a folder, and of a bucket, shuffled over the whole list and within a buffer. */
export async function readTraining({ folder, tars, s3, prefix, size, workers, buffer, run }: Reading): Promise<void> {
  const proxy = await startS3Proxy(s3.port);
  let requests = 0;
  proxy.decide = async (method) => {
    if (method === 'GET') requests += 1;
    await sleep(latencyMs);
    return 'pass' as const;
  };
  const address = `s3://${s3.bucket}/${prefix}`;
  const places: Record<string, string[]> = {
    'a folder': ['--source', tars],
    'a server for S3 on the same cores': ['--source', address, '--place', s3.url(prefix)],
    [`the same, ${latencyMs} ms away`]: ['--source', address, '--place', `${address}?endpoint=${proxy.endpoint}`],
  };
  try {
    for (const pixels of [0, size]) {
      for (const [place, flags] of Object.entries(places)) {
        for (const images of [0, buffer]) {
          requests = 0;
          const common = ['--folder', folder, '--workers', String(workers), '--size', String(pixels), '--buffer', String(images)];
          const told = figures.parse(JSON.parse(await run(process.execPath, [program, ...flags, ...common])));
          const order = images === 0 ? 'the whole list shuffled' : `shuffled within ${images} images`;
          const sent = requests === 0 ? '' : `, ${requests} requests`;
          const agent = `${((1000 * told.agentCpuSeconds) / told.images).toFixed(2)} ms of the agent's processor time an image`;
          console.log(
            `training, ${pixels === 0 ? 'reading alone' : `decoded to ${pixels} px`}, from ${place}, ${order}: ` +
              `${(told.images / told.seconds).toFixed(0)} images/s, ${agent}${sent}`,
          );
        }
      }
    }
  } finally {
    await proxy.close();
  }
}
