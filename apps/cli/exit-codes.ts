import { problemOfError, remedyOf } from '@cairn/client';
import { CairnError, configurationExit, type ErrorCode, type RunGate, type RunVerdict, type RunView } from '@cairn/contract';
import { createStyle } from './output/style.ts';
import type { TextOutput } from './output/ui.ts';
import { jsonText, visibleText } from './output/visible-text.ts';

/** The exit codes of `cairn`: the one table, shown by --help and in the reference. */
export const exitCodes = {
  ok: { code: 0, meaning: 'done; with --wait, watch or retry --wait: the run succeeded' },
  failed: { code: 1, meaning: 'the run failed, or another error' },
  badInput: {
    code: 2,
    meaning: 'wrong usage or input: an option, a recipe, a setting, a dataset, a name, a port in use; a quality gate that cannot be judged',
  },
  cancelled: { code: 3, meaning: 'the run was cancelled' },
  gateFailed: { code: 4, meaning: 'the run succeeded, but its quality gate failed' },
  notAllowed: { code: 5, meaning: 'no valid token, or insufficient role' },
  unreachable: { code: 6, meaning: 'the service cannot be reached or is unable to answer' },
  inconclusive: { code: 7, meaning: 'the quality gate could not decide: too few queries, or a difference within chance' },
  timeout: { code: 8, meaning: 'the run was not over within --timeout; it continues' },
  misconfigured: {
    code: configurationExit,
    meaning: 'invalid configuration: an environment variable, the home folder, the interpreter of Python',
  },
  interrupted: { code: 130, meaning: 'interrupted by Ctrl-C; a run that was watched continues' },
} as const;

/** Exit codes of errors that do not follow from who can fix them. */
const byErrorCode: Partial<Record<ErrorCode, number>> = {
  unauthenticated: exitCodes.notAllowed.code,
  forbidden: exitCodes.notAllowed.code,
  unavailable: exitCodes.unreachable.code,
  rate_limited: exitCodes.unreachable.code,
  port_in_use: exitCodes.badInput.code,
  invalid_configuration: exitCodes.misconfigured.code,
};

/** The exit code of a command that ended with an error. */
export function exitCodeOfError(error: unknown): number {
  if (!(error instanceof CairnError)) return exitCodes.failed.code;
  const isInput = error.row.fix === 'caller' || error.row.fix === 'data owner';
  return byErrorCode[error.code] ?? (isInput ? exitCodes.badInput.code : exitCodes.failed.code);
}

const codeOfVerdict: Record<RunVerdict, number> = {
  none: exitCodes.ok.code,
  passed: exitCodes.ok.code,
  failed: exitCodes.gateFailed.code,
  inconclusive: exitCodes.inconclusive.code,
};

/** The exit code for a verdict. `onInconclusive`: what the caller makes of a gate that cannot decide. */
export function exitCodeOfVerdict(verdict: RunVerdict, onInconclusive: RunGate['onInconclusive']): number {
  if (verdict !== 'inconclusive' || onInconclusive === null) return codeOfVerdict[verdict];
  return onInconclusive === 'pass' ? exitCodes.ok.code : exitCodes.gateFailed.code;
}

/** The exit code of a command that waited for a run: that of the run's end and its gate. */
export function exitCodeOfRun({ state, verdict, gate }: Pick<RunView, 'state' | 'verdict' | 'gate'>): number {
  if (state === 'cancelled') return exitCodes.cancelled.code;
  if (state === 'failed') return exitCodes.failed.code;
  if (gate?.state === 'refused') return exitCodes.badInput.code;
  return exitCodeOfVerdict(gate?.judgement?.verdict ?? verdict, gate?.onInconclusive ?? null);
}

/** The table as text for --help. */
export function exitCodesHelp(): string {
  const lines = Object.values(exitCodes).map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`);
  return `\nExit codes:\n${lines.join('\n')}\n`;
}

/** A signal that comes again this soon is the same one: sent by the terminal and again by npm. */
const repeatMs = 500;

/**
 * Is aborted at the first Ctrl-C, SIGTERM or SIGHUP (its terminal closed), so that the program ends cleanly; a second one ends it at once, with 130.
 */
export function interruptOf(process: NodeJS.Process): AbortSignal {
  const controller = new AbortController();
  let lastAt = Number.NEGATIVE_INFINITY;
  const stop = (name: NodeJS.Signals): void => {
    const isRepeated = performance.now() - lastAt < repeatMs;
    if (controller.signal.aborted && !isRepeated) process.exit(130);
    lastAt = performance.now();
    controller.abort(new DOMException(`got ${name}`, 'AbortError'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', stop);
  // `cairn runs | head` closes the pipe early: that is not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (controller.signal.aborted) return;
    if (error.code === 'EPIPE') process.exit(0);
    // A closed terminal accepts no more output, which may be noticed before SIGHUP comes; work in progress ends cleanly.
    controller.abort(new DOMException(`nothing can be written any more (${error.code})`, 'AbortError'));
  });
  process.stderr.on('error', () => undefined);
  return controller.signal;
}

type PrintErrorOptions = { stderr: TextOutput; isJson: boolean; isColoured: boolean; isDebug: boolean };

/** Prints an error: for people `error:` and `hint:`, for programs its problem document as one line of JSON. */
export function printError(error: unknown, { stderr, isJson, isColoured, isDebug }: PrintErrorOptions): void {
  if (isJson) {
    stderr.write(`${jsonText(problemOfError(error))}\n`);
    return;
  }
  const style = createStyle(isColoured);
  const lines = errorLines(error).map(({ label, text }) => {
    const shown = visibleText(text);
    if (label === null) return style.dim(shown);
    return `${label === 'error' ? style.bad('error:') : style.accent(`${label}:`)} ${shown}`;
  });
  stderr.write(`${lines.join('\n')}\n`);
  if (isDebug || !(error instanceof CairnError)) stderr.write(`${style.dim(visibleText(stackOf(error)))}\n`);
}

type ErrorLine = { label: 'error' | 'hint' | null; text: string };

/** The lines of an error for people, in order. */
function errorLines(error: unknown): ErrorLine[] {
  if (!(error instanceof CairnError)) {
    return [
      { label: 'error', text: `internal error in cairn: ${error instanceof Error ? error.message : String(error)}` },
      { label: 'hint', text: 'Report it with the lines below.' },
    ];
  }
  const { frame, requestId } = error.details;
  const isServerFault = error.code === 'internal' && typeof requestId === 'string' && requestId !== '';
  return [
    { label: 'error', text: error.message },
    ...(typeof frame === 'string' ? [{ label: null, text: frame }] : []),
    { label: 'hint', text: remedyOf(error) },
    ...(isServerFault ? [{ label: null, text: `request ${requestId}` }] : []),
  ];
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const cause = error.cause === undefined ? '' : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
