import { CairnError } from '@cairn/contract';
import { exitCodeOfError, exitCodes } from '../exit-codes.ts';
import { interruptOf } from '../interrupt.ts';
import { createUi } from '../output/ui.ts';
import { printError } from '../print-error.ts';
import { parseDemoOptions } from './demo-options.ts';
import { runDemo } from './run-demo.ts';

/** The demo as a program: reads its options, runs it, tells what went wrong. Gives the exit code. */
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
