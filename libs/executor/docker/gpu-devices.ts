import type { DockerPoolSettings } from './pool-settings.ts';

/** The devices that a container holds, as its label has them. */
export const gpuLabel = 'cairn.dev/gpus';
const everything = 'all';

type Labels = Readonly<Record<string, string>>;
type GpuSettings = Pick<DockerPoolSettings, 'gpus' | 'gpuDevices'>;

/**
 * What a new container is to hold, as its label: `0,1`, `all`, or empty for none. The engine gives two containers of one GPU
 * each the same one, so that devices are chosen by name. Null when too few are free. Pure.
 *
 * @param live labels of all containers of the engine that run or will
 */
export function chooseDevices({ gpus, gpuDevices }: GpuSettings, live: readonly Labels[]): string | null {
  if (gpus === 'none') return '';
  const free = freeDevices(gpuDevices, live);
  if (gpus === everything) return free.length === gpuDevices.length ? everything : null;
  return free.length < gpus ? null : free.slice(0, gpus).join(',');
}

export function freeDevices(devices: readonly string[], live: readonly Labels[]): string[] {
  const held = new Set(live.flatMap((labels) => (labels[gpuLabel] ?? '').split(',')));
  return held.has(everything) ? [] : devices.filter((device) => !held.has(device));
}

/** The part of a container's configuration that gives it its devices. */
export function deviceRequests(devices: string) {
  if (devices === '') return [];
  const which = devices === everything ? { Count: -1 } : { DeviceIDs: devices.split(',') };
  return [{ ...which, Capabilities: [['gpu']] }];
}
