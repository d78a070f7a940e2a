import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scenarios } from '../faults/scenarios.ts';
import { touchesOf } from '../faults/transitions.ts';
import { clusterFiles } from './cluster-files.ts';

const root = join(import.meta.dirname, '..', '..', '..', '..');

test('every test on a cluster, every scenario and every program says which places touch it, and these are there', () => {
  const files = clusterFiles(root);
  expect(files.length).toBeGreaterThan(10);
  const places = [...files.flatMap(({ touchedBy }) => touchedBy), ...scenarios.flatMap(({ touchedBy }) => touchedBy)];
  expect([...places, ...Object.values(touchesOf).flat()].filter((place) => !existsSync(join(root, place)))).toEqual([]);
});
