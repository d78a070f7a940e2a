import { expect, test } from 'vitest';
import { type DemoPlan, missingRequirements } from './missing-requirements.ts';

const place = { slots: 2, home: '/demo' };
const sha256 = 'ab'.repeat(32);

function planOf(change: Partial<DemoPlan['steps'][number]> = {}): DemoPlan {
  const recipe = { name: 'fast', model: { backbone: 'resnet50' }, stages: { '256': { weights: 'resnet50-19c8e357' } } };
  const given = [{ role: 'weights', name: 'resnet50-19c8e357', sha256 }];
  return { recipe, steps: [{ name: '256', action: 'run', slots: 2, given, ...change }] };
}

test('a recipe that fits can run', () => {
  expect(missingRequirements(planOf(), place)).toBeNull();
  expect(missingRequirements(planOf({ action: 'reuse', slots: 8 }), place)).toBeNull();
});

test('a recipe for a cluster is refused with everything that is missing and what to do', () => {
  const error = missingRequirements(planOf({ slots: 8, given: [{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }] }), place);
  expect(error).toMatchObject({
    code: 'invalid_request',
    message:
      'the recipe fast needs more than the demo has: 256 trains on 8 slots at once, and the demo has 2; the weights resnet50-19c8e357 are not imported',
  });
  const remedy = String(error?.details.remedy);
  expect(remedy).toContain('reduce this one: --set stages.256.ranks=2 --set stages.256.weights=null.');
  expect(remedy).toContain('`npx cairn --home /demo import weights resnet50-19c8e357.pth --backbone resnet50`');
});

test('missing weights are listed once, however many steps need them', () => {
  const [step] = planOf({ action: 'wait-for-same', given: [{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }] }).steps;
  const plan = { ...planOf(), steps: [step, { ...step, name: 'register' }] as DemoPlan['steps'] };
  const error = missingRequirements(plan, place);
  expect(error?.message).toBe('the recipe fast needs more than the demo has: the weights resnet50-19c8e357 are not imported');
  const remedy = String(error?.details.remedy);
  expect(remedy).toContain('reduce this one: --set stages.256.weights=null. To start');
  expect(remedy.split('import weights')).toHaveLength(2);
});

test('the settings of one of several models are named by their path', () => {
  const { recipe, steps } = planOf({ name: 'A-256', slots: 8, given: [{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }] });
  const error = missingRequirements({ recipe: { name: 'both', stages: {}, models: { A: recipe } }, steps }, place);
  const remedy = String(error?.details.remedy);
  expect(remedy).toContain('or reduce this one: --set models.A.stages.256.ranks=2 --set models.A.stages.256.weights=null.');
  expect(remedy).toContain('import weights resnet50-19c8e357.pth --backbone resnet50');
});

test('available weights are not listed', () => {
  const error = missingRequirements(planOf({ slots: 8 }), place);
  expect(error?.message).not.toContain('weights');
  expect(String(error?.details.remedy)).toMatch(/--set stages\.256\.ranks=2\.$/);
});
