import { execFile } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { isolatedPython, withoutPythonVariables } from '@cairn/runtime';
import { z } from 'zod';

/**
 * The gap between the preprocessings `cairn` and `reference` in a trained model's features and mAP@100. By default: the newest model that
 * the demo trained, on its mini collection.
 */
const { values: options } = parseArgs({
  options: {
    home: { type: 'string', default: join(homedir(), '.local/share/cairn/demo') },
    images: { type: 'string' },
    backbone: { type: 'string', default: 'resnet10_w32' },
  },
});
const python = process.env.CAIRN_PYTHON ?? 'python3';
const limitMs = 30 * 60_000;
const manifest = z.object({ details: z.object({ imageSize: z.number(), preprocessing: z.string() }) });
const report = z.object({ images: z.number(), cosine: z.record(z.string(), z.number()), mapAt100: z.record(z.string(), z.number()) });

const model = await newest('models');
const { details } = manifest.parse(JSON.parse(await readFile(join(model, 'manifest.json'), 'utf8')));
const files = {
  weights: join(model, 'weights.pt'),
  lists: join(await newest('lists'), 'lists'),
  images: options.images ?? join(options.home, 'datasets/mini/images'),
};
const flags = Object.entries(files).flatMap(([name, path]) => [`--${name}`, path]);
const script = join(import.meta.dirname, 'preprocessing_gap.py');
const args = isolatedPython(script, [...flags, '--backbone', options.backbone, '--size', String(details.imageSize)]);
const { stdout } = await promisify(execFile)(python, args, { env: withoutPythonVariables(process.env), timeout: limitMs });
const { images, cosine, mapAt100 } = report.parse(JSON.parse(stdout));
console.log(`${model}, trained with ${details.preprocessing} at ${details.imageSize} px; ${images} images`);
console.log(`cosine of an image's two features: ${shown(cosine, (value) => value.toFixed(4))}`);
console.log(`mAP@100: ${shown(mapAt100, (value) => `${(100 * value).toFixed(2)} %`)}`);

/** The newest artifact's folder of this kind in the home's storage. */
async function newest(kind: string): Promise<string> {
  const folder = join(options.home, 'storage', kind);
  const names = await readdir(folder).catch((): string[] => []);
  const dated = await Promise.all(
    names.map(async (name) => ({ path: join(folder, name), time: (await stat(join(folder, name))).mtimeMs })),
  );
  const last = dated.sort((a, b) => b.time - a.time)[0];
  if (last === undefined) throw new Error(`${folder} has no artifact: run \`npm run demo\` first, or name another home with --home`);
  return last.path;
}

function shown(values: Record<string, number>, format: (value: number) => string): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${format(value)}`)
    .join('; ');
}
