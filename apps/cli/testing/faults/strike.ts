import { readFileSync } from 'node:fs';
import type { CairnClient } from '@cairn/client';
import type { RunEvent } from '@cairn/contract';
import { createCloser, processesByAttempt, sleep } from '@cairn/runtime';
import {
  findS3Server,
  findValkeyServer,
  type S3Proxy,
  startS3,
  startS3Proxy,
  startValkey,
  type TestS3,
  type TestValkey,
} from '@cairn/testing';
import type { Service } from '../../service/start-service.ts';
import { type Fault, nameOf, type Transition } from './transitions.ts';

/** A running run, as a strike sees it. */
export type Scene = {
  service: Service;
  client: CairnClient;
  runId: string;
  /** The run's history so far. */
  events: readonly RunEvent[];
  signal: AbortSignal;
  /** Work in parallel with the run, which is not over before it. */
  meanwhile(work: Promise<void>): void;
};

/** What happens at the `nth` passing (by default the first) of a transition. */
export type Strike = Transition & {
  name: string;
  nth?: number;
  /** Returns whether there was something to strike. */
  act(scene: Scene): Promise<boolean>;
};

/** The victim is killed with SIGKILL (PostgreSQL: restarted). */
export function strikeOf(fault: Fault): Strike {
  return { step: fault.step, moment: fault.moment, name: nameOf(fault), act: (scene) => hit(scene, fault) };
}

/** How long to find for a victim: a rank needs seconds from the agent's report to its own start. */
const searchLimitMs = 60_000;

async function hit(scene: Scene, fault: Fault): Promise<boolean> {
  switch (fault.victim) {
    case 'postgres':
      await scene.service.postgres.restart(scene.signal);
      return true;
    case 'controller':
    case 'api':
      return signalProgram(scene, fault.victim, 'SIGKILL');
    case 'tasks':
      return signalProgram(scene, 'worker', 'SIGKILL');
    case 'agent':
      return (await signalAgent(scene, fault.step, 'SIGKILL')) !== null;
    case 'rank':
      return hitRank(scene, fault.step);
  }
}

/** Signals a program of the service; false while it is not running. */
export function signalProgram({ service }: Scene, name: string, signal: NodeJS.Signals): boolean {
  const pid = service.programs.find((program) => program.name === name)?.pid() ?? null;
  if (pid === null) return false;
  process.kill(pid, signal);
  return true;
}

/** Signals the agent of the step's running attempt: the attempt's oldest process. Returns the attempt's id, or null when none runs. */
export async function signalAgent(scene: Scene, step: string, signal: NodeJS.Signals): Promise<string | null> {
  return inAttempt(scene, step, (attemptId) => {
    const agent = processesByAttempt().get(attemptId)?.[0];
    if (agent) process.kill(agent.pid, signal);
    return agent === undefined ? null : attemptId;
  });
}

async function hitRank(scene: Scene, step: string): Promise<boolean> {
  const found = await inAttempt(scene, step, (attemptId) => {
    const rank = (processesByAttempt().get(attemptId) ?? []).find((one) => isRank(one.pid));
    if (rank) process.kill(rank.pid, 'SIGKILL');
    return rank ?? null;
  });
  return found !== null;
}

/** Polls the step's running attempt until `find` returns something; null when none runs, or it finds nothing. */
async function inAttempt<T>({ client, runId, signal }: Scene, step: string, find: (attemptId: string) => T | null): Promise<T | null> {
  const end = Date.now() + searchLimitMs;
  while (Date.now() < end) {
    const { items } = await client.listAttempts(runId, step, { signal });
    const live = items.filter((attempt) => attempt.state === 'running').at(-1);
    if (!live) return null;
    const found = find(live.id);
    if (found !== null) return found;
    await sleep(50, signal);
  }
  return null;
}

/** The launcher forks its ranks: a rank is a process of the trainer whose parent is one too. */
function isRank(pid: number): boolean {
  const parent = Number(read(`/proc/${pid}/status`).match(/^PPid:\s+(\d+)/m)?.[1] ?? 0);
  return isTrainer(pid) && isTrainer(parent);
}

const isTrainer = (pid: number): boolean => read(`/proc/${pid}/cmdline`).includes('cairn_trainer');

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended in the meantime.
    return '';
  }
}

/** Where the queue and the objects of a run are: the service's own database and folder, or separate servers. */
export const backends = ['postgres', 'redis', 'redis and s3'] as const;
export type Backend = (typeof backends)[number];

export type Servers = {
  valkey: TestValkey | null;
  s3: TestS3 | null;
  /** In front of the S3 server: the service knows no other address. */
  s3Proxy: S3Proxy | null;
  stop(): Promise<void>;
};

/** Servers for one run; `python` is the environment that has their programs. */
export async function startServers(backend: Backend, python: string | undefined): Promise<Servers> {
  const place = { python, cacheDir: '' };
  const closer = createCloser();
  try {
    const valkey = backend === 'postgres' ? null : await startValkey({ program: await findValkeyServer(place) });
    closer.add('Valkey', async () => valkey?.stop());
    const s3 = backend === 'redis and s3' ? await startS3({ program: await findS3Server(place) }) : null;
    closer.add('S3', async () => s3?.stop());
    const s3Proxy = s3 === null ? null : await startS3Proxy(s3.port);
    closer.add('the proxy of S3', async () => s3Proxy?.close());
    return { valkey, s3, s3Proxy, stop: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** The service's settings for storing its objects there. */
export function storageOf({ s3, s3Proxy }: Servers): { url: string; env: Record<string, string> } | null {
  if (s3 === null || s3Proxy === null) return null;
  return { url: `s3://${s3.bucket}/faults?endpoint=${s3Proxy.endpoint}`, env: s3.env };
}
