import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identityOf, killAttemptProcesses } from '@cairn/runtime';
import { bareEnvironment } from '@cairn/testing';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Executor, LaunchSpec, Snapshot } from '../executor.ts';
import { processExecutor } from './process-executor.ts';

vi.setConfig({ testTimeout: 30_000 });

const agentFile = join(import.meta.dirname, 'fixtures/agent.ts');
const starterFile = join(import.meta.dirname, 'fixtures/starter.ts');
const launcherFile = join(import.meta.dirname, 'fixtures/launcher.ts');

let stateDir: string;
let starts: string;
let attemptId: string;
let opened: Executor[];
let made = 0;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'cairn-executor-'));
  starts = join(stateDir, 'starts');
  made += 1;
  attemptId = `att_${process.pid}x${made}`;
  opened = [];
});

afterEach(async () => {
  await killAttemptProcesses([attemptId], { limitMs: 5000 });
  for (const executor of opened) await executor.close();
  rmSync(stateDir, { recursive: true });
});

function open(command: string[] = [process.execPath, agentFile]): Executor {
  const executor = processExecutor({ stateDir, command, baseEnv: { ...bareEnvironment(), TEST_STARTS: starts }, pollMs: 20 });
  opened.push(executor);
  return executor;
}

function spec(behaviour: string, generation = 1): LaunchSpec {
  return { attemptId, generation, name: 'run/step/1', slots: 1, env: { TEST_BEHAVIOUR: behaviour } };
}

const limit = () => AbortSignal.timeout(10_000);
const workDir = () => join(stateDir, 'process', attemptId, 'work');
const startLines = () => (existsSync(starts) ? readFileSync(starts, 'utf8').trim().split('\n') : []);
const agentPid = () => Number(startLines()[0]?.split(' ')[0]);
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 45_000, interval: 15 });

async function observed(executor: Executor): Promise<Snapshot | undefined> {
  return (await executor.observe(limit())).find((snapshot) => snapshot.attemptId === attemptId);
}

async function startAndWait(executor: Executor, behaviour: string): Promise<void> {
  await executor.start(spec(behaviour), limit());
  await eventually(() => startLines().length).toBe(1);
}

test('an agent that ends is reported with its code, and the change is reported', async () => {
  const executor = open();
  const changed: string[] = [];
  executor.onChange((id) => changed.push(id));
  const { place } = await executor.start(spec('exit'), limit());
  expect(place).toMatch(/ process \d+$/);
  await eventually(() => changed).toEqual([attemptId]);
  expect(await observed(executor)).toMatchObject({ generation: 1, name: 'run/step/1', phase: 'exited', exitCode: 3 });
});

test('a crash shows the code that the parent saw, and what the agent printed', async () => {
  const executor = open();
  await executor.start(spec('crash'), limit());
  await eventually(async () => await observed(executor)).toMatchObject({ phase: 'exited', exitCode: 1 });
  expect(await executor.logs(attemptId)).toMatch(/the agent speaks\n[\s\S]*an error of the agent/);
});

test('an agent killed by a signal has no exit code', async () => {
  const executor = open();
  await startAndWait(executor, 'run');
  process.kill(agentPid(), 'SIGKILL');
  await eventually(async () => await observed(executor)).toMatchObject({ phase: 'exited', exitCode: null });
});

test('starting the same attempt many times at once, from two executors, starts one process', async () => {
  const [a, b] = [open(), open()];
  const launched = await Promise.all([a, b, a, b].map((executor) => executor.start(spec('run'), limit())));
  expect(new Set(launched.map(({ place }) => place)).size).toBe(1);
  expect((await a.start(spec('run'), limit())).place).toBe(launched[0]?.place);
  await eventually(() => startLines().length).toBe(1);
  expect(await observed(b)).toMatchObject({ phase: 'running' });
});

test('controllers that start the same attempt at the same moment start one process', async () => {
  const go = join(stateDir, 'go');
  const starters = Array.from({ length: 3 }, () =>
    spawn(process.execPath, [starterFile, stateDir, attemptId, go, process.execPath, agentFile], {
      env: { TEST_STARTS: starts, TEST_BEHAVIOUR: 'run' },
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  await Promise.all(starters.map((starter) => once(starter.stdout, 'data')));
  const places = starters.map(async (starter) => String((await once(starter.stdout, 'data'))[0]));
  writeFileSync(go, '');
  expect(new Set(await Promise.all(places)).size).toBe(1);
  await eventually(() => startLines().length).toBe(1);
  expect(readdirSync(join(stateDir, 'process', attemptId)).filter((name) => name.startsWith('process-'))).toHaveLength(1);
});

test('an attempt that has exited is adopted, not started again', async () => {
  const executor = open();
  await startAndWait(executor, 'exit');
  await eventually(async () => (await observed(executor))?.phase).toBe('exited');
  await executor.start(spec('exit'), limit());
  await open().start(spec('exit'), limit());
  expect(startLines()).toHaveLength(1);
});

test('a process outlives its executor and the next one adopts it and learns its end', async () => {
  const first = open();
  await startAndWait(first, 'run');
  await first.close();
  const second = open();
  const changed: string[] = [];
  second.onChange((id) => changed.push(id));
  expect(await observed(second)).toMatchObject({ phase: 'running' });
  await second.start(spec('run'), limit());
  expect(startLines()).toHaveLength(1);
  process.kill(agentPid(), 'SIGTERM');
  await eventually(() => changed).toEqual([attemptId]);
  expect(await observed(second)).toMatchObject({ phase: 'exited', exitCode: 75 });
});

test('when a launcher is killed before it spawned, the next one starts the attempt', async () => {
  await killedLauncher();
  const executor = open();
  expect(await observed(executor)).toBeUndefined();
  await executor.start(spec('run'), limit());
  await eventually(() => startLines().length).toBe(1);
});

test.each(['run', 'silent'])('when a launcher is killed after it spawned, its agent is adopted (agent: %s)', async (behaviour) => {
  await killedLauncher(behaviour);
  await eventually(() => startLines().length).toBe(1);
  const executor = open();
  expect((await executor.start(spec(behaviour), limit())).place).toContain(String(agentPid()));
  expect(await observed(executor)).toMatchObject({ phase: 'running' });
  expect(startLines()).toHaveLength(1);
});

test('a second agent in the same work folder exits with code 79', async () => {
  const executor = open();
  await startAndWait(executor, 'run');
  const env = { CAIRN_ATTEMPT_ID: attemptId, CAIRN_ATTEMPT_GENERATION: '1', CAIRN_WORK_DIR: workDir(), TEST_STARTS: starts };
  const [code] = await once(spawn(process.execPath, [agentFile], { env }), 'exit');
  expect(code).toBe(79);
  expect(startLines()).toHaveLength(1);
});

test('an attempt is exited only when the processes a killed agent left in their own sessions are gone', async () => {
  const executor = open();
  await executor.start(spec('family'), limit());
  const file = join(workDir(), 'grandchild');
  await eventually(() => existsSync(file) && readFileSync(file, 'utf8') !== '').toBe(true);
  const grandchild = Number(readFileSync(file, 'utf8'));
  process.kill(agentPid(), 'SIGKILL');
  await eventually(() => identityOf(agentPid())).toBeNull();
  expect(identityOf(grandchild)).not.toBeNull();
  expect(await observed(executor)).toMatchObject({ phase: 'exited', exitCode: null });
  expect(identityOf(grandchild)).toBeNull();
});

test('a stop lets the agent end by itself within the grace', async () => {
  const executor = open();
  await startAndWait(executor, 'run');
  await executor.stop(attemptId, { graceSeconds: 60, reason: 'test' });
  await eventually(async () => await observed(executor)).toMatchObject({ phase: 'exited', exitCode: 75 });
});

test('a stop kills an agent that ignores it, although the executor that was asked is gone', async () => {
  const first = open();
  await startAndWait(first, 'stubborn');
  await first.stop(attemptId, { graceSeconds: 0.3, reason: 'test' });
  await first.close();
  expect(identityOf(agentPid())).not.toBeNull();
  const second = open();
  await eventually(async () => await observed(second)).toMatchObject({ phase: 'exited', exitCode: null });
});

test('a newer generation ends the older one before it starts, and the older one cannot come back', async () => {
  const executor = open();
  await startAndWait(executor, 'stubborn');
  const old = agentPid();
  await executor.start(spec('run', 2), limit());
  expect(identityOf(old)).toBeNull();
  await eventually(() => startLines().length).toBe(2);
  expect(await observed(executor)).toMatchObject({ generation: 2, phase: 'running' });
  await expect(executor.start(spec('run', 1), limit())).rejects.toMatchObject({ code: 'superseded' });
});

test('a forgotten attempt leaves no process, no folder and no snapshot', async () => {
  const executor = open();
  await startAndWait(executor, 'stubborn');
  await executor.forget(attemptId);
  expect(identityOf(agentPid())).toBeNull();
  expect(existsSync(workDir())).toBe(false);
  expect(await executor.observe(limit())).toEqual([]);
});

test('a program that cannot be started is an error that names it, and a later try can succeed', async () => {
  const broken = open(['/no/such/program']);
  await expect(broken.start(spec('run'), limit())).rejects.toThrow(/\/no\/such\/program cannot be started.*ENOENT/);
  await startAndWait(open(), 'run');
});

test('an attempt id that would leave the folder is refused', async () => {
  await expect(open().forget('../elsewhere')).rejects.toMatchObject({ code: 'invalid_path' });
});

/** Runs a launcher that claims the launch and, with a behaviour, spawns the agent; then kills it. */
async function killedLauncher(behaviour?: string): Promise<void> {
  const agent = behaviour === undefined ? [] : [process.execPath, agentFile];
  const launcher = spawn(process.execPath, [launcherFile, join(stateDir, 'process'), attemptId, ...agent], {
    env: { TEST_STARTS: starts, TEST_BEHAVIOUR: behaviour ?? '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(launcher.stdout, 'data');
  launcher.kill('SIGKILL');
  await once(launcher, 'exit');
}
