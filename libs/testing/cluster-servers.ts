import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';

/**
 * The servers of a test cluster that run on this machine, one file `pid/<name>` each below CAIRN_TEST_CLUSTER_HOME; GPUs
 * that are listed in `unhealthy-gpus` there are reported unhealthy, and `kubelet/config.yaml` is what the kubelet reads when it starts.
 */
export type ClusterServer = 'apiserver' | 'kubelet';

const home = process.env.CAIRN_TEST_CLUSTER_HOME ?? '';

/** Kills a server. Gives the function that starts it again as it was. */
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

/** From now on the kubelet takes its node for short of memory, and evicts pods. Gives the function that ends it. */
export function shortenMemory(): () => void {
  const file = join(home, 'kubelet', 'config.yaml');
  const before = readFileSync(file, 'utf8');
  const configuration = parseDocument(before);
  configuration.setIn(['evictionHard', 'memory.available'], '99%');
  const begin = (text: string) => {
    const start = killServer('kubelet');
    writeFileSync(file, text);
    start();
  };
  begin(configuration.toString());
  return () => begin(before);
}

export function breakGpus(...indices: number[]): void {
  writeFileSync(join(home, 'unhealthy-gpus'), indices.join(' '));
}

function words(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split('\0')
    .filter((word) => word !== '');
}
