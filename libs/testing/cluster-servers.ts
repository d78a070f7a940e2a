import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';

/**
 * The servers of a test cluster that run on this machine, one file `pid/<name>` each below CAIRN_TEST_CLUSTER_HOME; GPUs
 * listed in `unhealthy-gpus` there are reported as unhealthy.
 */
type ClusterServer = 'apiserver' | 'kubelet';

const home = process.env.CAIRN_TEST_CLUSTER_HOME ?? '';

/** Kills a server. Returns the function that starts it again as it was. */
export function killServer(name: ClusterServer): () => void {
  const pidFile = join(home, 'pid', name);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  const [program = '', ...args] = words(`/proc/${pid}/cmdline`);
  const env = Object.fromEntries(
    words(`/proc/${pid}/environ`).map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  process.kill(pid, 'SIGKILL');
  let started = false;
  return () => {
    if (started) return;
    started = true;
    const log = openSync(join(home, 'log', `${name}.log`), 'a');
    const child = spawn(program, args, { env, detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    child.unref();
    writeFileSync(pidFile, `${child.pid}\n`);
  };
}

export function breakGpus(...indices: number[]): void {
  writeFileSync(join(home, 'unhealthy-gpus'), indices.join(' '));
}

function words(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split('\0')
    .filter((word) => word !== '');
}

/** The first address of this machine that others can reach. */
export function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const found = addresses.find(({ family, internal }) => family === 'IPv4' && !internal);
  if (found === undefined) throw new Error('this machine has no address that pods can reach: set CAIRN_TEST_HOST');
  return found.address;
}

const program = process.env.CAIRN_HELM || 'helm';
const limitMs = 30_000;

/**
 * The output of Helm 3: `helm` from the PATH, or the program of `CAIRN_HELM`.
 * @throws Error with its message when it fails or takes longer than 30 s
 */
export const helm = (...args: string[]): Promise<string> => helmWithin(limitMs, ...args);

/** For commands that wait for pods. */
export function helmWithin(timeout: number, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr.trim() || error.message, { cause: error }));
      else resolve(stdout);
    });
  });
}

const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().exactOptional(),
    annotations: z.record(z.string(), z.string()).exactOptional(),
    labels: z.record(z.string(), z.string()).exactOptional(),
  }),
});
export type Manifest = z.infer<typeof manifest>;

/** The objects of a Kubernetes YAML file; a duplicate key is an error. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true })
    .map((document) => {
      if (document.errors[0]) throw document.errors[0];
      return document.toJS() as unknown;
    })
    .filter((object) => object !== null)
    .map((object) => manifest.parse(object));
}
