import { createHmac, randomUUID } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { hookAnswer } from '@cairn/contract';
import { releaseLead } from '@cairn/engine';
import { ada } from '@cairn/engine/testing';
import { sha256 } from '@cairn/runtime';
import { bareEnvironment, serverProgram, startGitHub, startReceiver, waitFor } from '@cairn/testing';
import { openPlayedService } from '../start-test-service.ts';
import { runTestCli, type TestRun } from '../test-cli.ts';
import { type Change, killInside } from './kill-inside.ts';
import { playedMachines } from './played-machines.ts';

const root = join(import.meta.dirname, '..', '..', '..', '..');
const pool = {
  ...{ name: 'gpus', executor: 'docker', slots: 8, gpuHourPrice: 2 },
  settings: { image: `example.org/worker@sha256:${'0'.repeat(64)}`, gpus: 1 },
};
/** How soon a controller takes over from one that was killed. */
const ttlMs = 1_000;
/** Long, because a machine that is busy with other tests starts programs slowly. */
const startLimitMs = 240_000;
export const hostToken = 'a-token-of-a-bot';
export const publicUrl = 'https://cairn.example.org';

/**
 * The service of a week: a real api and a real controller, each of which can be killed and started again, a server that speaks GitHub's API, a
 * receiver of webhooks, and machines that play all attempts.
 */
export async function openWeek() {
  const service = await openPlayedService();
  const { harness, client, token, url, api } = service;
  const { prisma, engine } = harness;
  await releaseLead(prisma, harness.lead);
  const folder = await service.makeFolder('week');
  const github = await startGitHub(hostToken, (close) => service.closer.add('GitHub', close));
  const receiver = await startReceiver(undefined, (close) => service.closer.add('the receiver', close));

  const clockFile = join(folder, 'clock');
  /** Sets the clock of the controller's machine; null: the time of this machine. */
  async function setClock(time: string | null): Promise<void> {
    const ahead = time === null ? 0 : (Date.parse(time) - Date.now()) / 1000;
    await writeFile(`${clockFile}.next`, String(ahead));
    // A controller reads the whole of it, or what was before.
    await rename(`${clockFile}.next`, clockFile);
  }
  await setClock(null);

  const clock = pathToFileURL(join(import.meta.dirname, 'made-clock.ts'));
  clock.searchParams.set('file', clockFile);
  let epoch = 0;
  const controller = serverProgram({
    name: 'the controller',
    program: process.execPath,
    args: ['--import', clock.href, join(root, 'apps', 'controller', 'main.ts')],
    place: {
      env: {
        ...bareEnvironment(),
        ...service.controllerEnv,
        ...{ CAIRN_POOLS: JSON.stringify([pool]), CAIRN_TASK_SLOTS: '8', CAIRN_STATE_DIR: join(folder, 'state'), CAIRN_PYTHON: 'python3' },
        ...{ CAIRN_LEADER_TTL_MS: String(ttlMs), CAIRN_PUBLIC_URL: publicUrl, CAIRN_LOG_LEVEL: 'warn' },
        // No engine is there: the controller sees no machine.
        DOCKER_HOST: `unix://${join(folder, 'no-engine.sock')}`,
      },
    },
    logFile: join(folder, 'controller.log'),
    probe: async () => {
      const lead = await prisma.leadership.findUniqueOrThrow({ where: { id: 1 } });
      if (lead.epoch <= epoch || (await prisma.pool.count()) === 0) throw new Error('it does not lead yet');
    },
    startLimitMs,
  });
  const startController = async (): Promise<void> => {
    epoch = (await prisma.leadership.findUniqueOrThrow({ where: { id: 1 } })).epoch;
    await controller.start();
  };
  service.closer.add('the controller', () => controller.end('SIGKILL'));
  await startController();

  const programs = {
    api: { kill: () => api.end('SIGKILL'), replace: () => api.start() },
    controller: { kill: () => controller.end('SIGKILL'), replace: startController },
  };
  /** Kills a program inside each of the changes that `work` leads to, and starts it again. */
  const killed = (program: keyof typeof programs, changes: readonly Change[], work: () => Promise<void>): Promise<void> =>
    killInside(harness, changes, programs[program], work);

  let images = 0;
  /** New images: the next version of the dataset, so that what is trained on it is trained again. */
  async function addImages(): Promise<void> {
    images += 1;
    const source = { kind: 'folder', root: '/images', metadata: '/metadata', countries: null } as const;
    const digests = { digest: sha256(`images ${images}`), digestBasis: 'test', files: { metadata: {}, images: {} } };
    await engine.registerDataset({ name: 'toy', source, ...digests }, ada);
  }

  /** Delivers an event to a trigger as GitHub does. Null when the api did not answer. */
  async function deliver(trigger: { path: string; secret: string }, { event, body, id }: HostEvent) {
    const text = JSON.stringify(body);
    const headers = {
      ...{ 'content-type': 'application/json', 'x-github-event': event, 'x-github-delivery': id },
      'x-hub-signature-256': `sha256=${createHmac('sha256', trigger.secret).update(text).digest('hex')}`,
    };
    const request = { method: 'POST', body: text, headers, signal: AbortSignal.timeout(60_000) };
    const response = await fetch(new URL(trigger.path, url), request).catch(() => null);
    return response === null ? null : hookAnswer.parse(await response.json());
  }

  /** Lets what waits for its next try be tried now: pauses of minutes would only be waited for. */
  async function passPauses(): Promise<void> {
    await prisma.$executeRaw`update delivery set not_before = least(not_before, now()) where state = 'pending'`;
    await prisma.$executeRaw`update code_host set paused_until = null`;
    await prisma.$executeRaw`update hook_delivery set not_before = least(not_before, now()) where outcome = 'accepted'`;
  }

  /** Waits until all reports and messages have been sent. */
  async function reported(): Promise<void> {
    const isQuiet = async () => {
      await passPauses();
      return (await prisma.delivery.count({ where: { state: 'pending' } })) === 0;
    };
    await waitFor(isQuiet, { timeoutMs: 240_000, intervalMs: 200, message: 'all reports and messages to be sent' });
  }

  const cairn = (args: readonly string[], env: Record<string, string> = {}): Promise<TestRun> =>
    runTestCli(args, { url, env: { CAIRN_TOKEN: token, ...env }, now: new Date() });

  return {
    ...{ harness, prisma, client, url, token, github, receiver, folder, recipe: service.recipe },
    ...playedMachines(harness, service.store),
    ...{ killed, addImages, deliver, passPauses, reported, cairn, setClock },
    restartController: async (): Promise<void> => {
      await controller.end('SIGKILL');
      await startController();
    },
  };
}

export type Week = Awaited<ReturnType<typeof openWeek>>;

/** An event of GitHub, with the id of its delivery. */
export type HostEvent = { event: 'push' | 'pull_request'; id: string; body: object };

const repository = { id: 1, full_name: 'org/landmarks' };
/** A commit, told by a word. */
export const commitOf = (word: string): string => sha256(word).slice(0, 40);

export const push = (word: string): HostEvent => ({
  ...{ event: 'push', id: randomUUID() },
  body: {
    ...{ ref: 'refs/heads/main', before: commitOf(`before ${word}`), after: commitOf(word), repository },
    ...{ head_commit: { id: commitOf(word), url: null }, commits: [{ added: [], modified: ['model.py'], removed: [] }] },
  },
});

export const pullRequest = (
  number: number,
  word: string,
  { action, fork = false }: { action: 'opened' | 'synchronize'; fork?: boolean },
): HostEvent => ({
  ...{ event: 'pull_request', id: randomUUID() },
  body: {
    ...{ action, number, repository },
    pull_request: {
      html_url: `https://code.example.org/org/landmarks/pull/${number}`,
      head: { sha: commitOf(word), ref: 'topic', repo: fork ? { id: 2, full_name: 'someone/landmarks' } : repository },
      ...{ base: { ref: 'main' }, labels: [] },
    },
  },
});
