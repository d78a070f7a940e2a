import { once } from 'node:events';
import type { Registrar, Session } from '../cli.ts';
import { homeOf } from '../connection.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration } from '../output/units.ts';
import type { Service } from '../service/start-service.ts';
import { positiveNumber, wholeNumber } from './options.ts';

type UpOptions = { port: number; internalPort: number; slots: number; gpuHourPrice?: number };

export function addUp({ program, action }: Registrar): void {
  const port = wholeNumber(0, 65_535);
  program
    .command('up')
    .description('starts the whole service on this machine, until Ctrl-C; --home chooses its folder')
    .option('-p, --port <number>', 'port of the API; 0 chooses a free one', port, 8080)
    .option('--internal-port <number>', 'port for the agents; 0 chooses a free one', port, 8081)
    .option('--slots <count>', 'how many ranks and workers may run at a time', wholeNumber(1, 64), 2)
    .option('--gpu-hour-price <amount>', 'the price of an hour of one of them, in your currency, for `cairn ledger`', positiveNumber)
    .action(action(up));
}

async function up({ ui, cli, signal, globals }: Session, options: UpOptions): Promise<undefined> {
  // Loaded when needed: no other command starts programs.
  const { startService } = await import('../service/start-service.ts');
  const began = performance.now();
  const service = await startService({
    ...options,
    home: homeOf(cli.env, globals.home),
    python: cli.env.CAIRN_PYTHON,
    env: cli.env,
    onEvent: (line) => ui.note(ui.style.warn(line)),
    signal,
  });
  ui.line(`${ui.style.good('Cairn is up')} after ${formatDuration((performance.now() - began) / 1000)}`);
  for (const line of serviceLines(service, ui)) ui.line(line);
  ui.json({
    url: service.url,
    dashboard: service.dashboard,
    docs: `${service.url}/docs`,
    tokenFile: service.home.tokenFile,
    home: service.home.path,
    pid: process.pid,
  });
  await untilInterrupted(signal);
  await stopService(service, ui);
  return undefined;
}

/** The service's addresses and folders. */
export function serviceLines(service: Service, { style }: Pick<Ui, 'style'>): string[] {
  const field = (name: string, value: string): string => `  ${style.dim(name.padEnd(10))} ${value}`;
  return [
    ...(service.dashboard === null ? [] : [field('Dashboard:', style.bold(service.dashboard))]),
    field('API', `${style.bold(service.url)}`),
    field('docs', `${service.url}/docs`),
    field('token', `${service.home.tokenFile} ${style.dim('(admin; `cairn` finds it by itself)')}`),
    field('logs', service.home.logFile('*')),
    style.dim('Ctrl-C stops it and its agents; runs continue at the next `cairn up`.'),
  ];
}

/** Stops the service and reports it: agents may take some seconds to save their work. */
export async function stopService(service: Service, ui: Ui): Promise<void> {
  ui.note(`\nStopping: agents save their work; runs continue at the next start. ${ui.style.dim('(Ctrl-C again stops at once.)')}`);
  const began = performance.now();
  await service.close();
  ui.note(`Stopped after ${formatDuration((performance.now() - began) / 1000)}.`);
}

export async function untilInterrupted(signal: AbortSignal): Promise<void> {
  // The service's programs keep the process alive.
  if (!signal.aborted) await once(signal, 'abort');
}
