import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { trainerPython } from './server-program.ts';

const run = promisify(execFile);

/**
 * An interpreter with the packages of a list, each pinned, and no others: programs of others that read what Cairn writes have needs of
 * their own. It is made once for each content of the list, in the user's cache.
 */
export async function pythonWith(list: string, signal: AbortSignal): Promise<string> {
  const own = trainerPython();
  const { XDG_CACHE_HOME } = process.env;
  const folder = join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'cairn', 'python-with');
  const key = createHash('sha256')
    .update(own)
    .update(await readFile(list))
    .digest('hex')
    .slice(0, 16);
  const python = join(folder, key, 'bin', 'python');
  const isThere = () =>
    access(python).then(
      () => true,
      () => false,
    );
  if (await isThere()) return python;
  await mkdir(folder, { recursive: true });
  const making = await mkdtemp(join(folder, `.${key}-`));
  try {
    await run(own, ['-I', '-m', 'venv', '--without-pip', making], { signal });
    // By the pip of the trainer's environment. The list is complete, so nothing is resolved.
    const options = ['--quiet', '--no-input', '--no-deps', '--no-compile', '--disable-pip-version-check'];
    await run(own, ['-I', '-m', 'pip', '--python', join(making, 'bin', 'python'), 'install', ...options, '-r', list], { signal });
    // Another test may have been faster: it made the same.
    await rename(making, join(folder, key)).catch(async (error: unknown) => {
      if (!(await isThere())) throw error;
    });
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return python;
}
