import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename, dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import {
  type AloneEvent,
  type AloneJob,
  type AloneResult,
  aloneEvent,
  CairnError,
  type ErrorCode,
  errorTable,
  isDatasetUrl,
  preprocessing,
} from '@cairn/contract';
import { InvalidArgumentError, Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { createProgressLine } from '../output/live-screen.ts';
import { formatCount, formatDuration, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

type ExtractOptions = {
  model: string;
  list: string;
  source: string;
  kind?: 'folder' | 'tars';
  out: string;
  devices?: (number | null)[];
  imageSize?: number;
  preprocessing?: string;
  batch: number;
  threads: number;
  decodeThreads: number;
  shardRows: number;
  also: string[];
  reuse?: string;
  retryRejected?: true;
};

const workerMain = join(import.meta.dirname, '../../worker/main.ts');

export function addExtract({ program, action }: Registrar): void {
  program
    .command('extract')
    .description('extracts the features of a list of images on this machine, without the service; the same command continues after a kill')
    .requiredOption('--model <file>', 'an exported model, model.onnx')
    .requiredOption('--list <file>', 'a list (Parquet with image_id), or a text file with an id in each line')
    .requiredOption('--source <location>', 'the images: train/, index/ or test/ in a folder, at s3://bucket/prefix, or https:// (tars)')
    .addOption(
      new Option('--kind <kind>', 'a tree a/b/c/id.jpg, or the official tars (default: tars at an address, otherwise folder)').choices([
        'folder',
        'tars',
      ]),
    )
    .requiredOption(
      '--out <location>',
      'the feature set: a folder, or s3://bucket/prefix; a set of a shorter list that is there is extended by the images that it lacks',
    )
    .option(
      '--also <file>',
      'another model with the same preprocessing, which shares the reading and decoding; its set is OUT-NAME by its file (repeatable)',
      (file: string, files: string[]) => [...files, file],
      [] as string[],
    )
    .option('--reuse <location>', 'a set of the same model, preprocessing and source, whose features are taken over')
    .option('--retry-rejected', 'of a complete set, reads the images again that it left out, and only these')
    .option('--devices <devices>', 'cpu, cpu:N for N processes, or GPUs: cuda:0, cuda:0-7, cuda:0,2 (default: cpu)', devices)
    .option('--image-size <pixels>', 'the side of the images, for a model without it in its metadata', wholeNumber(8, 4096))
    .addOption(new Option('--preprocessing <name>', 'for a model without it in its metadata').choices(preprocessing.options))
    .option('--batch <count>', 'images per call of ONNX Runtime', wholeNumber(1, 1024), 32)
    .option('--threads <count>', 'CPU threads of ONNX Runtime in each process', wholeNumber(1, 128), 1)
    .option(
      '--decode-threads <count>',
      'threads that decode images, of each device (default: its share of the cores)',
      wholeNumber(0, 256),
      0,
    )
    .option('--shard-rows <count>', 'images of a shard: a kill loses at most those that are under way', wholeNumber(1, 1_000_000), 4096)
    .action(action(extract));
}

const mostDevices = 64;

/** `cpu`, `cpu:2`, `cuda:0-7`: the number of a GPU, or null for the CPU, for each process. */
function devices(text: string): (number | null)[] {
  const [, processes] = /^cpu(?::(\d{1,2}))?$/.exec(text) ?? [null];
  if (text.startsWith('cpu') && processes !== null) {
    const count = Number(processes ?? 1);
    if (count >= 1 && count <= mostDevices) return Array.from({ length: count }, () => null);
  }
  const [, list] = /^cuda:([\d,-]+)$/.exec(text) ?? [];
  const gpus = list?.split(',').flatMap((range) => {
    const [, first = '', last = first] = /^(\d{1,2})(?:-(\d{1,2}))?$/.exec(range) ?? [];
    return first === '' || Number(last) < Number(first)
      ? []
      : Array.from({ length: Number(last) - Number(first) + 1 }, (_, n) => Number(first) + n);
  });
  if (gpus === undefined || gpus.length === 0 || new Set(gpus).size !== gpus.length || gpus.length > mostDevices)
    throw new InvalidArgumentError(`"${text}" is not cpu, cpu:N, or GPUs such as cuda:0-7.`);
  return gpus;
}

async function extract({ ui, cli, signal }: Session, options: ExtractOptions): Promise<undefined> {
  const began = performance.now();
  let progress: ReturnType<typeof createProgressLine> | null = null;
  const result = await runWorker(jobOf(options), {
    env: cli.env,
    signal,
    onError: (text) => ui.note(text),
    onEvent(event) {
      if (event.type === 'planned') {
        if (event.done > 0) ui.note(`${event.done} of ${plural(event.shards, 'shard')} were done by an earlier run.`);
        progress = createProgressLine(ui, 'extracting');
      } else if (event.type === 'progress') progress?.show(event.done, event.total);
      else if (event.type === 'note') ui.note(event.message);
    },
  }).finally(() => progress?.close());
  ui.json(result);
  const { images, rows, rejected, shards, digest } = result;
  ui.line(
    `${plural(images, 'image')} of the list: ${formatCount(rows)} features, ${formatCount(rejected)} rejected, in ${plural(shards, 'shard')}; ` +
      `each id is there once, and no other.`,
  );
  for (const { prefix, rows: others, rejected: left, digest: otherDigest } of result.also)
    ui.line(`${prefix}: ${formatCount(others)} features, ${formatCount(left)} rejected.  ${ui.style.dim(otherDigest.slice(0, 16))}`);
  ui.line(`Written in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(`${options.out}  ${digest.slice(0, 16)}`)}`);
  return undefined;
}

function jobOf(options: ExtractOptions): AloneJob {
  const { source, imageSize, model, list, batch, threads, decodeThreads, shardRows, also, reuse, retryRejected = false } = options;
  const out = placeOf(options.out, '--out');
  const isUrl = isDatasetUrl(source);
  return {
    model: resolve(model),
    list: resolve(list),
    imageSize: imageSize ?? null,
    preprocessing: preprocessing.nullable().parse(options.preprocessing ?? null),
    source: {
      kind: options.kind ?? (isUrl ? 'tars' : 'folder'),
      root: isUrl ? (source.split('?')[0] ?? '').replace(/\/+$/, '') : resolve(source),
    },
    places: isUrl ? [source] : null,
    out,
    also: also.map((file) => ({ model: resolve(file), prefix: `${out.prefix}-${basename(file, '.onnx')}` })),
    reuse: reuse === undefined ? null : placeOf(reuse, '--reuse'),
    retryRejected,
    devices: options.devices ?? [null],
    ...{ batch, threads, decodeThreads, shardRows },
  };
}

/** A set is a folder in a store: the URL of the store, and its name there. */
function placeOf(out: string, option: '--out' | '--reuse'): AloneJob['out'] {
  if (!isDatasetUrl(out)) {
    const folder = resolve(out);
    return { store: pathToFileURL(dirname(folder)).href, prefix: basename(folder) };
  }
  const [address = '', query] = out.split('?');
  const names = address.replace(/\/+$/, '').split('/');
  const prefix = names.pop() ?? '';
  if (names.length < 3 || prefix === '') {
    throw new CairnError('invalid_request', `${option} ${out} is a whole bucket`, {
      details: { remedy: 'Name a folder in it: s3://bucket/features.' },
    });
  }
  return { store: `${names.join('/')}${query === undefined ? '' : `?${query}`}`, prefix };
}

type Running = {
  env: Session['cli']['env'];
  signal: AbortSignal;
  onEvent: (event: AloneEvent) => void;
  onError: (text: string) => void;
};

/** Time after a request to stop, in which the shards under way may be stored. */
const graceMs = 30_000;

/** Runs the job in a worker, to its result. Throws the error with which it failed. */
async function runWorker(job: AloneJob, { env, signal, onEvent, onError }: Running): Promise<AloneResult> {
  signal.throwIfAborted();
  // In a group of its own: Ctrl-C reaches it as a request to stop from here, and not its children.
  const child = spawn(process.execPath, [workerMain, 'extract'], { env: { ...env }, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const exited = once(child, 'exit');
  let late: NodeJS.Timeout | undefined;
  const stop = (): void => {
    child.kill('SIGTERM');
    late = setTimeout(() => child.kill('SIGKILL'), graceMs);
  };
  signal.addEventListener('abort', stop, { once: true });
  child.stdin.on('error', () => undefined).end(JSON.stringify(job));
  createInterface({ input: child.stderr }).on('line', onError);
  const last: { event: AloneEvent | null } = { event: null };
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      last.event = aloneEvent.parse(JSON.parse(line));
      onEvent(last.event);
    }
    const [code, ended] = await exited;
    signal.throwIfAborted();
    if (last.event?.type === 'done') return last.event.result;
    if (last.event?.type === 'failed') throw new CairnError(codeOf(last.event.code), last.event.message);
    throw new CairnError(
      'program_failed',
      `The extraction ended with ${ended ?? `exit code ${code}`}: run the same command again, it continues`,
    );
  } finally {
    signal.removeEventListener('abort', stop);
    clearTimeout(late);
  }
}

function codeOf(code: string): ErrorCode {
  return Object.hasOwn(errorTable, code) ? (code as ErrorCode) : 'internal';
}
