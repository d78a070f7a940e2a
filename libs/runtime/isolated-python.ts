import { join } from 'node:path';

const start = join(import.meta.dirname, '../../docker/trainer/cairn_trainer/start.py');

/**
 * The arguments after the interpreter that run a module of docker/trainer, or a program by its path. Isolated: neither the current folder,
 * which may hold anything, nor PYTHONPATH nor the user's own packages are imported from. Every start of Python goes through here.
 */
export function isolatedPython(moduleOrFile: string, args: readonly string[]): string[] {
  // In place of PYTHONUNBUFFERED and PYTHONFAULTHANDLER, which isolated mode does not read.
  return ['-I', '-u', '-X', 'faulthandler', start, moduleOrFile, ...args];
}

/** The environment for it: what the program starts in turn shall not read Python's variables either. */
export function withoutPythonVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  const others = Object.entries(env).filter(([name]) => !name.startsWith('PYTHON'));
  return { ...Object.fromEntries(others), PYTHONSAFEPATH: '1', PYTHONNOUSERSITE: '1' };
}
