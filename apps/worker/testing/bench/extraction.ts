import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { killAttemptProcesses, sha256File } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { z } from 'zod';
import { startControlPlane } from '../control-plane.ts';
import { artifactOf, specOf } from '../specs.ts';

/**
 * `extraction.ts JOB`: one worker of an extraction, a real agent with its children, over the list and the model of the file JOB,
 * with a control plane in memory. Prints JSON: when each shard was committed, in seconds from the first one, and how long
 * each took, and the GPUs from the agent's log. The features stay in the folder's `objects/staging`.
 */
const job = z.object({
  folder: z.string(),
  modelPath: z.string(),
  imageSize: z.number().int(),
  embeddingDim: z.number().int(),
  listPath: z.string(),
  imageRoot: z.string(),
  shards: z.number().int(),
  shardRows: z.number().int(),
  batch: z.number().int(),
  gpus: z.number().int(),
});

const { folder, modelPath, imageSize, embeddingDim, listPath, imageRoot, shards, shardRows, batch, gpus } = job.parse(
  JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')),
);
const storageUrl = pathToFileURL(join(folder, 'objects')).href;
const store = openStore(storageUrl);
const base = specOf('extract', { heartbeatSeconds: 1, hangSeconds: 120 });

async function artifact(kind: 'model' | 'lists', name: string, path: string, details: Record<string, unknown>) {
  const prefix = `${kind}/bench/`;
  await store.put(`${prefix}${name}`, { file: path });
  const made = artifactOf(kind, prefix, {}, details);
  return { ...made, files: [{ name, bytes: (await stat(path)).size, sha256: await sha256File(path) }] };
}

const rows = shards * shardRows;
const inputs = {
  model: await artifact('model', 'model.onnx', modelPath, { imageSize, preprocessing: 'cairn', embeddingDim, cosine: 1 }),
  lists: await artifact('lists', 'lists/index.parquet', listPath, { lists: { index: { rows, distinct: rows, classes: 1 } } }),
};
const spec = { ...base, inputs, source: { ...base.source, root: imageRoot }, settings: { ...base.settings, batch } };
const plane = await startControlPlane({ spec });
plane.state.shards = Array.from({ length: shards }, (_, index) => {
  return { index, from: index * shardRows, count: shardRows, holder: null, tries: 0, commit: null };
});
const committedAt: number[] = [];
plane.state.onRequest = (path) => void (path.endsWith('/commit') && committedAt.push(performance.now()));

const workDir = join(folder, 'work');
const began = performance.now();
const agent = spawn(process.execPath, [join(import.meta.dirname, '../../main.ts'), 'agent'], {
  env: {
    ...process.env,
    CAIRN_ATTEMPT_ID: spec.attempt.id,
    CAIRN_ATTEMPT_GENERATION: String(spec.attempt.generation),
    CAIRN_ATTEMPT_TOKEN: plane.token,
    CAIRN_INTERNAL_URL: plane.url,
    CAIRN_STORAGE_URL: storageUrl,
    CAIRN_WORK_DIR: workDir,
    CAIRN_DATASET_ROOTS: imageRoot,
    CAIRN_GPUS: String(gpus),
  },
  stdio: ['ignore', 'ignore', 'inherit'],
});
try {
  await once(agent, 'exit');
} finally {
  await killAttemptProcesses([spec.attempt.id], { limitMs: 5000 });
  await plane.close();
  await rm(workDir, { recursive: true, force: true });
}
const [finish] = plane.state.finishes;
if (finish?.outcome !== 'succeeded') throw new Error(`the extraction did not end well: ${JSON.stringify(finish ?? 'no end')}`);
const commits = plane.state.shards.map(({ commit }) => commit);
await writeFile(join(folder, 'commits.json'), JSON.stringify(commits));
const first = committedAt[0] ?? began;
console.log(
  JSON.stringify({
    rows: commits.reduce((sum, commit) => sum + (commit?.rows ?? 0), 0),
    rejected: commits.reduce((sum, commit) => sum + (commit?.rejected ?? 0), 0),
    secondsToFirst: (first - began) / 1000,
    committedAt: committedAt.map((at) => (at - first) / 1000),
    /** What the agent's log says of each GPU. */
    gpus: plane.logText('agent').match(/GPU \d+: [^\n"]+/g) ?? [],
    features: join(folder, 'objects', spec.stagingPrefix, 'img_emb'),
  }),
);
