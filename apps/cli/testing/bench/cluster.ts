import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { findS3Server } from '@cairn/testing';
import { KubeConfig } from '@kubernetes/client-node';
import { startApiProxy } from '../cluster/api-proxy.ts';
import { openWorld } from '../cluster/cluster-service.ts';
import { measureRest } from './at-rest.ts';
import { measureDrain } from './drain.ts';
import { measureFirstLine } from './first-line.ts';

/**
 * The service on this machine over the cluster of KUBECONFIG: the time to a container's first line, the cost of an idle controller,
 * and what the drain of a node costs a training run. Needs the same as the cluster tests (docs/testing.md), 8 GPUs on one node.
 */
const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: ['first-line', 'rest', 'drain'] },
    times: { type: 'string', default: '20' },
    runs: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '60' },
  },
});

const config = new KubeConfig();
config.loadFromDefault();
const proxy = await startApiProxy(config);
const world = await openWorld({ program: await findS3Server({ python: process.env.CAIRN_PYTHON, cacheDir: '' }) });
const { calls, kubeconfig } = proxy;
const image = process.env.CAIRN_TEST_WORKER_IMAGE;
const load = () =>
  loadavg()
    .map((value) => value.toFixed(1))
    .join(' ');
console.log(`${cpus().length} cores, ${cpus()[0]?.model}; Node ${process.version}; load ${load()}`);
try {
  if (options.only.includes('first-line')) await measureFirstLine(world, { times: Number(options.times), kubeconfig, calls });
  if (options.only.includes('rest'))
    await measureRest(world, { runs: Number(options.runs), seconds: Number(options.seconds), kubeconfig, calls });
  if (options.only.includes('drain')) {
    if (image) await measureDrain(world, { image, kubeconfig });
    else console.log('\nthe drain needs the image of the worker in CAIRN_TEST_WORKER_IMAGE');
  }
  console.log(`load at the end ${load()}`);
} finally {
  await world.close();
  await proxy.close();
}
process.exit(0);
