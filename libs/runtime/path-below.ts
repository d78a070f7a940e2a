import { join, resolve, sep } from 'node:path';
import { CairnError } from '@cairn/contract';

/**
 * A path below a folder, made of names that another program gave: none of them may lead out of it.
 *
 * @throws CairnError `invalid_path`
 */
export function pathBelow(folder: string, ...names: string[]): string {
  const path = join(folder, ...names);
  const isBelow = resolve(path).startsWith(resolve(folder).replace(/\/?$/, sep));
  const isPlain = names.every((name) => !/[\\/\0]/.test(name) && name !== '' && name !== '.' && name !== '..');
  if (isBelow && isPlain) return path;
  throw new CairnError(
    'invalid_path',
    `${names.map((name) => JSON.stringify(name)).join(', ')} would lead out of ${folder}; nothing was written there`,
    {
      details: { remedy: 'The service gave a name that is not valid: check that its address is right.' },
    },
  );
}
