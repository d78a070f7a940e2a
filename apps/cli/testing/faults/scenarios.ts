import { readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { agentExit, CairnError, type RunEvent } from '@cairn/contract';
import { openQueues } from '@cairn/queue';
import { createLogger, processesByAttempt, signalProcess, sleep } from '@cairn/runtime';
import type { S3Proxy, TestValkey, Verdict } from '@cairn/testing';
import { z } from 'zod';
import type { Service } from '../../service/start-service.ts';
import type { Choosable } from '../ci/choose.ts';
import type { Played } from './play-run.ts';
import { type Backend, type Scene, type Servers, type Strike, signalAgent, signalProgram } from './strike.ts';
import type { Transition } from './transitions.ts';

/** A fault that is more than one killed program: what is done to a run, and what must be true of it in addition to the usual. */
export type Scenario = Choosable & {
  backend: Backend;
  /** Controllers of the service: one is the leader, the others are spares. */
  controllers?: number;
  strikes(servers: Servers): Strike[];
  /** Sentences about errors. */
  judge(played: Played, reference: Played): string[];
};

/** Longer than every timeout for silence: 10 s until an attempt counts as silent, 30 s of a lease and of a task's lock. */
const outageMs = 45_000;
const waitLimitMs = 90_000;
/** Shorter than the total of one S3 request's pauses, so that none of them need fail. */
const storageOutageMs = 8_000;

export const scenarios: readonly Scenario[] = [
  {
    name: 'Redis is emptied while an entry waits in it',
    touchedBy: ['libs/queue', 'apps/controller'],
    seconds: 70,
    backend: 'redis',
    strikes: ({ valkey }) => [
      {
        step: 'extract_query',
        moment: 'running',
        name: 'task worker stopped at extract_query:running, and Redis emptied once the next start waits in it',
        act: async (scene) => {
          if (valkey === null || !signalProgram(scene, 'worker', 'SIGSTOP')) return false;
          scene.meanwhile(emptyOfNextTask(scene, valkey).finally(() => signalProgram(scene, 'worker', 'SIGCONT')));
          return true;
        },
      },
    ],
    judge: () => [],
  },
  {
    name: 'the api hangs for longer than every timeout while a stage trains',
    touchedBy: ['apps/api', 'apps/worker', 'libs/client'],
    seconds: 110,
    backend: 'postgres',
    strikes: () => [
      {
        step: '512_all',
        moment: 'running',
        name: `api stopped for ${outageMs / 1000} s at 512_all:running`,
        act: async (scene) => {
          const isThere = signalProgram(scene, 'api', 'SIGSTOP');
          scene.meanwhile(sleep(outageMs, scene.signal).finally(() => signalProgram(scene, 'api', 'SIGCONT')));
          return isThere;
        },
      },
    ],
    judge: (played, reference) => [
      ...(attemptsOf(played.events, '512_all') === 1 ? [] : ['512_all was started again because the api was away']),
      // Training is a function of its seed: every point that was reported once must be there, with its value.
      ...(sameCurve(played, reference, '512_all') ? [] : ['points of the loss of 512_all were lost']),
    ],
  },
  {
    name: 'a task that slept while it was revoked wakes as a zombie',
    touchedBy: ['apps/worker', 'libs/engine'],
    seconds: 100,
    backend: 'postgres',
    strikes: () => [
      {
        step: 'search',
        moment: 'running',
        name: 'agent of search put to sleep until search has succeeded',
        act: async (scene) => {
          const attemptId = await signalAgent(scene, 'search', 'SIGSTOP');
          if (attemptId !== null) scene.meanwhile(wakeAsZombie(scene, attemptId));
          return attemptId !== null;
        },
      },
    ],
    judge: (played) => (attemptsOf(played.events, 'search') === 2 ? [] : ['search was not given to another attempt exactly once']),
  },
  {
    name: 'the newest checkpoint is truncated',
    touchedBy: ['apps/worker/train', 'docker/trainer'],
    seconds: 60,
    backend: 'postgres',
    strikes: () => [
      {
        step: '512_all',
        moment: 'checkpoint',
        nth: 3,
        name: 'agent of 512_all killed, its newest checkpoint truncated',
        act: cutNewestCheckpoint,
      },
    ],
    judge: ({ events }) => {
      const saved = events.flatMap((event) => (event.type === 'checkpoint' && event.data.step === '512_all' ? [event.data.at] : []));
      const resumed = events.flatMap(({ type, data }) =>
        type === 'attempt' && data.step === '512_all' && data.checkpointId !== undefined ? [data.at] : [],
      );
      const isNoted = events.some((event) => event.type === 'note' && /is not valid and is skipped/.test(event.message));
      return [
        ...(isNoted ? [] : ['no note says that a checkpoint was skipped']),
        ...(saved.some((at) => at === resumed[0]) ? [] : ['512_all did not resume from an earlier checkpoint']),
      ];
    },
  },
  {
    name: 'the leader sleeps past its expiry while another leads',
    touchedBy: ['apps/controller', 'libs/db'],
    seconds: 70,
    backend: 'postgres',
    controllers: 2,
    strikes: () => [
      { step: '384', moment: 'running', name: 'leader put to sleep at 384:running until another has become the leader', act: stopLeader },
    ],
    judge: () => [],
  },
  {
    name: 'S3 limits requests, hangs, and restarts with Redis',
    touchedBy: ['libs/storage', 'apps/worker/train'],
    seconds: 80,
    backend: 'redis and s3',
    strikes: storageOutages,
    judge: ({ events }) =>
      ['384', '512_finetune'].flatMap((step) => (attemptsOf(events, step) === 1 ? [] : [`${step} was started again because S3 was away`])),
  },
];

function storageOutages({ valkey, s3, s3Proxy }: Servers): Strike[] {
  if (valkey === null || s3 === null || s3Proxy === null) return [];
  const busy = { status: 503, code: 'SlowDown' };
  const nothing = () => undefined;
  return [
    outage(s3Proxy, { step: '384', moment: 'checkpoint', name: 'S3 answers 503' }, { verdict: busy, begin: nothing, end: nothing }),
    outage(
      s3Proxy,
      { step: '512_finetune', moment: 'checkpoint', name: 'S3 hangs' },
      { verdict: 'pass', begin: () => process.kill(s3.pid(), 'SIGSTOP'), end: () => process.kill(s3.pid(), 'SIGCONT') },
    ),
    outage(
      s3Proxy,
      { step: 'extract_index', moment: 'running', name: 'Redis and S3 crash' },
      {
        verdict: 'pass',
        begin: () => Promise.all([valkey.end('SIGKILL'), s3.end()]),
        end: () => Promise.all([valkey.start(), s3.start()]),
      },
    ),
  ];
}

type Outage = { verdict: Verdict; begin(): unknown; end(): unknown };

/** S3 must have received a request in the meantime. */
function outage(s3Proxy: S3Proxy, { step, moment, name }: Transition & { name: string }, { verdict, begin, end }: Outage): Strike {
  return {
    step,
    moment,
    name: `${name} for ${storageOutageMs / 1000} s at ${step}:${moment}`,
    act: async (scene) => {
      let asked = 0;
      s3Proxy.decide = () => {
        asked += 1;
        return verdict;
      };
      await begin();
      const over = async (): Promise<void> => {
        await sleep(storageOutageMs, scene.signal);
        s3Proxy.decide = () => 'pass';
        await end();
        if (asked === 0) throw new CairnError('program_failed', `S3 received no request during: ${name}`);
      };
      scene.meanwhile(over());
      return true;
    },
  };
}

/** Empties Redis when a task is waiting in its queue, which no worker takes in the meantime. */
async function emptyOfNextTask({ signal }: Scene, valkey: TestValkey): Promise<void> {
  const queues = openQueues({ url: valkey.url, log: createLogger({ name: 'faults', level: 'error' }) });
  try {
    const end = Date.now() + waitLimitMs;
    while ((await queues.counts('tasks')).waiting === 0) {
      if (Date.now() > end) throw new CairnError('program_failed', 'no task appeared in the queue');
      await sleep(50, signal);
    }
    await valkey.empty();
  } finally {
    await queues.close();
  }
}

/** Lets the sleeping attempt continue once its step is done; it must end by itself, because it was refused. */
async function wakeAsZombie({ service, client, runId, signal }: Scene, attemptId: string): Promise<void> {
  const end = Date.now() + waitLimitMs;
  const isOver = async () =>
    (await client.getRun(runId, { signal })).stepViews.some((step) => step.name === 'search' && step.state === 'succeeded');
  const processes = () => processesByAttempt().get(attemptId) ?? [];
  try {
    while (!(await isOver()) && Date.now() < end) await sleep(200, signal);
  } finally {
    for (const identity of processes()) signalProcess(identity, 'SIGCONT');
  }
  while (processes().length > 0) {
    if (Date.now() > end) throw new CairnError('program_failed', 'the zombie continues although its step is done');
    await sleep(100, signal);
  }
  let code = await exitCodeOf(service, attemptId);
  for (; code === null && Date.now() < end; code = await exitCodeOf(service, attemptId)) await sleep(100, signal);
  if (code !== agentExit.superseded)
    throw new CairnError('program_failed', `the zombie was not refused: its agent ended with code ${code}`);
  const { items } = await client.listAttempts(runId, 'search', { signal });
  const state = items.find((attempt) => attempt.id === attemptId)?.state;
  if (state !== 'lost') throw new CairnError('program_failed', `the attempt that was lost became ${state} when it woke`);
}

/** The exit code of the attempt's agent as the task worker saw it; null before that. */
async function exitCodeOf(service: Service, attemptId: string): Promise<number | null> {
  const ended = z.object({ attemptId: z.literal(attemptId), code: z.number() });
  for (const line of (await readFile(service.home.logFile('worker'), 'utf8')).split('\n')) {
    if (!line.includes(attemptId)) continue;
    const parsed = ended.safeParse(JSON.parse(line));
    if (parsed.success) return parsed.data.code;
  }
  return null;
}

async function cutNewestCheckpoint(scene: Scene): Promise<boolean> {
  const attemptId = await signalAgent(scene, '512_all', 'SIGKILL');
  const newest = scene.events.flatMap(({ type, data }) => (type === 'checkpoint' && data.step === '512_all' ? [data.at] : [])).at(-1);
  if (attemptId === null || newest === undefined) return false;
  const name = `step-${String(newest).padStart(8, '0')}.pt`;
  await truncate(join(scene.service.home.storageDir, 'staging', attemptId, 'checkpoints', name), 1000);
  return true;
}

/** The leader is stopped, and a spare becomes the leader when its lease has expired. It wakes after that. */
async function stopLeader(scene: Scene): Promise<boolean> {
  const { leader } = await scene.client.getFleet({ signal: scene.signal });
  const program = scene.service.programs.find((one) => leader?.holder.includes(`-${one.pid()}-`));
  if (!program || !leader) return false;
  signalProgram(scene, program.name, 'SIGSTOP');
  scene.meanwhile(wakeAfterAnotherLed(scene, program.name, leader.epoch));
  return true;
}

/** Another must be the leader, and take the run at least one step further, before the old leader wakes. */
async function wakeAfterAnotherLed(scene: Scene, program: string, epoch: number): Promise<void> {
  const { client, signal } = scene;
  const end = Date.now() + waitLimitMs;
  const isPast = async () => ((await client.getFleet({ signal })).leader?.epoch ?? 0) > epoch;
  const isFurther = () =>
    scene.events.some(({ type, data }) => type === 'attempt' && data.step === '384_finetune' && data.state === 'running');
  try {
    while (!((await isPast()) && isFurther())) {
      if (Date.now() > end) throw new CairnError('program_failed', 'no other controller became the leader and continued');
      await sleep(100, signal);
    }
  } finally {
    signalProgram(scene, program, 'SIGCONT');
  }
}

function attemptsOf(events: readonly RunEvent[], step: string): number {
  return events.filter((event) => event.type === 'attempt' && event.data.step === step && event.data.state === 'created').length;
}

function sameCurve(played: Played, reference: Played, step: string): boolean {
  const curve = reference.losses[step];
  return curve !== undefined && JSON.stringify(curve) === JSON.stringify(played.losses[step]);
}
