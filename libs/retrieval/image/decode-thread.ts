import { parentPort, workerData } from 'node:worker_threads';
import { isCairnError } from '@cairn/contract';
import sharp from 'sharp';
import { type DecodeReply, decodeRequest, decodeThreadSettings } from './decode-pool.ts';
import { preprocessImage } from './preprocess-image.ts';
import { UnreadableImage } from './unreadable-image.ts';

// A thread of decode-pool.ts: decodes one image after another.

const { imageSize: size, preprocessing, timeoutMs } = decodeThreadSettings.parse(workerData);
// One image per thread and no cache: each image is read once.
sharp.concurrency(1);
sharp.cache(false);

async function decode(message: unknown): Promise<void> {
  const { id, bytes, pixels } = decodeRequest.parse(message);
  try {
    pixels.set(await preprocessImage(bytes, { size, preprocessing, timeoutMs }));
    reply({ outcome: 'decoded', id });
  } catch (error) {
    if (error instanceof UnreadableImage) reply({ outcome: 'unreadable', id, reason: error.message, isSlow: error.isSlow });
    else if (isCairnError(error, 'program_failed')) reply({ outcome: 'failed', id, code: 'program_failed', message: error.message });
    else reply({ outcome: 'failed', id, code: 'internal', message: String(error) });
  }
}

function reply(answer: DecodeReply): void {
  parentPort?.postMessage(answer);
}

let last = Promise.resolve();
parentPort?.on('message', (message) => {
  last = last.then(() => decode(message));
});
