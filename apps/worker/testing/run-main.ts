import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AttemptSpec } from '@cairn/contract';
import { killAttemptProcesses } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { bareEnvironment } from '@cairn/testing';
import { onTestFinished } from 'vitest';
import { startControlPlane } from './control-plane.ts';

const mainFile = join(import.meta.dirname, '../main.ts');

export type Running = {
  process: ChildProcess;
  /** Its standard error so far. */
  output: () => string;
  /** Its exit code; null when a signal ended it. */
  code: Promise<number | null>;
};

/** The program with its subcommand as a separate process, killed when the test ends. */
export function startMain(subcommand: string, env: Record<string, string>): Running {
  const child = spawn(process.execPath, [mainFile, subcommand], {
    env: { ...bareEnvironment(), ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (data: Buffer) => {
    output += data.toString();
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return { process: child, output: () => output, code: once(child, 'exit').then(([code]) => code) };
}

/** A control plane and a store for one attempt, and the environment of an agent that runs it. */
export async function openAgentWorld(spec: AttemptSpec, env: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-agent-'));
  const plane = await startControlPlane({ spec });
  const storageUrl = pathToFileURL(join(folder, 'objects')).href;
  const workDir = join(folder, 'work');
  onTestFinished(async () => {
    await killAttemptProcesses([spec.attempt.id], { limitMs: 5000 });
    await plane.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    plane,
    workDir,
    folder,
    store: openStore(storageUrl),
    env: {
      CAIRN_ATTEMPT_ID: spec.attempt.id,
      CAIRN_ATTEMPT_GENERATION: String(spec.attempt.generation),
      CAIRN_ATTEMPT_TOKEN: plane.token,
      CAIRN_INTERNAL_URL: plane.url,
      CAIRN_STORAGE_URL: storageUrl,
      CAIRN_WORK_DIR: workDir,
      ...env,
    },
  };
}

/** An interpreter that runs the stub trainer whatever it is asked to run, with additional environment variables. */
export function stubPython(env: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-python-'));
  const path = join(folder, 'python');
  const more = Object.entries(env).map(([name, value]) => `export ${name}='${value}'\n`);
  writeFileSync(path, `#!/bin/sh\n${more.join('')}exec "${process.execPath}" "${join(import.meta.dirname, 'stub-trainer.ts')}" "$@"\n`);
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return path;
}
