import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { planExtraction } from '@cairn/dataset';
import { isolatedPython } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { withImageSocket } from '../../images/image-socket.ts';
import { specOf } from '../specs.ts';

/**
 * `training-side.ts --folder F --source S [--place P] [--buffer N] [--workers N] [--size N]`: the loaders of a stage read the images of F/ids.txt
 * from tars, of a folder or through the agent. Prints JSON: images and seconds, and the processor seconds of the agent in them.
 */
const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: '' },
    source: { type: 'string', default: '' },
    place: { type: 'string' },
    buffer: { type: 'string', default: '0' },
    workers: { type: 'string', default: '2' },
    size: { type: 'string', default: '0' },
  },
});
const { folder, source: root, place, buffer, workers, size } = values;
const datasetRoots = place === undefined ? ['/'] : [place];
const list = join(folder, `training-${process.pid}.parquet`);
const source = { kind: 'tars', root } as const;
await planExtraction({ list: join(folder, 'ids.txt'), source, places: place === undefined ? null : datasetRoots, out: list });

const spec = specOf('train');
const reporter = {
  metric: () => undefined,
  log: () => undefined,
  progress: () => undefined,
  report: () => undefined,
  poke: () => undefined,
  flush: async () => undefined,
  end: async () => undefined,
  close: () => undefined,
};
const context = { spec: { ...spec, source: { ...spec.source, ...source } }, datasetRoots, imageCache: null, reporter };
await withImageSocket(context, async ({ spec: { source: served } }) => {
  const before = process.cpuUsage();
  const args = [list, served.root, '--buffer', buffer, '--workers', workers, '--size', size];
  const { stdout } = await promisify(execFile)(trainerPython(), isolatedPython(join(import.meta.dirname, 'read_training.py'), args));
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ ...JSON.parse(stdout), agentCpuSeconds: (user + system) / 1e6 }));
});
