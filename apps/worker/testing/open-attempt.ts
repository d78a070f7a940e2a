import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createInternalClient } from '@cairn/client';
import type { AttemptSpec } from '@cairn/contract';
import { createLogger, killAttemptProcesses, sparedByAgent } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { onTestFinished } from 'vitest';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { createStop } from '../agent/stop.ts';
import { createReporter } from '../report/reporter.ts';
import { startControlPlane } from './control-plane.ts';

/**
 * An attempt with all its real parts around it (reporter, client, store) and a control plane in memory; what a test creates
 * is removed when it ends. `env` is added to the environment of the programs that the attempt starts.
 */
export async function openAttempt<Spec extends AttemptSpec>(spec: Spec, options: { python?: string; env?: Record<string, string> } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-attempt-'));
  const workDir = join(folder, 'work');
  mkdirSync(workDir);
  const plane = await startControlPlane({ spec });
  const store = openStore(pathToFileURL(join(folder, 'objects')).href);
  const stop = createStop();
  const lines: string[] = [];
  const client = createInternalClient({
    urls: [plane.url],
    attemptId: spec.attempt.id,
    generation: spec.attempt.generation,
    token: plane.token,
    signal: stop.ended,
  });
  const reporter = createReporter({
    client,
    workDir,
    heartbeatSeconds: spec.heartbeatSeconds,
    signal: stop.ended,
    onReply: ({ directive, cause, reason, graceSeconds }) => {
      if (directive === 'stop') stop.ask({ cause: cause ?? 'preempted', reason: reason ?? '', graceSeconds });
    },
    onRefused: (error) => stop.end(error),
    onTrouble: (message) => lines.push(message),
  });
  const context: AttemptContext<Spec> = {
    spec,
    client,
    reporter,
    store,
    datasetRoots: ['/'],
    imageCache: null,
    workDir,
    stop,
    log: createLogger({ name: 'test', destination: { write: (line) => lines.push(line) } }),
    python: options.python ?? '/no/such/python',
    gpus: 0,
    env: { PATH: process.env.PATH ?? '', CAIRN_ATTEMPT_ID: spec.attempt.id, ...options.env },
  };
  onTestFinished(async () => {
    stop.end(new Error('the test is over'));
    reporter.close();
    await killAttemptProcesses([spec.attempt.id], { except: sparedByAgent, limitMs: 5000 });
    await plane.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { context, plane, store, folder, workDir, stop, reporter, lines };
}
