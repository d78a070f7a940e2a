import { CairnError } from '@cairn/contract';
import { backoff, deadline, type Logger, pause } from '@cairn/runtime';
import type Docker from 'dockerode';
import type { ContainerCreateOptions } from 'dockerode';
import { z } from 'zod';
import { attemptLabel } from '../attempt-containers.ts';
import { containerEvent, inspectedContainer, listedContainer } from './container-objects.ts';

const requestLimitMs = 30_000;
const logLines = 400;

type EngineApi = ReturnType<typeof engineApi>;
type Filters = Record<string, string[]>;

/** The calls that the executor makes, each with a time limit. Failures are CairnErrors. */
export function engineApi(docker: Docker) {
  const where = addressOf(docker);

  /** `statusOf` its failure is the engine's status, if it answered. */
  async function call<T>(what: string, signal: AbortSignal, work: (options: { abortSignal: AbortSignal }) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    try {
      return await work({ abortSignal: deadline(signal, requestLimitMs) });
    } catch (cause) {
      signal.throwIfAborted();
      throw explain(what, where, cause);
    }
  }

  return {
    where,

    list: (labels: readonly string[], signal: AbortSignal) =>
      call('the containers', signal, async (options) => {
        const filters: Filters = { label: [...labels] };
        return z.array(listedContainer).parse(await docker.listContainers({ all: true, filters, ...options }));
      }),

    inspect: (idOrName: string, signal: AbortSignal) =>
      orNull(() =>
        call(`container ${idOrName}`, signal, async (options) =>
          inspectedContainer.parse(await docker.getContainer(idOrName).inspect(options)),
        ),
      ),

    create: (container: ContainerCreateOptions & { name: string }, signal: AbortSignal) =>
      call(`container ${container.name}`, signal, async (options) => (await docker.createContainer({ ...container, ...options })).id),

    /** Unpacks a tar in a folder of the container, which need not be running. */
    putFiles: (id: string, folder: string, tar: Buffer, signal: AbortSignal) =>
      call(`files of container ${id}`, signal, async (options) => {
        await docker.getContainer(id).putArchive(tar, { path: folder, ...options });
      }),

    start: (id: string, signal: AbortSignal) =>
      unless(304, () =>
        call(`container ${id}`, signal, async (options) => {
          await docker.getContainer(id).start(options);
        }),
      ),

    terminate: (id: string, signal: AbortSignal) =>
      // 409: it is not running.
      unless(409, () =>
        unless(404, () =>
          call(`container ${id}`, signal, async (options) => {
            await docker.getContainer(id).kill({ signal: 'SIGTERM', ...options });
          }),
        ),
      ),

    /** Returns when it has ended; the engine continues when the caller no longer waits. */
    async stop(id: string, graceSeconds: number): Promise<void> {
      await docker.getContainer(id).stop({ t: Math.max(0, Math.round(graceSeconds)) });
    },

    /** Including its anonymous volumes; kills it if it runs. */
    remove: (id: string, signal: AbortSignal) =>
      // 409: its removal is in progress.
      unless(409, () =>
        unless(404, () =>
          call(`container ${id}`, signal, async (options) => {
            await docker.getContainer(id).remove({ force: true, v: true, ...options });
          }),
        ),
      ),

    log: (id: string, signal: AbortSignal) =>
      call(`the log of container ${id}`, signal, async (options) =>
        demultiplex(await docker.getContainer(id).logs({ stdout: true, stderr: true, tail: logLines, ...options })),
      ),

    /** Events from now on, until `signal`. */
    events: (labels: readonly string[], signal: AbortSignal): Promise<NodeJS.ReadableStream> =>
      docker.getEvents({
        filters: { type: ['container'], event: ['start', 'die', 'oom', 'destroy'], label: [...labels] },
        abortSignal: signal,
      }),

    /** Names of volumes that no container uses. */
    unusedVolumes: (labels: readonly string[], signal: AbortSignal) =>
      call('the volumes', signal, async (options) => {
        const filters: Filters = { label: [...labels], dangling: ['true'] };
        const { Volumes } = await docker.listVolumes({ filters, ...options });
        return Volumes.map(({ Name }) => Name);
      }),

    removeVolume: (name: string, signal: AbortSignal) =>
      unless(404, () =>
        call(`volume ${name}`, signal, async (options) => {
          await docker.getVolume(name).remove(options);
        }),
      ),
  };
}

const engineFailure = z.object({ statusCode: z.number(), json: z.object({ message: z.string() }).optional().catch(undefined) });
const connectionFailure = z.object({ code: z.string() });

/** The engine's HTTP status behind an error of these calls; null when it did not answer. */
export function statusOf(error: unknown): number | null {
  const cause = error instanceof Error ? error.cause : undefined;
  return engineFailure.safeParse(cause).data?.statusCode ?? null;
}

function explain(what: string, where: string, cause: unknown): CairnError {
  const answer = engineFailure.safeParse(cause).data;
  const words = answer?.json?.message ?? (cause instanceof Error ? cause.message : String(cause));
  if (answer) {
    const code = answer.statusCode >= 500 ? 'unavailable' : 'invalid_configuration';
    return new CairnError(code, `The Docker engine at ${where} refused ${what}: ${words}`, { cause });
  }
  const code = connectionFailure.safeParse(cause).data?.code ?? words;
  const remedy = code === 'EACCES' ? "give this program's user access to it" : 'start it, or correct DOCKER_HOST';
  return new CairnError('unavailable', `The Docker engine at ${where} does not answer (${code}): ${remedy}`, { cause });
}

function addressOf(docker: Docker): string {
  const { socketPath, host, port } = z
    .object({ socketPath: z.unknown(), host: z.string().optional(), port: z.coerce.string().optional() })
    .parse(docker.modem);
  if (host) return port ? `${host}:${port}` : host;
  return typeof socketPath === 'string' ? `unix://${socketPath}` : 'its default socket';
}

async function unless(status: number, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (statusOf(error) !== status) throw error;
  }
}

async function orNull<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (statusOf(error) === 404) return null;
    throw error;
  }
}

/** Stream, three zero bytes, length of the payload. */
const headerBytes = 8;

/** The text of a container's log as the engine sends it: frames of standard output and standard error, in order. */
export function demultiplex(frames: Buffer): string {
  const parts: Buffer[] = [];
  let at = 0;
  while (at + headerBytes <= frames.length) {
    const length = frames.readUInt32BE(at + 4);
    parts.push(frames.subarray(at + headerBytes, at + headerBytes + length));
    at += headerBytes + length;
  }
  return Buffer.concat(parts).toString('utf8');
}

type FollowEventsOptions = {
  api: EngineApi;
  labels: readonly string[];
  onEvent(attemptId: string): void;
  /** The stream is open: earlier events must be fetched separately. */
  onOpen(): Promise<void>;
  log: Logger;
};

/** A connection may die silently: the stream is reopened after this long. */
const streamMs = 300_000;
const retry = { baseMs: 250, maxMs: 10_000 };

/** Follows the events of the pool's containers until it is closed: reopens the stream whenever it ends. */
export function followEvents({ api, labels, onEvent, onOpen, log }: FollowEventsOptions) {
  const closing = new AbortController();
  const { signal } = closing;
  let isOpen = false;

  async function follow(limit: AbortSignal): Promise<void> {
    const stream = await api.events(labels, AbortSignal.any([signal, limit]));
    isOpen = true;
    await onOpen();
    let rest = '';
    // Not by `readline`, which ignores the errors of its input.
    for await (const chunk of stream) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const attemptId = containerEvent.parse(JSON.parse(line)).Actor.Attributes[attemptLabel];
        if (attemptId !== undefined) onEvent(attemptId);
      }
    }
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      const limit = AbortSignal.timeout(streamMs);
      try {
        await follow(limit);
      } catch (error) {
        if (signal.aborted) return;
        if (limit.aborted) {
          failures = 0;
          continue;
        }
        // One line at the start of an outage, and then increasingly rarely.
        if (Number.isInteger(Math.log2(failures + 1))) log.warn({ err: error, failures: failures + 1 }, 'containers cannot be watched');
      }
      failures = isOpen ? 1 : failures + 1;
      isOpen = false;
      await pause(backoff({ attempt: failures, ...retry }), signal);
    }
  }

  const running = run();
  return {
    isOpen: () => isOpen,
    async close() {
      closing.abort(new Error('the executor is closed'));
      await running;
      isOpen = false;
    },
  };
}
