import { expect, test } from 'vitest';
import { artifactOf, specOf } from '../testing/specs.ts';
import { withImportNames } from './stored-files.ts';

test('a message about an imported file tells the name that it was imported under; about others it stays', () => {
  const files = { 'weights.pth': Buffer.from('x') };
  const details = { imported: 'resnet50-19c8e357', backbone: 'resnet50', source: null, licence: null };
  const weights = artifactOf('weights', 'weights/art_1/', files, details);
  const start = artifactOf('checkpoint', 'checkpoints/art_2/', { 'checkpoint.pt': Buffer.from('y') });
  const context = { spec: specOf('train', { inputs: { weights, start } }), workDir: '/work' };
  const path = `/work/inputs/${weights.id}/weights.pth`;
  expect(withImportNames(context, `${path} wants to call os.system.`)).toBe(`resnet50-19c8e357 (${path}) wants to call os.system.`);
  const own = `/work/inputs/${start.id}/checkpoint.pt is empty.`;
  expect(withImportNames(context, own)).toBe(own);
});
