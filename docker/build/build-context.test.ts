import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const linesOf = (path: string): string[] => readFileSync(join(root, path), 'utf8').split('\n');

test.each(['docker/control-plane/Dockerfile', 'docker/worker/Dockerfile'])(
  'what %s copies is there, and .dockerignore lets it into the build context',
  (dockerfile) => {
    const sources = linesOf(dockerfile).flatMap((line) => {
      const [instruction, ...paths] = line.split(/\s+/);
      return instruction === 'COPY' && !paths[0]?.startsWith('--from') ? paths.slice(0, -1) : [];
    });
    expect(sources.length).toBeGreaterThan(5);
    const allowed = linesOf('.dockerignore').flatMap((line) => (line.startsWith('!') ? [line.slice(1)] : []));
    const isLeftOut = (path: string): boolean => !allowed.some((one) => path === one || path.startsWith(`${one}/`));
    expect(sources.filter((path) => isLeftOut(path) || !existsSync(join(root, path)))).toEqual([]);
  },
);
