import { readFile } from 'node:fs/promises';
import { CairnError, isCairnError, type PoolRoom } from '@cairn/contract';
import { deadline, type Logger, sleep } from '@cairn/runtime';
import type Docker from 'dockerode';
import { attemptLabel, type PoolIdentity, poolLabels, tokenVariable } from '../attempt-containers.ts';
import { type Executor, type Launched, type LaunchSpec, oneAtATime, overdue, type Snapshot, type StopRequest } from '../executor.ts';
import { attemptFiles, diagnose, type InspectedContainer, identityOf, type ListedContainer } from './container-objects.ts';
import {
  chooseDevices,
  containerName,
  containerOptions,
  type DockerPoolSettings,
  freeDevices,
  gpuLabel,
  stateDir,
} from './container-spec.ts';
import { engineApi, followEvents, statusOf } from './engine-api.ts';

export type DockerExecutorOptions = PoolIdentity & { settings: DockerPoolSettings; docker: Docker; log: Logger };

const reapEveryMs = 60_000;
const requestLimitMs = 30_000;
/** An executor that finds a container that is created and not started leaves it to its creator for this long. */
const creatorLimitMs = 5_000;
/** A repeated stop is only sent if it ends this much sooner. */
const soonerMs = 2_000;
const tailCharacters = 16 * 1024;
const over = new Set(['exited', 'dead']);

/**
 * Runs attempts as containers of one engine. All state is in the engine, found by labels, so that any
 * executor of the same instance and pool adopts them. Watches from its creation on.
 */
export function dockerExecutor(options: DockerExecutorOptions): Executor {
  const { settings, log } = options;
  const owner: PoolIdentity = { instance: options.instance, pool: options.pool };
  const ours = Object.entries(poolLabels(owner)).map(([key, value]) => `${key}=${value}`);
  const api = engineApi(options.docker);
  const listeners = new Set<(attemptId: string) => void>();
  const closing = new AbortController();
  const attempts = oneAtATime();
  /** Of containers that have ended, which no longer change. */
  const ended = new Map<string, InspectedContainer>();
  /** When a container will be killed by an earlier stop. */
  const kills = new Map<string, number>();
  let reapedAt = Date.now();

  const notify = (attemptId: string) => {
    for (const listener of listeners) listener(attemptId);
  };
  const events = followEvents({
    api,
    labels: ours,
    log,
    onEvent: notify,
    async onOpen() {
      for (const { Labels } of await api.list(ours, closing.signal)) notify(Labels[attemptLabel] ?? '');
    },
  });

  const listOf = (attemptId: string, signal: AbortSignal) => api.list([...ours, `${attemptLabel}=${attemptId}`], signal);
  const limited = () => deadline(closing.signal, requestLimitMs);

  async function launch(spec: LaunchSpec, signal: AbortSignal): Promise<Launched> {
    const name = containerName(spec);
    for (const container of await listOf(spec.attemptId, signal)) {
      const generation = identityOf(container.Labels)?.generation ?? 0;
      if (generation > spec.generation) {
        throw new CairnError(
          'superseded',
          `Generation ${generation} of ${spec.attemptId} was started already; ${spec.generation} is too old`,
        );
      }
      if (generation < spec.generation) await api.remove(container.Id, signal);
    }
    // One at a time: each choice of devices must see the previous one.
    const made = await attempts.run('devices', () => create(spec, signal));
    if (made !== null) await begin(made, spec, signal);
    else await adopt(spec, signal);
    return { place: `container ${name}`, handle: name };
  }

  /** Null when a container of this name exists. */
  async function create(spec: LaunchSpec, signal: AbortSignal): Promise<string | null> {
    if ((await api.inspect(containerName(spec), signal)) !== null) return null;
    const devices = chooseDevices(settings, await holders(signal));
    if (devices === null) throw new CairnError('unavailable', `Too few GPUs are free on the Docker engine at ${api.where}`);
    try {
      return await api.create(containerOptions(spec, owner, settings, devices), signal);
    } catch (error) {
      const status = statusOf(error);
      if (status === 409) return null;
      if (status === 404) {
        const remedy = `pull or build it there: docker pull ${settings.image}`;
        throw new CairnError('image_not_pulled', `The Docker engine at ${api.where} has no image ${settings.image}; ${remedy}`, {
          cause: error,
        });
      }
      if (status !== null && isCairnError(error)) throw new CairnError('container_not_created', error.message, { cause: error });
      throw error;
    }
  }

  /** A container that another controller created, or this one before it was killed. */
  async function adopt(spec: LaunchSpec, signal: AbortSignal): Promise<void> {
    const name = containerName(spec);
    for (const limit = Date.now() + creatorLimitMs; ; await sleep(200, signal)) {
      const container = await api.inspect(name, signal);
      if (container === null) {
        // Its name is taken a moment before it is visible.
        if (Date.now() < limit) continue;
        throw new CairnError('unavailable', `Container ${name} existed and is gone; the next try creates it`);
      }
      const identity = identityOf(container.Config.Labels);
      if (identity?.attemptId !== spec.attemptId || identity.generation !== spec.generation) {
        throw new CairnError('invalid_configuration', `Container ${name} exists and does not belong to this attempt; remove it`);
      }
      if (container.State.Status !== 'created' || container.State.Error !== '') return;
      if (Date.now() < limit) continue;
      await begin(container.Id, spec, signal);
      return;
    }
  }

  async function begin(id: string, spec: LaunchSpec, signal: AbortSignal): Promise<void> {
    const { envFile, runAsUser } = settings;
    const more = envFile === undefined ? '' : await readEnvFile(envFile);
    const secrets = `${tokenVariable}=${spec.env[tokenVariable] ?? ''}\n${more}`;
    await api.putFiles(id, stateDir, await attemptFiles(secrets, runAsUser), signal);
    try {
      await api.start(id, signal);
    } catch (error) {
      // The engine's reason is the end of the attempt, and is reported as such.
      if (statusOf(error) === null || !(await api.inspect(id, signal))?.State.Error) throw error;
      notify(spec.attemptId);
    }
  }

  /** Labels of the containers that hold GPUs, including those of other pools. */
  async function holders(signal: AbortSignal): Promise<Record<string, string>[]> {
    if (settings.gpus === 'none') return [];
    const holding = (await api.list([gpuLabel], signal)).filter((container) => !over.has(container.State));
    return holding.map((container) => container.Labels);
  }

  async function observe(signal: AbortSignal): Promise<Snapshot[]> {
    const containers = newest(await api.list(ours, signal));
    await clean(signal);
    const snapshots: Snapshot[] = [];
    for (const container of containers) {
      const snapshot = await snapshotOf(container, signal);
      if (snapshot !== null) snapshots.push(snapshot);
    }
    const ids = new Set(containers.map((container) => container.Id));
    for (const known of [ended, kills]) for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
    return snapshots;
  }

  /** Null when it was removed after it was listed. */
  async function snapshotOf({ Id, Labels, Names, State, Created }: ListedContainer, signal: AbortSignal): Promise<Snapshot | null> {
    const identity = identityOf(Labels);
    if (identity === null) return null;
    const place = `container ${Names[0]?.replace(/^\//, '') ?? Id}`;
    const base = { ...identity, place };
    if (State === 'running') {
      // It is started right after its creation.
      const finding = overdue(settings, Created * 1000, Date.now());
      return { ...base, phase: 'running', exitCode: null, message: kills.has(Id) ? 'ending' : State, finding };
    }
    const inspected = ended.get(Id) ?? (await api.inspect(Id, signal));
    if (inspected === null) return null;
    if (over.has(inspected.State.Status)) ended.set(Id, inspected);
    return { ...base, ...diagnose(inspected, Date.now()) };
  }

  async function stop(attemptId: string, { graceSeconds }: StopRequest): Promise<void> {
    const killAt = Date.now() + graceSeconds * 1000;
    for (const { Id, State } of await listOf(attemptId, limited())) {
      if (over.has(State) || (kills.get(Id) ?? Number.POSITIVE_INFINITY) <= killAt + soonerMs) continue;
      if (State === 'created') {
        await api.remove(Id, limited());
        continue;
      }
      // Recorded before this returns; the engine itself then counts the grace period, whatever happens to this program.
      await api.terminate(Id, limited());
      kills.set(Id, killAt);
      api.stop(Id, graceSeconds).catch((error: unknown) => log.debug({ err: error, attemptId }, 'the end of a stop was not observed'));
    }
  }

  async function forget(attemptId: string): Promise<void> {
    for (const { Id } of await listOf(attemptId, limited())) await api.remove(Id, limited());
  }

  /** Removes the volumes that containers removed by hand have left. */
  async function clean(signal: AbortSignal): Promise<void> {
    if (Date.now() - reapedAt < reapEveryMs) return;
    reapedAt = Date.now();
    try {
      for (const name of await api.unusedVolumes(ours, signal)) await api.removeVolume(name, signal);
    } catch (error) {
      if (!isCairnError(error)) throw error;
      log.warn({ err: error, pool: owner.pool }, 'volumes without a container could not be removed; retrying');
    }
  }

  async function capacity(signal: AbortSignal, live: ReadonlySet<string>): Promise<PoolRoom | null> {
    const { gpus, gpuDevices } = settings;
    if (gpus === 'none') return null;
    const each = gpus === 'all' ? gpuDevices.length : gpus;
    const free = freeDevices(gpuDevices, await holders(signal)).length;
    const present = (await api.list(ours, signal)).filter((container) => !over.has(container.State));
    const placed = new Set(present.map((container) => container.Labels[attemptLabel] ?? ''));
    const promised = [...live].filter((attemptId) => !placed.has(attemptId)).length;
    const sentences = [`the Docker engine at ${api.where}: ${free} of ${gpuDevices.length} GPUs free`];
    const leaving = [...placed].filter((attemptId) => !live.has(attemptId)).length;
    const fits = Math.max(0, Math.floor(free / each));
    const node = { name: api.where, gpus: { total: gpuDevices.length, free, unhealthy: 0 }, fits, refusal: null };
    return { fits: Math.max(0, fits - promised), leaving, sentences, nodes: [node] };
  }

  return {
    start: (spec, signal) => attempts.run(spec.attemptId, () => launch(spec, signal)),
    stop: (attemptId, request) => attempts.run(attemptId, () => stop(attemptId, request)),
    observe,
    async isGone(attemptId, signal) {
      return (await listOf(attemptId, signal)).every((container) => over.has(container.State));
    },
    capacity,
    isWatching: () => events.isOpen(),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    forget: (attemptId) => attempts.run(attemptId, () => forget(attemptId)),
    async logs(attemptId) {
      try {
        const container = newest(await listOf(attemptId, limited()))[0];
        return container ? (await api.log(container.Id, limited())).slice(-tailCharacters) : '';
      } catch (error) {
        // A log is for people: an attempt ends without it too.
        if (isCairnError(error)) return '';
        throw error;
      }
    },
    async close() {
      listeners.clear();
      await events.close();
      closing.abort(new Error('the executor is closed'));
      await attempts.settled();
    },
  };
}

/** The container of each attempt's newest generation: older ones are ended before it starts. */
function newest(containers: readonly ListedContainer[]): ListedContainer[] {
  const found = new Map<string, ListedContainer>();
  const generationOf = (container: ListedContainer | undefined) => (container && identityOf(container.Labels)?.generation) ?? -1;
  for (const container of containers) {
    const attemptId = identityOf(container.Labels)?.attemptId;
    if (attemptId !== undefined && generationOf(found.get(attemptId)) < generationOf(container)) found.set(attemptId, container);
  }
  return [...found.values()];
}

async function readEnvFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CairnError('invalid_configuration', `The envFile of the pool cannot be read: ${why}`, { cause });
  }
}
