import process from 'node:process';
import { CairnError } from '@cairn/contract';
import { parseDemoOptions } from './demo/demo-options.ts';
import { runDemo } from './demo/run-demo.ts';
import { exitCodeOfError, exitCodes } from './exit-codes.ts';
import { interruptOf } from './interrupt.ts';
import { createUi } from './output/ui.ts';
import { printError } from './print-error.ts';

const signal = interruptOf(process);
try {
  const options = parseDemoOptions(process.argv.slice(2), process.env);
  if (options === null) process.exit(exitCodes.ok.code);
  const { stdout, stderr, env } = process;
  const ui = createUi({ stdout, stderr, env, isJson: false, isColourWanted: true });
  process.exitCode = await runDemo(options, { ui, env, signal, now: () => new Date() });
} catch (error) {
  const isInterrupt = signal.aborted && !(error instanceof CairnError);
  if (!isInterrupt) {
    printError(error, {
      stderr: process.stderr,
      isJson: false,
      isColoured: process.stderr.isTTY === true && !process.env.NO_COLOR,
      isDebug: Boolean(process.env.CAIRN_DEBUG),
    });
  }
  process.exitCode = isInterrupt ? exitCodes.interrupted.code : exitCodeOfError(error);
}
