import { isCairnError } from '@cairn/contract';
import type { ClusterApi } from './cluster-api.ts';
import type { ClusterEvent, Job, Pod } from './cluster-objects.ts';
import { agentContainer } from './pod-spec.ts';

const tailCharacters = 16 * 1024;
const maxEvents = 10;

/**
 * The last output of an attempt's container. Where there is no log (it never started, its node does not answer), the part
 * that the pod's status kept, and what Kubernetes itself reported. Read once, never followed: the agent uploads its own.
 */
export async function containerLog(api: ClusterApi, pod: Pod | undefined, job: Job | null, signal: AbortSignal): Promise<string> {
  const status = pod?.status?.containerStatuses?.find((candidate) => candidate.name === agentContainer);
  if (pod && (status?.state?.running || status?.state?.terminated)) {
    const log = await orNothing(api.podLog(pod.metadata.name, agentContainer, signal));
    if (log !== null && log !== '') return log.slice(-tailCharacters);
    if (status.state.terminated?.message) return status.state.terminated.message;
  }
  const states = [...(pod?.status?.initContainerStatuses ?? []), ...(pod?.status?.containerStatuses ?? [])].map(({ name, state }) => {
    const why = state?.waiting ?? state?.terminated;
    return why ? `container ${name}: ${[why.reason, why.message].filter(Boolean).join(': ')}` : '';
  });
  const events = (
    await Promise.all([job, pod].map((object) => (object ? orNothing(api.listEvents(object.metadata.uid, signal)) : null)))
  ).flatMap((list) => list ?? []);
  return [pod?.status?.message ?? '', ...states, ...events.toSorted(byTime).slice(-maxEvents).map(line)]
    .filter((text) => text !== '')
    .join('\n');
}

const timeOf = (event: ClusterEvent): number => event.lastTimestamp ?? event.eventTime ?? 0;
const byTime = (a: ClusterEvent, b: ClusterEvent): number => timeOf(a) - timeOf(b);
const line = (event: ClusterEvent): string => `${event.type === 'Warning' ? 'warning: ' : ''}${event.reason ?? ''}: ${event.message ?? ''}`;

/** A log that cannot be read is left out: it is for people, and an attempt ends without it too. */
async function orNothing<T>(reading: Promise<T>): Promise<T | null> {
  return reading.catch((error: unknown) => {
    if (isCairnError(error)) return null;
    throw error;
  });
}
