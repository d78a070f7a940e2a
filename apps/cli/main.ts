import { enableCompileCache } from 'node:module';
import process from 'node:process';

// Without types to strip and code to compile again a command answers in half the time.
enableCompileCache();
const [{ interruptOf }, { runCli }] = await Promise.all([import('./interrupt.ts'), import('./program.ts')]);

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: interruptOf(process),
  now: () => new Date(),
});
