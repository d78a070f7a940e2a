import { parseArgs } from 'node:util';
import { openModel } from '@cairn/retrieval';

/**
 * `raw-model.ts --model M --size S --batch B --runs N --device cuda|cpu`: images per second of the model alone, on bytes in
 * memory, and where its nodes ran.
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: '' },
    size: { type: 'string', default: '512' },
    batch: { type: 'string', default: '32' },
    runs: { type: 'string', default: '40' },
    device: { type: 'string', default: 'cpu' },
  },
});
const [imageSize, batch, runs] = [Number(values.size), Number(values.batch), Number(values.runs)];
const model = await openModel({ path: values.model, device: values.device === 'cuda' ? 'cuda' : 'cpu', threads: 1, imageSize });
const images = new Uint8Array(batch * imageSize * imageSize * 3).map((_, index) => (index * 2654435761) >>> 24);
for (let run = 0; run < Math.ceil(runs / 8); run += 1) await model.run({ images, batch, imageSize, rows: batch });
const began = performance.now();
for (let run = 0; run < runs; run += 1) await model.run({ images, batch, imageSize, rows: batch });
const seconds = (performance.now() - began) / 1000;
const places: Record<string, number> = {};
for (const { provider } of model.placement) places[provider] = (places[provider] ?? 0) + 1;
await model.close();
console.log(JSON.stringify({ imagesPerSecond: (runs * batch) / seconds, places }));
