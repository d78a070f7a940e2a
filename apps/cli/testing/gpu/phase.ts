import { isolatedPython, untilAborted, withoutPythonVariables } from '@cairn/runtime';
import type { PhaseReport } from './check-report.ts';
import { ProgramFailure, type ProgramRun, runWell } from './run-bounded.ts';

/** What a phase is given. */
export type PhaseContext = {
  /** Toy sizes, on a CPU. */
  isDry: boolean;
  /** A folder of its own. */
  folder: string;
  /** The interpreter that has torch. */
  python: string;
  /** Aborted when the phase's time is over. */
  signal: AbortSignal;
  secondsLeft(): number;
  /** Keeps a figure, also when the phase fails later. Figures of one name that are lists grow. */
  record(name: string, figure: unknown): void;
  /** A line of progress. */
  say(text: string): void;
  /** Does one of several measurements of a phase: when it fails that is recorded, and the others are done; null then. */
  attempt<T>(what: string, measure: () => Promise<T>): Promise<T | null>;
};
export type Phase = (context: PhaseContext) => Promise<void>;

type Timing = {
  name: string;
  folder: string;
  python: string;
  isDry: boolean;
  limitSeconds: number;
  signal: AbortSignal;
  now?: () => number;
};

/** Runs one phase within its time. Never throws: what went wrong is in the report. */
export async function runPhase(
  phase: Phase,
  { name, limitSeconds, signal, now = Date.now, ...given }: Timing,
): Promise<Omit<PhaseReport, 'name'>> {
  const began = now();
  const figures: Record<string, unknown> = {};
  const failures: PhaseReport['failures'] = [];
  const over = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(limitSeconds * 1000))]);
  const secondsLeft = () => Math.max(0, limitSeconds - (now() - began) / 1000);
  const say = (text: string) => console.log(`[${name}, ${secondsLeft().toFixed(0)} s left] ${text}`);
  const context: PhaseContext = {
    ...given,
    signal: over,
    secondsLeft,
    say,
    record(figure, value) {
      const before = figures[figure];
      figures[figure] = Array.isArray(value) && Array.isArray(before) ? [...before, ...value] : value;
    },
    async attempt(what, measure) {
      over.throwIfAborted();
      try {
        return await measure();
      } catch (error) {
        if (over.aborted) throw error;
        failures.push(failureOf(error, what));
        say(`${what} failed: ${messageOf(error)}`);
        return null;
      }
    },
  };
  let isOver = false;
  try {
    await untilAborted(phase(context), over);
  } catch (error) {
    isOver = over.aborted;
    failures.push(failureOf(error, isOver ? 'the time was over' : 'the phase failed'));
    say(isOver ? 'the time is over' : `failed: ${messageOf(error)}`);
  }
  const outcome = isOver ? 'out of time' : failures.length > 0 ? 'failed' : 'done';
  return { outcome, seconds: Number(((now() - began) / 1000).toFixed(1)), figures, failures };
}

function failureOf(error: unknown, what: string): PhaseReport['failures'][number] {
  return { message: `${what}: ${messageOf(error)}`, lastLines: error instanceof ProgramFailure ? error.lastLines : [] };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

type PythonRun = Pick<ProgramRun, 'what'> & Partial<Pick<ProgramRun, 'limitMs' | 'onStart'>>;

/** How a phase runs a module or file of Python. */
export function pythonRun({ python, signal }: PhaseContext, moduleOrFile: string, args: readonly string[], options: PythonRun): ProgramRun {
  return {
    limitMs: 120_000,
    ...options,
    command: python,
    args: isolatedPython(moduleOrFile, args),
    env: withoutPythonVariables(process.env),
    signal,
  };
}

/** Runs Python that prints one JSON value as its last line. */
export async function askPython(context: PhaseContext, file: string, args: readonly string[], what: string): Promise<unknown> {
  const out = await runWell(pythonRun(context, file, args, { what }));
  return JSON.parse(out.trimEnd().split('\n').at(-1) ?? '');
}
