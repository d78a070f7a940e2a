import { CairnError } from '@cairn/contract';
import { deadline } from '@cairn/runtime';
import type Docker from 'dockerode';
import type { ContainerCreateOptions } from 'dockerode';
import { z } from 'zod';
import { inspectedContainer, listedContainer } from './container-objects.ts';

const requestLimitMs = 30_000;
const logLines = 400;

export type EngineApi = ReturnType<typeof engineApi>;
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
