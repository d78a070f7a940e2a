import { expect, test } from 'vitest';
import { chooseDevices } from './gpu-devices.ts';

const gpuDevices = ['0', '1', '2', '3'];
const holds = (devices: string) => ({ 'cairn.dev/gpus': devices });

test.each([
  ['none', [holds('all')], ''],
  ['all', [], 'all'],
  ['all', [holds('')], 'all'],
  ['all', [holds('2')], null],
  [2, [], '0,1'],
  [2, [holds('0'), holds('2')], '1,3'],
  [2, [holds('0,1'), holds('3')], null],
  [1, [holds('all')], null],
  [1, [holds('7')], '0'],
] as const)('%s beside %j is given %j', (gpus, live, devices) => {
  expect(chooseDevices({ gpus, gpuDevices }, live)).toBe(devices);
});
