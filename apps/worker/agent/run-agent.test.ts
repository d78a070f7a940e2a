import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentExit } from '@cairn/contract';
import { processesByAttempt, readAgent, readExit } from '@cairn/runtime';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openAgentWorld, startMain, stubPython } from '../testing/run-main.ts';
import { artifactOf, specOf } from '../testing/specs.ts';

vi.setConfig({ testTimeout: 30_000 });

const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 45_000, interval: 15 });

const listFiles = { 'lists/clean.parquet': Buffer.from('clean rows') };
const lists = artifactOf('lists', 'lists/art_1/', listFiles, { lists: { clean: { rows: 12, distinct: 12, classes: 5 } } });

async function openTraining(env: Record<string, string> = {}) {
  const world = await openAgentWorld(specOf('train', { inputs: { lists } }), { CAIRN_PYTHON: stubPython(), ...env });
  await world.store.put('lists/art_1/lists/clean.parquet', 'clean rows');
  return world;
}

test('an agent claims its attempt, does its work, reports its end and records its exit', async () => {
  const { plane, env, workDir } = await openTraining();
  const agent = startMain('agent', env);
  expect(await agent.code).toBe(agentExit.ok);
  expect(plane.state.starts).toHaveLength(1);
  expect(plane.state.finishes).toMatchObject([{ outcome: 'succeeded', files: [{ name: 'checkpoint.pt' }] }]);
  expect(readExit(workDir)).toBe(agentExit.ok);
  expect(readAgent(workDir)?.process.pid).toBe(agent.process.pid);
  expect(plane.logText('agent')).toMatch(/starts on [\s\S]*the attempt ended: succeeded/);
});

test('the programs of the attempt do not get the token', async () => {
  const { plane, env } = await openTraining({ STUB_BEHAVIOUR: 'environment' });
  await startMain('agent', env).code;
  const printed = plane.logText('stdout');
  expect(printed).toContain('CAIRN_ATTEMPT_ID');
  expect(printed).not.toContain(plane.token);
});

test('SIGTERM, even twice, lets the attempt save and end as preempted', async () => {
  const { plane, env, workDir } = await openTraining({ STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const agent = startMain('agent', env);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  agent.process.kill('SIGTERM');
  agent.process.kill('SIGTERM');
  expect(await agent.code).toBe(agentExit.preempted);
  expect(plane.state.finishes).toMatchObject([{ outcome: 'preempted', message: expect.stringContaining('SIGTERM') }]);
  expect(plane.items('checkpoint').length).toBeGreaterThan(0);
  expect(readExit(workDir)).toBe(agentExit.preempted);
});

test('an attempt that reaches its deadline ends by itself and fails with that cause', async () => {
  const { plane, env, workDir } = await openTraining({ STUB_STEPS: '10000', STUB_STEP_MS: '20', CAIRN_DEADLINE_SECONDS: '2' });
  expect(await startMain('agent', env).code).toBe(agentExit.failed);
  expect(plane.state.finishes).toMatchObject([
    { outcome: 'failed', cause: 'deadline', code: 'deadline_exceeded', message: expect.stringContaining('the time limit of its pool') },
  ]);
  expect(readExit(workDir)).toBe(agentExit.failed);
});

test('a superseded agent ends with its programs, and neither reports nor finishes any more', async () => {
  const { plane, env, workDir } = await openTraining({ STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const agent = startMain('agent', env);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  plane.state.superseded = true;
  expect(await agent.code).toBe(agentExit.superseded);
  expect(plane.state.finishes).toEqual([]);
  expect(readExit(workDir)).toBe(agentExit.superseded);
  expect(processesByAttempt().get(env.CAIRN_ATTEMPT_ID)).toBeUndefined();
});

test('an attempt that another process has started exits before it does anything', async () => {
  const { plane, env, workDir } = await openTraining();
  plane.state.superseded = true;
  expect(await startMain('agent', env).code).toBe(agentExit.superseded);
  expect(readExit(workDir)).toBe(agentExit.superseded);
  expect(readdirSync(workDir).toSorted()).toEqual(['agent.json', 'exit.json']);
});

test('a second agent in the same work folder exits at once and leaves the first alone', async () => {
  const { plane, env, workDir } = await openTraining({ STUB_STEPS: '50', STUB_STEP_MS: '20' });
  const first = startMain('agent', env);
  await eventually(() => readAgent(workDir)?.process.pid).toBe(first.process.pid);
  expect(await startMain('agent', env).code).toBe(agentExit.superseded);
  expect(await first.code).toBe(agentExit.ok);
  expect(readExit(workDir)).toBe(agentExit.ok);
  expect(plane.state.finishes).toHaveLength(1);
});

test('the end is reported when the control plane is back, however long it was away', async () => {
  const { plane, env } = await openTraining({ STUB_STEPS: '20', STUB_STEP_MS: '20' });
  const agent = startMain('agent', env);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  await plane.down();
  await eventually(() => agent.output()).toMatch(/the attempt ended: succeeded/);
  expect(agent.process.exitCode).toBeNull();
  plane.state.losesAnswers = 1;
  await plane.up();
  expect(await agent.code).toBe(agentExit.ok);
  expect(plane.state.finishes).toHaveLength(1);
  const steps = plane
    .items('metrics')
    .filter(({ name }) => name === 'loss')
    .flatMap((item) => item.steps);
  expect(steps).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
});

test('work that throws ends the attempt as failed, with the error', async () => {
  const { plane, env, workDir } = await openAgentWorld(specOf('register'));
  expect(await startMain('agent', env).code).toBe(agentExit.failed);
  expect(plane.state.finishes).toEqual([
    { outcome: 'failed', cause: 'infrastructure', code: 'internal', message: 'The step register has no input "evaluation"' },
  ]);
  expect(readExit(workDir)).toBe(agentExit.failed);
});

test('an end that the control plane rejects is reported as a failure, and the agent exits', async () => {
  const { plane, env } = await openTraining();
  plane.state.refusesEnd = ({ outcome }) => outcome === 'succeeded';
  expect(await startMain('agent', env).code).toBe(agentExit.failed);
  expect(plane.state.finishes).toEqual([
    {
      outcome: 'failed',
      cause: 'infrastructure',
      code: 'internal',
      message: 'The result of the attempt (succeeded) was rejected: it does not describe an artifact',
    },
  ]);
});

test('a program that dies with a NUL and half a character in its last output ends the attempt', async () => {
  const { plane, env } = await openTraining({ STUB_BEHAVIOUR: 'lastOutput' });
  expect(await startMain('agent', env).code).toBe(agentExit.failed);
  expect(plane.state.finishes).toMatchObject([{ outcome: 'failed', message: expect.stringMatching(/\n\u{1f680}+!bad record \u2400$/u) }]);
});

test('a spec of another protocol ends the attempt as failed', async () => {
  const { plane, env } = await openTraining();
  Object.assign(plane.state.spec, { protocol: 99 });
  expect(await startMain('agent', env).code).toBe(agentExit.failed);
  expect(plane.state.finishes).toMatchObject([{ outcome: 'failed', cause: 'user', code: 'protocol_mismatch' }]);
});

test('a wrong configuration reports all errors and exits with its own code', async () => {
  const agent = startMain('agent', { CAIRN_ATTEMPT_ID: 'att_1', CAIRN_INTERNAL_URL: 'ftp://x', CAIRN_WORK_DIR: '/nowhere' });
  expect(await agent.code).toBe(agentExit.configuration);
  expect(agent.output()).toMatch(/CAIRN_ATTEMPT_ID[\s\S]*CAIRN_ATTEMPT_TOKEN/);
  expect(agent.output()).toContain('CAIRN_STORAGE_URL');
  expect(existsSync('/nowhere')).toBe(false);
});

vi.setConfig({ testTimeout: 30_000 });

/** An agent of a step on a machine whose nvidia-smi runs this shell script. */
async function openWithGpus(kind: 'train' | 'extract', gpus: number, script: string) {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-nvidia-smi-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'nvidia-smi'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, 'nvidia-smi'), 0o755);
  const PATH = `${folder}:${process.env.PATH}`;
  const world = await openAgentWorld(specOf(kind), { PATH, CAIRN_GPUS: String(gpus) });
  expect(await startMain('agent', world.env).code).toBe(agentExit.failed);
  return { told: world.plane.logText('agent'), end: world.plane.state.finishes[0] };
}

const asked = 'test "$*" = "--query-gpu=index,name,driver_version,memory.total,compute_cap --format=csv,noheader,nounits" || exit 9';
const h200 = (index: number) => `echo '${index}, NVIDIA H200, 580.65.06, 143771, 9.0'`;
const k80 = (index: number) => `echo '${index}, Tesla K80, 470.256.02, 11441, 3.7'`;
const refusal = 'The GPU Tesla K80 has compute capability 3.7; ONNX Runtime needs 7.5. Use another GPU, or a pool without.';

test("an attempt's log has each GPU by its name, memory, driver and compute capability", async () => {
  const { told } = await openWithGpus('train', 2, `${asked}\n${h200(0)}\necho '1, NVIDIA GB10, 580.95.05, [N/A], 12.1'`);
  expect(told).toContain('GPU 0: NVIDIA H200, 140.4 GiB, driver 580.65.06, compute capability 9.0');
  expect(told).toContain('GPU 1: NVIDIA GB10, memory not known, driver 580.95.05, compute capability 12.1');
});

test('extraction on a GPU of too old a kind ends at once, by the name of the GPU', async () => {
  const { end } = await openWithGpus('extract', 2, `${h200(0)}\n${k80(1)}`);
  expect(end).toMatchObject({ outcome: 'failed', code: 'invalid_configuration', message: refusal });
});

test('an old GPU beside as many new ones as are used refuses nothing, nor does it to a training, whose torch may be built for it', async () => {
  for (const [kind, count, script] of [
    ['extract', 1, `${h200(0)}\n${k80(1)}`],
    ['train', 1, k80(0)],
  ] as const) {
    const { told, end } = await openWithGpus(kind, count, script);
    expect(told).toContain('Tesla K80');
    expect(end).not.toMatchObject({ message: refusal });
  }
});

test.each([
  ['fails', 'echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver." >&2; exit 9'],
  ['says something else', 'echo No devices were found'],
])('an nvidia-smi that %s is reported and stops nothing', async (_, script) => {
  const { told, end } = await openWithGpus('extract', 1, script);
  expect(told).toContain('nvidia-smi does not describe the GPUs: ');
  expect(end).not.toMatchObject({ code: 'invalid_configuration' });
});
