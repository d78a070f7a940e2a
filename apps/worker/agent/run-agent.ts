import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { createInternalClient, type InternalClient } from '@cairn/client';
import { type AttemptSpec, agentExit, CairnError, type FinishRequest, isCairnError, isFleetKind, stepVersions } from '@cairn/contract';
import {
  claimWorkDir,
  createLogger,
  type Gpu,
  killAttemptProcesses,
  type Logger,
  readConfiguration,
  readDatasetRoots,
  readGpus,
  sparedByAgent,
  useProxies,
  writeExit,
} from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import rootPackage from '../../../package.json' with { type: 'json' };
import { createReporter, type Reporter } from '../report/reporter.ts';
import { type AgentConfiguration, agentVariables } from './configuration.ts';
import { failure, failureOf } from './failure.ts';
import { runAttempt } from './runners.ts';
import { createStop, enforceDeadline, type Stop } from './stop.ts';

const remainsLimitMs = 5000;

/**
 * Runs one attempt to its end: claims it, does its work, reports how it ended. Returns the exit code of the process, one of
 * `agentExit`. Whatever happens, the last action is to record that code.
 */
export async function runAgent(env: Readonly<Record<string, string | undefined>>): Promise<number> {
  let configuration: AgentConfiguration;
  try {
    configuration = readConfiguration(agentVariables, env);
    useProxies(env);
  } catch (error) {
    if (!isCairnError(error, 'invalid_configuration')) throw error;
    process.stderr.write(`error: ${error.message}\n`);
    return agentExit.configuration;
  }
  const { CAIRN_WORK_DIR: workDir, CAIRN_ATTEMPT_ID: attemptId, CAIRN_ATTEMPT_GENERATION: generation } = configuration;
  mkdirSync(workDir, { recursive: true });
  if (!claimWorkDir(workDir, { attemptId, generation })) {
    process.stderr.write(`error: another process runs ${attemptId} in ${workDir}; exiting\n`);
    return agentExit.superseded;
  }
  let code: number = agentExit.failed;
  try {
    code = await runClaimed(configuration, env);
  } catch (error) {
    process.stderr.write(`error: ${error instanceof Error ? error.stack : String(error)}\n`);
  }
  writeExit(workDir, code);
  return code;
}

async function runClaimed(configuration: AgentConfiguration, env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const stop = createStop();
  const reporterOf: { current: Reporter | null } = { current: null };
  const log = createLogger({ name: 'agent', level: configuration.CAIRN_LOG_LEVEL, destination: logDestination(reporterOf) });
  const callOff = enforceDeadline(stop, configuration.CAIRN_DEADLINE_SECONDS, configuration.CAIRN_STOP_GRACE_SECONDS);
  const crash = stopOnSignals(stop, configuration.CAIRN_STOP_GRACE_SECONDS, () => reporterOf.current?.poke());
  const client = createInternalClient({
    urls: configuration.CAIRN_INTERNAL_URL,
    attemptId: configuration.CAIRN_ATTEMPT_ID,
    generation: configuration.CAIRN_ATTEMPT_GENERATION,
    token: configuration.CAIRN_ATTEMPT_TOKEN,
    signal: stop.ended,
    onRetry: ({ failures, error }) => {
      // One line at the start of an outage and then increasingly rarely: the log goes to the control plane that is away.
      if (Number.isInteger(Math.log2(failures))) log.warn({ failures, why: messageOf(error) }, 'the control plane does not answer');
    },
  });
  try {
    await client.start({ host: hostname(), pid: process.pid, instance: randomUUID(), version: rootPackage.version, stepVersions });
    return await work(configuration, env, { stop, client, log, reporterOf, crash });
  } catch (error) {
    if (isOver(error)) log.info(`the attempt is over for the control plane: ${messageOf(error)}`);
    else log.error({ err: error }, 'the attempt cannot run or its end cannot be reported');
    return isOver(error) ? agentExit.superseded : agentExit.failed;
  } finally {
    callOff();
    reporterOf.current?.close();
    // No process of the attempt outlives its agent, not even those in their own sessions.
    await killAttemptProcesses([configuration.CAIRN_ATTEMPT_ID], { except: sparedByAgent, limitMs: remainsLimitMs });
  }
}

type Parts = { stop: Stop; client: InternalClient; log: Logger; reporterOf: { current: Reporter | null }; crash: Promise<never> };

/** From the claimed attempt to the answer of its `finish`. Throws what prevents that, most often `superseded`. */
async function work(
  configuration: AgentConfiguration,
  env: Readonly<Record<string, string | undefined>>,
  { stop, client, log, reporterOf, crash }: Parts,
): Promise<number> {
  let outcome: FinishRequest;
  try {
    const spec = await client.spec();
    const reporter = createReporter({
      client,
      workDir: configuration.CAIRN_WORK_DIR,
      heartbeatSeconds: spec.heartbeatSeconds,
      signal: stop.ended,
      onReply: ({ directive, cause, reason, graceSeconds }) => {
        if (directive === 'stop')
          stop.ask({ cause: cause ?? 'preempted', reason: reason ?? 'the control plane asked for it', graceSeconds });
      },
      onRefused: (error) => stop.end(error),
      onTrouble: (message) => log.warn(message),
    });
    reporterOf.current = reporter;
    log.info(`attempt ${spec.attempt.ordinal} of ${spec.step.name} (run ${spec.run.name}) starts on ${hostname()}`);
    stop.asked.throwIfAborted();
    await reportGpus({ kind: spec.kind, count: configuration.CAIRN_GPUS, env, log, signal: stop.asked });
    const context = {
      spec,
      client,
      reporter,
      store: openStore(configuration.CAIRN_STORAGE_URL),
      datasetRoots: await readDatasetRoots(configuration),
      imageCache:
        configuration.CAIRN_IMAGE_CACHE === undefined
          ? null
          : { folder: configuration.CAIRN_IMAGE_CACHE, bytes: configuration.CAIRN_IMAGE_CACHE_GIB * 2 ** 30 },
      workDir: configuration.CAIRN_WORK_DIR,
      stop,
      log,
      python: configuration.CAIRN_PYTHON,
      gpus: configuration.CAIRN_GPUS,
      env: withoutSecrets(env),
    };
    outcome = await Promise.race([runAttempt(context), crash, endOf(stop.ended)]);
  } catch (error) {
    stop.ended.throwIfAborted();
    if (isOver(error)) throw error;
    // Interrupted work fails in many ways; none of them is a failure of the attempt.
    outcome = stop.asked.aborted ? stop.outcome('stopped') : failureOf(error);
    if (outcome.outcome === 'failed') log.error({ err: error }, 'the attempt failed');
  }
  log.info(`the attempt ended: ${outcome.outcome}${outcome.outcome === 'succeeded' ? '' : `: ${outcome.message}`}`);
  await reporterOf.current?.end();
  return exitCodeOf(await reportEnd(client, outcome, log));
}

/**
 * Reports how the attempt ended. An end that the control plane will never accept (files of another attempt, a body that is too large) is
 * reported as a failure that says so: the attempt is over, and a person learns why.
 */
async function reportEnd(client: Pick<InternalClient, 'finish'>, outcome: FinishRequest, log: Logger): Promise<FinishRequest> {
  try {
    await client.finish(outcome);
    return outcome;
  } catch (error) {
    if (!isCairnError(error, 'invalid_request', 'invalid_path', 'payload_too_large')) throw error;
    log.error({ err: error }, 'the control plane rejects the result of the attempt');
    const refused = failure('infrastructure', 'internal', `The result of the attempt (${outcome.outcome}) was rejected: ${error.message}`);
    await client.finish(refused);
    return refused;
  }
}

/** SIGTERM, SIGINT and SIGHUP ask the attempt to stop, however often they come. The promise rejects with uncaught errors. */
function stopOnSignals(stop: Stop, graceSeconds: number, onStop: () => void): Promise<never> {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      stop.ask({ cause: 'interrupted', reason: signal, graceSeconds });
      // The answer to a report may say why.
      onStop();
    });
  }
  const { promise, reject } = Promise.withResolvers<never>();
  process.on('uncaughtException', reject);
  process.on('unhandledRejection', reject);
  promise.catch(() => undefined);
  return promise;
}

/** Rejects with the signal's reason once it is aborted. */
function endOf(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  promise.catch(() => undefined);
  return promise;
}

/** Log lines go to standard error, for the program that launched this one, and to the control plane once the reporter exists. */
function logDestination(reporterOf: { current: Reporter | null }): { write(line: string): void } {
  return {
    write(line) {
      process.stderr.write(line);
      reporterOf.current?.log('agent', line);
    },
  };
}

function withoutSecrets(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined || name === 'CAIRN_ATTEMPT_TOKEN' ? [] : [[name, value]])),
  );
}

/** True for refusals after which nothing may be written any more. */
function isOver(error: unknown): error is CairnError {
  return (
    isCairnError(error, 'superseded', 'step_version_mismatch', 'not_found') &&
    (error.code !== 'not_found' || typeof error.details.requestId === 'string')
  );
}

function exitCodeOf({ outcome }: FinishRequest): number {
  switch (outcome) {
    case 'succeeded':
      return agentExit.ok;
    case 'failed':
      return agentExit.failed;
    default:
      return agentExit.preempted;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** CUDA 13 has no kernels for chips before Turing, and ONNX Runtime's provider is built for CUDA 13: docs/adr/031. */
const leastForOnnxRuntime = 7.5;

type Given = { kind: AttemptSpec['kind']; count: number; env: NodeJS.ProcessEnv; log: Logger; signal: AbortSignal };

/**
 * Writes the GPUs of an attempt into its log, by nvidia-smi. Throws `invalid_configuration` where ONNX Runtime cannot run on them; the
 * trainer knows by itself for which GPUs its torch is built.
 */
async function reportGpus({ kind, count, env, log, signal }: Given): Promise<void> {
  if (count === 0) return;
  let gpus: Gpu[];
  try {
    gpus = await readGpus({ env, signal });
  } catch (error) {
    signal.throwIfAborted();
    log.warn(`nvidia-smi does not describe the GPUs: ${error instanceof Error ? error.message.trim() : String(error)}`);
    return;
  }
  for (const gpu of gpus) log.info(describe(gpu));
  const old = gpus.filter(({ computeCapability }) => computeCapability !== null && computeCapability < leastForOnnxRuntime);
  // CUDA lists the fastest first, so old ones beside enough new ones are not used.
  if (!isFleetKind(kind) || old.length === 0 || gpus.length - old.length >= count) return;
  const names = old.map(({ name, computeCapability }) => `${name} has compute capability ${computeCapability?.toFixed(1)}`);
  throw new CairnError(
    'invalid_configuration',
    `The GPU ${[...new Set(names)].join(', ')}; ONNX Runtime needs ${leastForOnnxRuntime}. Use another GPU, or a pool without.`,
  );
}

function describe({ index, name, driver, memoryMib, computeCapability }: Gpu): string {
  const memory = memoryMib === null ? 'memory not known' : `${(memoryMib / 1024).toFixed(1)} GiB`;
  const capability = computeCapability === null ? 'not known' : computeCapability.toFixed(1);
  return `GPU ${index}: ${name}, ${memory}, driver ${driver}, compute capability ${capability}`;
}
