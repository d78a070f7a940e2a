import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import type { LaunchSpec } from '../executor.ts';
import { diagnose, inspectedContainer } from './container-objects.ts';
import { chooseDevices, containerOptions, dockerPoolSettings } from './container-spec.ts';
import { demultiplex } from './engine-api.ts';

const image = `registry.example/cairn/worker@sha256:${'0'.repeat(64)}`;
const owner = { instance: 'cairn', pool: 'box' };
const spec: LaunchSpec = {
  attemptId: 'att_01k9zj5v3q8w2x4y6z7a9b1c3d',
  generation: 2,
  name: 'mini-3/512_finetune/1',
  slots: 8,
  env: { CAIRN_INTERNAL_URL: 'http://machine:8081', CAIRN_ATTEMPT_TOKEN: 'cat_secret' },
};
const container = (change: Partial<z.input<typeof dockerPoolSettings>> = {}, more: Partial<LaunchSpec> = {}, devices = 'all') =>
  containerOptions({ ...spec, ...more }, owner, dockerPoolSettings.parse({ image, ...change }), devices);

const labels = {
  'app.kubernetes.io/name': 'cairn',
  'app.kubernetes.io/component': 'attempt',
  'app.kubernetes.io/managed-by': 'cairn',
  'app.kubernetes.io/instance': 'cairn',
  'cairn.dev/pool': 'box',
  'cairn.dev/attempt': 'att_01k9zj5v3q8w2x4y6z7a9b1c3d',
  'cairn.dev/generation': '2',
};
const GiB = 2 ** 30;

test('the container of an attempt with the defaults of a pool', () => {
  expect(container()).toEqual({
    name: 'cairn-mini-3-512-finetune-1-5206a0b56a-g2',
    Hostname: 'cairn-mini-3-512-finetune-1-5206a0b56a-g2',
    Image: image,
    User: '10001:10001',
    Env: [
      'HOME=/tmp',
      'CAIRN_GPUS=8',
      'CAIRN_INTERNAL_URL=http://machine:8081',
      'CAIRN_ATTEMPT_ID=att_01k9zj5v3q8w2x4y6z7a9b1c3d',
      'CAIRN_ATTEMPT_GENERATION=2',
      'CAIRN_WORK_DIR=/var/lib/cairn/work',
      'CAIRN_STOP_GRACE_SECONDS=60',
      'CAIRN_ENV_FILE=/var/lib/cairn/secrets.env',
    ],
    Labels: { ...labels, 'cairn.dev/name': 'mini-3/512_finetune/1', 'cairn.dev/gpus': 'all' },
    StopTimeout: 60,
    HostConfig: {
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Init: false,
      RestartPolicy: { Name: 'no' },
      NetworkMode: 'bridge',
      ExtraHosts: ['host.docker.internal:host-gateway'],
      Tmpfs: { '/tmp': `rw,exec,nosuid,nodev,mode=1777,size=${4 * GiB}` },
      ShmSize: GiB,
      Mounts: [
        {
          Type: 'volume',
          Target: '/var/lib/cairn',
          Source: '',
          VolumeOptions: { NoCopy: true, Labels: labels, DriverConfig: { Name: 'local', Options: {} } },
        },
      ],
      DeviceRequests: [{ Count: -1, Capabilities: [['gpu']] }],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '16m', 'max-file': '2' } },
    },
  });
});

describe('settings', () => {
  test('the description does not contain the token', () => {
    expect(JSON.stringify(container())).not.toContain('cat_secret');
  });

  test('a number of GPUs becomes devices by name, and the number that the agent gets', () => {
    const { HostConfig, Env } = container({ gpus: 2 }, {}, '4,5');
    expect(HostConfig?.DeviceRequests).toEqual([{ DeviceIDs: ['4', '5'], Capabilities: [['gpu']] }]);
    expect(Env).toContain('CAIRN_GPUS=2');
  });

  test('without GPUs none are requested', () => {
    const { HostConfig, Env } = container({ gpus: 'none' }, {}, '');
    expect(HostConfig?.DeviceRequests).toEqual([]);
    expect(Env).toContain('CAIRN_GPUS=0');
  });

  test('shared memory is what the loaders need, and memory is the sum of the processes’, shared memory and /tmp', () => {
    const { HostConfig } = container({ memory: '64Gi', tmpSize: '2Gi' }, { loaderBytes: 6 * GiB });
    expect(HostConfig?.ShmSize).toBe(7 * GiB);
    expect(HostConfig?.Memory).toBe((66 + 7) * GiB);
    expect(HostConfig?.MemorySwap).toBe(HostConfig?.Memory);
  });

  test('the pool’s environment overrides the controller’s', () => {
    const { Env } = container({ env: { CAIRN_INTERNAL_URL: 'http://host.docker.internal:8081' } });
    expect(Env).toContain('CAIRN_INTERNAL_URL=http://host.docker.internal:8081');
    expect(Env).not.toContain('CAIRN_INTERNAL_URL=http://machine:8081');
  });

  test('command, mounts, cores, runtime and network', () => {
    const mounts = [{ hostPath: '/data/gldv2', mountPath: '/gldv2' }];
    const { Entrypoint, HostConfig } = container({ command: ['sh', '-c', 'true'], mounts, cpus: 1.5, runtime: 'nvidia', network: 'host' });
    expect(Entrypoint).toEqual(['sh', '-c', 'true']);
    expect(HostConfig).toMatchObject({ Init: true, NanoCpus: 1.5e9, Runtime: 'nvidia', NetworkMode: 'host' });
    expect(HostConfig?.ExtraHosts).toBeUndefined();
    expect(HostConfig?.Mounts?.[1]).toEqual({ Type: 'bind', Source: '/data/gldv2', Target: '/gldv2', ReadOnly: true });
  });
});

describe('settings are refused that', () => {
  test.each([
    ['name an image by tag', { image: 'worker:1' }, 'pin the image by digest'],
    ['give a container more GPUs than there are', { gpus: 2, gpuDevices: ['0'] }, 'more GPUs than gpuDevices lists'],
    ['set what is the attempt’s', { env: { CAIRN_ATTEMPT_ID: 'att_x' } }, 'CAIRN_ATTEMPT_*'],
    ['run as root', { runAsUser: 0 }, 'expected number to be >=1'],
  ])('%s', (_, change, message) => {
    expect(() => dockerPoolSettings.parse({ image, ...change })).toThrow(message);
  });

  test('an image id is a digest', () => {
    expect(dockerPoolSettings.parse({ image: `sha256:${'1'.repeat(64)}` }).image).toMatch(/^sha256:/);
  });
});

const gpuDevices = ['0', '1', '2', '3'];
const holds = (devices: string) => ({ 'cairn.dev/gpus': devices });

test.each([
  ['none', [holds('all')], ''],
  ['all', [], 'all'],
  ['all', [holds('')], 'all'],
  ['all', [holds('2')], null],
  [2, [], '0,1'],
  [2, [holds('0'), holds('2')], '1,3'],
  [2, [holds('0,1'), holds('3')], null],
  [1, [holds('all')], null],
  [1, [holds('7')], '0'],
] as const)('%s next to %j gets %j', (gpus, live, devices) => {
  expect(chooseDevices({ gpus, gpuDevices }, live)).toBe(devices);
});

const now = Date.parse('2026-01-02T00:00:00Z');
const never = '0001-01-01T00:00:00Z';
const observed = (State: object) =>
  inspectedContainer.parse({
    Id: 'abc',
    Name: '/cairn-x',
    Created: '2026-01-01T00:00:00Z',
    Config: { Labels: null },
    State: { Status: 'exited', OOMKilled: false, ExitCode: 0, Error: '', FinishedAt: '2026-01-01T01:00:00Z', ...State },
  });
const exited = (State: object) => diagnose(observed(State), now);

describe('an exited observed', () => {
  test.each([
    [0, 'ended_without_result'],
    [1, 'agent_failed'],
    [75, 'agent_preempted'],
    [78, 'agent_configuration'],
    [79, 'agent_superseded'],
    [135, 'shared_memory_full'],
    [137, 'killed'],
    [143, 'killed'],
  ])('with code %d is %s, since it ended', (ExitCode, signal) => {
    expect(exited({ ExitCode })).toEqual({
      phase: 'exited',
      exitCode: ExitCode,
      message: `exit code ${ExitCode}`,
      finding: { signal, since: Date.parse('2026-01-01T01:00:00Z'), message: `exit code ${ExitCode}` },
    });
  });

  test('that ran out of memory is reported as such whatever its code', () => {
    expect(exited({ ExitCode: 0, OOMKilled: true }).finding?.signal).toBe('out_of_memory');
  });
});

test('a observed that could not be started has ended with the engine’s reason', () => {
  expect(exited({ Status: 'created', ExitCode: 127, Error: 'exec: no such file', FinishedAt: never })).toEqual({
    phase: 'exited',
    exitCode: null,
    message: 'exec: no such file',
    finding: { signal: 'container_start', since: now, message: 'exec: no such file' },
  });
});

test('a observed that was created and not started has been waiting since its creation', () => {
  expect(exited({ Status: 'created', FinishedAt: never })).toMatchObject({
    phase: 'pending',
    finding: { signal: 'container_creating', since: Date.parse('2026-01-01T00:00:00Z') },
  });
});

test.each(['running', 'paused', 'removing'])('a observed that is %s is not over', (Status) => {
  expect(exited({ Status })).toEqual({ phase: 'running', exitCode: null, message: Status, finding: null });
});

function frame(stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

test('both streams come in order, including a character split between two frames', () => {
  const [first, second] = [Buffer.from('eins\ngr\u00fc').subarray(0, 8), Buffer.from('eins\ngr\u00fc').subarray(8)];
  expect(demultiplex(Buffer.concat([frame(1, first), frame(1, second), frame(2, Buffer.from('n\n'))]))).toBe('eins\ngr\u00fcn\n');
});

test('without frames there is no text, and a truncated header is ignored', () => {
  expect(demultiplex(Buffer.alloc(0))).toBe('');
  expect(demultiplex(Buffer.concat([frame(1, Buffer.from('a')), Buffer.from([1, 0, 0])]))).toBe('a');
});
