import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Choosable } from './choose.ts';

const said = /^\/\/ CI runs this when (.+) changes?, else one time in three; it takes about (\d+) s\.$/m;

/**
 * The test files of the cluster tier, each with what its first line says of when CI runs it.
 * @throws Error naming a file without such a line
 */
export function clusterFiles(root: string): Choosable[] {
  const paths = globSync('{apps,libs,k8s,docker}/**/*.cluster.test.ts', { cwd: root, exclude: (path) => path.includes('node_modules') });
  return paths.sort().map((name) => {
    const [, places, seconds] = said.exec(readFileSync(join(root, name), 'utf8')) ?? [];
    if (places === undefined)
      throw new Error(`${name} does not say when CI runs it. Begin it with a line such as
// CI runs this when libs/executor, k8s change, else one time in three; it takes about 30 s.`);
    return { name, touchedBy: [name, ...places.split(', ')], seconds: Number(seconds) };
  });
}
