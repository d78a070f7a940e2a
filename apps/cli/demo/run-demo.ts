import { join } from 'node:path';
import { type CairnClient, createClient } from '@cairn/client';
import { isCairnError, type RunView } from '@cairn/contract';
import { makeMini } from '../commands/mini.ts';
import { artifactsOf } from '../commands/show.ts';
import { serviceLines, stopService, untilInterrupted } from '../commands/up.ts';
import { exitCodeOfRun, exitCodes } from '../exit-codes.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration } from '../output/units.ts';
import { visibleText } from '../output/visible-text.ts';
import { type Service, startService } from '../service/start-service.ts';
import { showRun } from '../watch/show-run.ts';
import { demoDataset } from './demo-dataset.ts';
import type { DemoOptions } from './demo-options.ts';
import { demoSummary, furtherLines } from './demo-summary.ts';
import { printFailure } from './print-failure.ts';
import { whatIsMissing } from './what-is-missing.ts';

export type DemoContext = { ui: Ui; env: Readonly<Record<string, string | undefined>>; signal: AbortSignal; now: () => Date };

/** Places of the pool: the recipes made for the demo train with two ranks. */
const slots = 2;

/**
 * The demo: makes the collection, starts the service, submits the recipe by REST, shows it, and ends with what came of it.
 * Gives the exit code of the run.
 */
export async function runDemo(options: DemoOptions, context: DemoContext): Promise<number> {
  const { ui, signal } = context;
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const dataset = demoDataset(options);
  await makeMini({ ...dataset, ui, signal });
  const service = await startDemoService(options, context);
  try {
    ui.line(`Cairn is up at ${ui.style.bold(service.url)}  ${ui.style.dim(`${formatDuration(seconds())} since the start`)}`);
    const client = createClient({ url: service.url, token: service.token, readText: visibleText });
    const run = await submitDemo(client, dataset, options, context);
    const code = exitCodeOfRun(run);
    if (code === exitCodes.ok.code) {
      const artifacts = await artifactsOf(client, run, signal);
      for (const line of demoSummary({ run, artifacts, seconds: seconds() }, { ...ui, now: context.now() })) ui.line(line);
    } else {
      await printFailure(client, run, { ui, signal });
    }
    for (const line of furtherLines(run, { home: options.home, isKept: options.isKept }, ui)) ui.line(line);
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

/** On the usual ports when they are free: then the address is the one of the documentation. */
async function startDemoService(options: DemoOptions, { ui, env, signal }: DemoContext): Promise<Service> {
  const start = (port: number, internalPort: number): Promise<Service> =>
    startService({
      home: options.home,
      port,
      internalPort,
      slots,
      python: env.CAIRN_PYTHON,
      env,
      tell: (line) => ui.note(ui.style.warn(line)),
      signal,
    });
  try {
    return await start(8080, 8081);
  } catch (error) {
    if (!isCairnError(error, 'port_in_use')) throw error;
    ui.note(ui.style.dim(`${error.message}; the demo takes free ports.`));
    return start(0, 0);
  }
}

type DemoDataset = ReturnType<typeof demoDataset>;

async function submitDemo(
  client: CairnClient,
  { name, out }: DemoDataset,
  options: DemoOptions,
  { ui, signal, now }: DemoContext,
): Promise<RunView> {
  const source = { kind: 'folder' as const, root: join(out, 'images'), metadata: join(out, 'metadata'), countries: join(out, 'countries') };
  const dataset = await client.addDataset({ name, source }, { signal });
  const submission = { recipe: options.recipe, dataset: `${dataset.name}@${dataset.version}`, set: options.set };
  const missing = whatIsMissing(await client.planRun(submission, { signal }), { slots, home: options.home });
  if (missing !== null) throw missing;
  const run = await client.submitRun(submission, { signal });
  ui.line(`submitted ${ui.style.bold(run.name)}: recipe ${run.recipe} on ${run.dataset}`);
  ui.line('');
  try {
    return await showRun({ client, runId: run.id, ui, signal, now });
  } catch (error) {
    if (isCairnError(error, 'unavailable')) ui.note(`The service is gone; its logs lie in ${join(options.home, 'logs')}.`);
    throw error;
  }
}
