import { join } from 'node:path';
import { type CairnClient, createClient } from '@cairn/client';
import { CairnError, type ImageSource, isCairnError, type RunView } from '@cairn/contract';
import { openStore } from '@cairn/storage';
import { makeMini } from '../commands/mini.ts';
import { artifactsOf } from '../commands/show.ts';
import { serviceLines, stopService, untilInterrupted } from '../commands/up.ts';
import { exitCodeOfError, exitCodeOfRun, exitCodes, interruptOf, printError } from '../exit-codes.ts';
import { createUi, type Ui } from '../output/ui.ts';
import { formatDuration } from '../output/units.ts';
import { visibleLogLine, visibleText } from '../output/visible-text.ts';
import { type Service, startService } from '../service/start-service.ts';
import { failureText } from '../watch/run-lines.ts';
import { showRun } from '../watch/show-run.ts';
import { allowDatasets, type DemoBucket, requireSameStorage, startDemoBucket, uploadCollection } from './demo-bucket.ts';
import { type DemoOptions, demoDataset, missingRequirements, parseDemoOptions } from './demo-options.ts';
import { demoSummary, furtherLines, rerankGains } from './demo-summary.ts';

type DemoContext = { ui: Ui; env: NodeJS.ProcessEnv; signal: AbortSignal; now: () => Date };

/** Slots of the pool: the recipes made for the demo train with two ranks. */
const slots = 2;

/**
 * The demo: makes the collection, starts the service, submits the recipe by REST, shows it, and ends with its results.
 * Returns the exit code of the run.
 */
async function runDemo(options: DemoOptions, context: DemoContext): Promise<number> {
  const { ui, signal } = context;
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const dataset = demoDataset(options);
  await requireSameStorage(options.home, options.storage);
  await makeMini({ ...dataset, ui, signal });
  const bucket = await openBucket(options, context);
  try {
    const source = await sourceOf(dataset, { ...options, bucket }, context);
    return await runOnService({ ...options, bucket, dataset, source }, context, seconds);
  } finally {
    await bucket?.close();
  }
}

type Place = DemoOptions & { bucket: DemoBucket | null };

async function openBucket({ home, storage, images }: DemoOptions, { ui, env, signal }: DemoContext): Promise<DemoBucket | null> {
  if (storage === 'folder' && images === 'folder') return null;
  const bucket = await startDemoBucket({ home, python: env.CAIRN_PYTHON ?? '', signal });
  // Of this process and of the programs that it starts: what else the user has of credentials is for other servers.
  for (const name of ['AWS_SESSION_TOKEN', 'AWS_PROFILE', 'AWS_ENDPOINT_URL']) delete env[name];
  Object.assign(env, bucket.env);
  // The first write creates it.
  try {
    await openStore(bucket.url('')).put('ready', 'ready\n', { signal });
  } catch (error) {
    await bucket.close();
    throw error;
  }
  ui.line(`S3 server with the bucket ${ui.style.bold('cairn-demo')} at ${ui.style.dim(bucket.url(''))}`);
  return bucket;
}

/** Where the service finds the collection. */
async function sourceOf({ out }: DemoDataset, { images, bucket }: Place, { ui, signal }: DemoContext): Promise<ImageSource> {
  if (images === 'folder' || bucket === null)
    return { kind: 'folder', root: join(out, 'images'), metadata: join(out, 'metadata'), countries: join(out, 'countries') };
  const root = await uploadCollection(bucket, out, signal);
  ui.line(`the images are in tars at ${ui.style.bold(root)}`);
  return { kind: 'tars', root, metadata: `${root}/metadata`, countries: `${root}/countries` };
}

type Prepared = Place & { dataset: DemoDataset; source: ImageSource };

async function runOnService(options: Prepared, context: DemoContext, seconds: () => number): Promise<number> {
  const { ui, signal } = context;
  const { dataset, source, bucket } = options;
  const service = await startDemoService(options, context);
  try {
    if (bucket !== null) await allowDatasets(bucket, service.home.datasetRootsFile);
    ui.line(`Cairn is up at ${ui.style.bold(service.url)}  ${ui.style.dim(`${formatDuration(seconds())} since the start`)}`);
    if (service.dashboard !== null) ui.line(`Dashboard: ${ui.style.bold(service.dashboard)}`);
    const client = createClient({ url: service.url, token: service.token, readText: visibleText });
    const run = await submitDemo(client, { name: dataset.name, source }, options, context);
    const code = exitCodeOfRun(run);
    if (code === exitCodes.ok.code) {
      const artifacts = await artifactsOf(client, run, signal);
      const gains = await rerankGains(client, run, artifacts, signal);
      for (const line of demoSummary({ run, artifacts, gains, seconds: seconds() }, { ...ui, now: context.now() })) ui.line(line);
    } else {
      await printFailure(client, run, { ui, signal });
    }
    for (const line of furtherLines(run, options, ui)) ui.line(line);
    if (!options.isKept) return code;
    ui.line('');
    for (const line of serviceLines(service, ui)) ui.line(line);
    await untilInterrupted(signal);
    return code;
  } finally {
    if (options.isKept || signal.aborted) await stopService(service, ui);
    else await service.close();
  }
}

/** On the usual ports if they are free: then the address is the one in the documentation. */
async function startDemoService(options: Place, { ui, env, signal }: DemoContext): Promise<Service> {
  const { storage, bucket } = options;
  const start = (port: number, internalPort: number): Promise<Service> =>
    startService({
      home: options.home,
      port,
      internalPort,
      slots,
      python: env.CAIRN_PYTHON,
      env,
      ...(storage === 's3' && bucket !== null ? { storageUrl: bucket.url('storage') } : {}),
      onEvent: (line) => ui.note(ui.style.warn(line)),
      signal,
    });
  try {
    return await start(8080, 8081);
  } catch (error) {
    if (!isCairnError(error, 'port_in_use')) throw error;
    ui.note(ui.style.dim(`${error.message}; the demo uses free ports.`));
    return start(0, 0);
  }
}

type DemoDataset = ReturnType<typeof demoDataset>;

async function submitDemo(
  client: CairnClient,
  { name, source }: { name: string; source: ImageSource },
  options: DemoOptions,
  { ui, signal, now }: DemoContext,
): Promise<RunView> {
  const dataset = await client.addDataset({ name, source }, { signal });
  const submission = { recipe: options.recipe, dataset: `${dataset.name}@${dataset.version}`, set: options.set };
  const missing = missingRequirements(await client.planRun(submission, { signal }), { slots, home: options.home });
  if (missing !== null) throw missing;
  const run = await client.submitRun(submission, { signal });
  ui.line(`submitted ${ui.style.bold(run.name)}: recipe ${run.recipe} on ${run.dataset}`);
  ui.line('');
  try {
    return await showRun({ client, runId: run.id, ui, signal, now });
  } catch (error) {
    if (isCairnError(error, 'unavailable')) ui.note(`The service is gone; its logs are in ${join(options.home, 'logs')}.`);
    throw error;
  }
}

/** The demo as a program: reads its options, runs it and reports errors. Returns the exit code. */
export async function demoMain(program: NodeJS.Process, env: NodeJS.ProcessEnv): Promise<number> {
  const { stdout, stderr } = program;
  const signal = interruptOf(program);
  try {
    const options = parseDemoOptions(program.argv.slice(2), env);
    if (options === null) return exitCodes.ok.code;
    const ui = createUi({ stdout, stderr, env, isJson: false, isColourWanted: true });
    return await runDemo(options, { ui, env, signal, now: () => new Date() });
  } catch (error) {
    if (signal.aborted && !(error instanceof CairnError)) return exitCodes.interrupted.code;
    printError(error, {
      stderr,
      isJson: false,
      isColoured: stderr.isTTY === true && !env.NO_COLOR,
      isDebug: Boolean(env.CAIRN_DEBUG),
    });
    return exitCodeOfError(error);
  }
}

const tailLines = 30;

/** Prints why a run failed: the failure of each failed step and the end of its last attempt's log. */
async function printFailure(client: CairnClient, run: RunView, { ui, signal }: { ui: Ui; signal: AbortSignal }): Promise<void> {
  for (const step of run.stepViews.filter(({ state }) => state === 'failed')) {
    ui.line('');
    for (const line of failureText(step)) ui.line(ui.style.bad(line));
    const { items } = await client.listAttempts(run.id, step.name, { signal });
    const ordinal = Math.max(0, ...items.map((attempt) => attempt.ordinal));
    let text = '';
    const streams = ['agent', 'stdout', 'stderr'] as const;
    for await (const piece of client.followStepLogs({ runId: run.id, step: step.name, streams, ordinal, follow: false, signal }))
      text += piece.text;
    const lines = text.trimEnd().split('\n').slice(-tailLines);
    if (text.trim() === '') continue;
    ui.line(ui.style.dim(`the end of its log (attempt ${ordinal}):`));
    for (const line of lines) ui.line(`  ${visibleLogLine(line, ui.style)}`);
  }
}
