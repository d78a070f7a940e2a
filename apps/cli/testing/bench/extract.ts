import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { simulate } from './extraction/simulate.ts';
import { measureSpeed } from './extraction/speed.ts';

/**
 * The extraction of features: `--simulate N` is the control plane's part for N images, with made features; without it, how fast one machine
 * extracts beside its parts alone.
 */
const { values: options } = parseArgs({
  options: {
    simulate: { type: 'string' },
    /** Of the simulation. */
    tars: { type: 'string', default: '620' },
    shards: { type: 'string', default: '12000' },
    workers: { type: 'string', default: '64' },
    'per-minute': { type: 'string', default: '10000' },
    dim: { type: 'string', default: '512' },
    /** Of the benchmarks of speed. */
    only: { type: 'string', multiple: true, default: ['model', 'loader', 'memory', 's3', 'training'] },
    images: { type: 'string', default: '512' },
    flat: { type: 'string', default: '20000' },
    size: { type: 'string', default: '256' },
    backbone: { type: 'string', default: 'resnet50' },
    rounds: { type: 'string', default: '2' },
  },
});
const load = () =>
  loadavg()
    .map((value) => value.toFixed(1))
    .join(' ');
console.log(`${cpus().length} cores, ${cpus()[0]?.model}; Node ${process.version}; load ${load()}`);
if (options.simulate !== undefined) {
  const [ids, tars, shards, workers, perMinute, dim] = [
    options.simulate,
    options.tars,
    options.shards,
    options.workers,
    options['per-minute'],
    options.dim,
  ].map(Number) as [number, number, number, number, number, number];
  await simulate({ ids, tars, shards, workers, perMinute, dim });
} else {
  const { only, backbone } = options;
  const [images, flat, size, rounds] = [options.images, options.flat, options.size, options.rounds].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  await measureSpeed({ only, images, flat, size, backbone, rounds });
}
console.log(`load at the end ${load()}`);
process.exit(0);
