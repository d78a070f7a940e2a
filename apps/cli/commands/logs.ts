import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { boundedBody, type CairnClient, type StepLogPiece } from '@cairn/client';
import { type AttemptView, CairnError, type LogMatches, type LogStream, logStream } from '@cairn/contract';
import { makeFolder, pathBelow } from '@cairn/runtime';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { findRun, findStep } from '../find-run.ts';
import type { Style } from '../output/style.ts';
import { plural } from '../output/units.ts';
import { visibleLogLine } from '../output/visible-text.ts';
import { wholeNumber } from './options.ts';

type LogsOptions = { follow?: true; attempt?: number; stream: LogStream | 'all'; search?: string };

export function addLogs({ program, action }: Registrar): void {
  program
    .command('logs <run> <step>')
    .description('prints the log of a step over all its attempts')
    .option('-f, --follow', 'continues until the step ends')
    .option('--search <text>', 'only the lines that contain this text, in any case, each with its number')
    .option('--attempt <number>', 'only this attempt, counted from 1', wholeNumber(1, 1_000_000))
    .addOption(new Option('--stream <stream>', 'which of its streams').choices([...logStream.options, 'all']).default('all'))
    .action(action(logs));
}

async function logs({ ui, signal, client }: Session, text: string, step: string, options: LogsOptions): Promise<undefined> {
  if (options.search !== undefined && options.follow)
    throw new CairnError('invalid_request', '--search and --follow exclude each other', {
      details: { remedy: 'A search ends at the end of the log; follow it through grep.' },
    });
  const api = await client();
  const found = await findRun(api, text, signal);
  const run = await api.getRun(found.id, { signal });
  const view = findStep(run, step);
  if (view.reusedFrom !== null) {
    ui.note(`${step} was reused: its log is that of \`cairn logs ${view.reusedFrom.runName} ${step}\`.`);
    return undefined;
  }
  const streams: LogStream[] = options.stream === 'all' ? ['agent', 'stdout', 'stderr'] : [options.stream];
  if (options.search !== undefined) {
    const attempts = (await api.listAttempts(run.id, step, { signal })).items.filter(
      ({ ordinal }) => options.attempt === undefined || ordinal === options.attempt,
    );
    let lines = 0;
    for await (const match of matchesOf(api, { attempts, streams, q: options.search, signal })) {
      lines += 1;
      const { ordinal, stream, line, text: found } = match;
      if (ui.isJson) ui.jsonLine(match);
      else ui.stdout.write(`${ui.style.dim(`${ordinal} ${stream.padEnd(6)} ${line} |`)} ${visibleLogLine(found, ui.style)}\n`);
    }
    if (lines === 0) ui.note(ui.style.dim(`No line of ${step} contains it.`));
    return undefined;
  }
  const printer = createLogPrinter((line) => ui.stdout.write(`${line}\n`), ui.style);
  let attempts = 0;
  const pieces = api.followStepLogs({ runId: run.id, step, streams, ordinal: options.attempt, follow: options.follow === true, signal });
  for await (const piece of pieces) {
    attempts += 1;
    if (ui.isJson) ui.jsonLine(piece);
    else printer.add(piece);
  }
  printer.end();
  if (attempts === 0) ui.note(ui.style.dim(`${step} has no log${view.attempts === 0 ? `: it is ${view.state}` : ' yet'}.`));
  return undefined;
}

type Search = { attempts: readonly AttemptView[]; streams: readonly LogStream[]; q: string; signal: AbortSignal };

/** The lines that contain a text, attempt by attempt and stream by stream. */
async function* matchesOf(api: CairnClient, { attempts, streams, q, signal }: Search) {
  for (const { id: attemptId, ordinal } of attempts) {
    for (const stream of streams) {
      for (let from: number | null = 1; from !== null; ) {
        const page: LogMatches = await api.searchLog(attemptId, { q, stream, from, limit: 1_000 }, { signal });
        for (const match of page.matches) yield { attemptId, ordinal, stream, ...match };
        from = page.next;
      }
    }
  }
}

/** Characters of a line kept until it ends: a program that never ends its lines must not fill the memory. */
const maxLineChars = 1024 * 1024;

/** The source of a line: shown before it as soon as there is more than one. */
type Source = { ordinal: number; stream: LogStream; rest: string };

/**
 * Joins the pieces of several streams into whole lines, so that none is split by another's. Each line has
 * the attempt and stream it comes from when there are several.
 */
export function createLogPrinter(write: (line: string) => void, style: Pick<Style, 'dim' | 'warn' | 'isColoured'>) {
  const sources = new Map<string, Source>();
  const label = ({ ordinal, stream }: Source): string => {
    const all = [...sources.values()];
    const parts = [
      ...(all.some((other) => other.ordinal !== ordinal) ? [String(ordinal)] : []),
      ...(all.some((other) => other.stream !== stream) ? [stream.padEnd(6)] : []),
    ];
    return parts.length === 0 ? '' : `${(stream === 'stderr' ? style.warn : style.dim)(parts.join(' '))} ${style.dim('|')} `;
  };
  return {
    add: (piece: StepLogPiece): void => {
      const key = `${piece.attemptId}/${piece.stream}`;
      const source = sources.get(key) ?? { ordinal: piece.ordinal, stream: piece.stream, rest: '' };
      sources.set(key, source);
      const lines = (source.rest + piece.text).split('\n');
      source.rest = lines.pop() ?? '';
      for (const line of lines) write(label(source) + visibleLogLine(line, style));
      if (source.rest.length <= maxLineChars) return;
      write(label(source) + visibleLogLine(source.rest, style));
      source.rest = '';
    },
    /** Writes what follows the last line break of each stream. */
    end: (): void => {
      for (const source of sources.values()) if (source.rest !== '') write(label(source) + visibleLogLine(source.rest, style));
    },
  };
}

export function addTensorBoard({ program, action }: Registrar): void {
  program
    .command('tensorboard <run>')
    .description("downloads a run's event files for TensorBoard: one folder per training stage and attempt")
    .requiredOption('--out <folder>', 'the folder to create, for `tensorboard --logdir`')
    .action(action(download));
}

async function download({ ui, signal, client }: Session, text: string, { out }: { out: string }): Promise<undefined> {
  const api = await client();
  const found = await findRun(api, text, signal);
  const run = await api.getRun(found.id, { signal });
  const files: string[] = [];
  for (const step of run.stepViews.filter(({ kind }) => kind === 'train')) {
    if (step.reusedFrom !== null) ui.note(`${step.name} was reused: its curves are those of run ${step.reusedFrom.runName}.`);
    for (const attempt of (await api.listAttempts(run.id, step.name, { signal })).items) {
      const { items } = await api.listTensorBoardFiles(attempt.id, { signal });
      if (items.length === 0) continue;
      const folder = pathBelow(out, step.name, `attempt-${attempt.ordinal}`);
      await makeFolder(folder);
      for (const { name, bytes } of items) {
        const path = pathBelow(folder, name);
        const response = await api.openTensorBoardFile(attempt.id, name, signal);
        const tooLong = (): CairnError =>
          new CairnError('protocol_mismatch', `${name} of ${step.name} has more than the ${bytes} bytes that the service listed`, {
            details: { remedy: 'Download the event files again.' },
          });
        await pipeline(boundedBody(response, bytes, tooLong), createWriteStream(path), { signal });
        files.push(path);
      }
    }
  }
  ui.json({ files });
  if (files.length === 0) ui.note(`${run.name} has no event files: they are stored when a training attempt ends.`);
  else ui.line(`${plural(files.length, 'file')} in ${out}. View them with \`tensorboard --logdir ${out}\`.`);
  return undefined;
}
