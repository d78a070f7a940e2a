import { join } from 'node:path';

const start = join(import.meta.dirname, '../../docker/trainer/cairn_trainer/start.py');

/**
 * The arguments after the interpreter that run a module of docker/trainer, or a program by its path. Isolated: nothing is imported from the
 * current folder, which may hold anything, PYTHONPATH or the user's own packages. Every start of Python goes through here.
 */
export function isolatedPython(moduleOrFile: string, args: readonly string[]): string[] {
  // Replaces PYTHONUNBUFFERED and PYTHONFAULTHANDLER, which isolated mode does not read.
  return ['-I', '-u', '-X', 'faulthandler', start, moduleOrFile, ...args];
}

/** Its environment: the program's own children must not read Python's variables either. */
export function withoutPythonVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  const others = Object.entries(env).filter(([name]) => !name.startsWith('PYTHON'));
  return { ...Object.fromEntries(others), PYTHONSAFEPATH: '1', PYTHONNOUSERSITE: '1' };
}
