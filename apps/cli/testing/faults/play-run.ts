import { join } from 'node:path';
import { type CairnClient, createClient } from '@cairn/client';
import { CairnError, isEndedRun, type RunEvent, type RunView } from '@cairn/contract';
import { deadline, processesByAttempt } from '@cairn/runtime';
import type { Service } from '../../service/start-service.ts';
import { startTestService } from '../start-test-service.ts';
import type { Strike } from './strike.ts';
import { furtherSteps, scanFleet, type Transition, transitionOf } from './transitions.ts';

export type PlayOptions = {
  home: string;
  dataset: string;
  python: string;
  env: Readonly<Record<string, string | undefined>>;
  queueUrl?: string;
  /** `s3://...`; a folder in the home by default. */
  storageUrl?: string;
  controllers?: number;
  /** In the order in which the run reaches them. */
  strikes: readonly Strike[];
  /** Settings that make the run small. */
  set: Readonly<Record<string, unknown>>;
  print: (line: string) => void;
  signal: AbortSignal;
};

/** The results of a run, for comparing with an uninterrupted one. */
export type Played = {
  run: RunView;
  events: RunEvent[];
  submissionDigest: string;
  mapAt100: number;
  /** The contents of what the fleet of the search and the steps of {@link furtherSteps} made. */
  digests: Record<string, string | null>;
  /** The loss of each training step: steps and values. */
  losses: Record<string, [number[], number[]]>;
  /** Names of the strikes whose transition the run never passed, or which found no victim. */
  missed: string[];
  passed: Transition[];
  seconds: number;
};

/** A run in which nothing happens for this long does not end. How long all of it takes depends on the machine. */
const quietLimitMs = 300_000;
const runLimitMs = 30 * 60_000;

/** Runs the recipe `tiny`, searched by a fleet and with {@link furtherSteps}, in its own service, strikes at each fault's transition, and waits for the end. */
export async function playRun(options: PlayOptions): Promise<Played> {
  const quiet = new AbortController();
  const quietTimer = setTimeout(() => quiet.abort(new Error(`Nothing has happened for ${quietLimitMs / 1000} s`)), quietLimitMs);
  const signal = AbortSignal.any([deadline(options.signal, runLimitMs), quiet.signal]);
  const began = performance.now();
  const service = await startTestService({
    home: options.home,
    python: options.python,
    env: options.env,
    variables: {
      ...(options.queueUrl === undefined ? {} : { CAIRN_QUEUE_URL: options.queueUrl }),
      ...(options.storageUrl === undefined ? {} : { CAIRN_STORAGE_URL: options.storageUrl }),
    },
    controllers: options.controllers ?? 1,
    datasetRoots: [options.dataset],
    onEvent: options.print,
    signal,
  });
  try {
    // An api that was just killed takes seconds to come back on a busy machine.
    const client = createClient({ url: service.url, token: service.token, tries: 10 });
    const images = join(options.dataset, 'images');
    const source = {
      kind: 'folder' as const,
      root: images,
      metadata: join(options.dataset, 'metadata'),
      countries: join(options.dataset, 'countries'),
    };
    await client.addDataset({ name: 'mini', source }, { signal });
    const { recipe: tiny } = await client.getRecipe('tiny', { signal });
    const recipe = { ...tiny, search: { ...tiny.search, fleet: scanFleet }, steps: { ...furtherSteps } };
    const { id } = await client.submitRun({ recipe, dataset: 'mini', set: options.set }, { signal });
    const { events, missed } = await followRun(service, client, id, options, { signal, onEvent: () => quietTimer.refresh() });
    const run = await client.getRun(id, { signal });
    return {
      ...(await outcome(client, run, signal)),
      run,
      events,
      missed,
      passed: events.flatMap((event) => transitionOf(event) ?? []),
      seconds: (performance.now() - began) / 1000,
    };
  } catch (error) {
    for (const line of await lastState(service)) options.print(line);
    throw error;
  } finally {
    clearTimeout(quietTimer);
    await service.close();
  }
}

/** The state of a run that did not end as it should: its steps, its attempts, and their processes. */
async function lastState(service: Service): Promise<string[]> {
  const client = createClient({ url: service.url, token: service.token });
  const signal = AbortSignal.timeout(10_000);
  const running = processesByAttempt();
  try {
    const lines: string[] = [];
    for (const { id } of (await client.listRuns({}, { signal })).items) {
      const run = await client.getRun(id, { signal });
      lines.push(`${run.name} ${run.state}`);
      for (const step of run.stepViews) {
        lines.push(`  ${step.name} ${step.state}${step.waiting ? `: ${step.waiting.sentence}` : ''}`);
        for (const attempt of (await client.listAttempts(id, step.name, { signal })).items) {
          const pids = (running.get(attempt.id) ?? []).map((one) => one.pid);
          lines.push(
            `    attempt ${attempt.ordinal} ${attempt.state} on ${attempt.place ?? attempt.pool}; processes: ${pids.join(' ') || 'none'}`,
          );
        }
      }
    }
    return lines;
  } catch (error) {
    return [`the service no longer answers: ${error instanceof Error ? error.message : String(error)}`];
  }
}

/** Follows the history to the run's end, like a user, across every outage, and strikes when a strike's turn comes. */
async function followRun(
  service: Service,
  client: CairnClient,
  runId: string,
  { strikes, print }: PlayOptions,
  { signal, onEvent }: { signal: AbortSignal; onEvent: () => void },
): Promise<{ events: RunEvent[]; missed: string[] }> {
  const events: RunEvent[] = [];
  const left = [...strikes];
  const missed: string[] = [];
  const parallel: Promise<void>[] = [];
  const meanwhile = (work: Promise<void>): void => {
    // Awaited below; until then its failure must not end the program.
    work.catch(() => undefined);
    parallel.push(work);
  };
  for await (const message of client.events({ topics: [`run:${runId}`], signal })) {
    if (message.type !== 'event') continue;
    const { event } = message;
    events.push(event);
    onEvent();
    const index = left.findIndex((strike) => isTurnOf(strike, events));
    const [strike] = index >= 0 ? left.splice(index, 1) : [];
    if (strike) {
      const struck = await strike.act({ service, client, runId, events, signal, meanwhile });
      print(`${strike.name}: ${struck ? 'struck' : 'found nothing to strike'}`);
      if (!struck) missed.push(strike.name);
    }
    if (event.type === 'run' && isEndedRun(event.data.state)) break;
  }
  signal.throwIfAborted();
  await Promise.all(parallel);
  return { events, missed: [...missed, ...left.map((strike) => strike.name)] };
}

/** True when the newest event is the `nth` of the strike's transition. */
function isTurnOf({ step, moment, nth = 1 }: Strike, events: readonly RunEvent[]): boolean {
  const isPassing = (event: RunEvent): boolean => {
    const passed = transitionOf(event);
    return passed?.step === step && passed.moment === moment;
  };
  const newest = events.at(-1);
  return newest !== undefined && isPassing(newest) && events.filter(isPassing).length === nth;
}

async function outcome(
  client: CairnClient,
  run: RunView,
  signal: AbortSignal,
): Promise<Pick<Played, 'submissionDigest' | 'mapAt100' | 'digests' | 'losses'>> {
  const evaluate = run.stepViews.find((step) => step.name === 'evaluate');
  if (run.state !== 'succeeded' || !evaluate?.artifact) {
    const failed = run.stepViews.find((step) => step.failure);
    throw new CairnError('program_failed', `the run ${run.state}: ${failed?.name} ${failed?.failure?.message ?? run.cause}`);
  }
  const artifact = await client.getArtifact(evaluate.artifact.id, { signal });
  const submission = artifact.files.find((file) => file.name === 'submission.csv');
  const digests: Played['digests'] = {};
  for (const { name, artifact: made } of run.stepViews)
    if (made !== null && (name === 'scan_index' || Object.hasOwn(furtherSteps ?? {}, name)))
      digests[name] = (await client.getArtifact(made.id, { signal })).digest;
  const losses: Played['losses'] = {};
  for (const { name } of run.stepViews.filter((step) => step.kind === 'train')) {
    const { series } = await client.getMetrics(run.id, name, { names: 'loss' }, { signal });
    losses[name] = [series[0]?.steps ?? [], series[0]?.values ?? []];
  }
  return { submissionDigest: submission?.sha256 ?? 'none', mapAt100: evaluate.scores.mapAt100 ?? Number.NaN, digests, losses };
}
