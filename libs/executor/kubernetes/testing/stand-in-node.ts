import { pause } from '@cairn/runtime';
import { core } from './cluster.ts';

const heartbeatMs = 2000;

/**
 * A node of which only the API server knows: it is always ready, and takes no pods. Kubernetes deletes the pods of a lost node only while
 * another is left. Gives the function that takes it out again, which rejects when a heartbeat failed.
 */
export async function standInNode(): Promise<() => Promise<void>> {
  const metadata = { name: 'stand-in' };
  const beat = () => {
    const now = new Date();
    const ready = { type: 'Ready', status: 'True', reason: 'StandIn', message: '', lastHeartbeatTime: now, lastTransitionTime: now };
    return core.replaceNodeStatus({ ...metadata, body: { metadata, status: { conditions: [ready] } } });
  };
  await core.createNode({ body: { metadata, spec: { unschedulable: true } } });
  await beat();
  const stopping = new AbortController();
  const beating = (async () => {
    while (!stopping.signal.aborted) {
      await beat();
      await pause(heartbeatMs, stopping.signal);
    }
  })();
  return async () => {
    stopping.abort();
    await beating.finally(() => core.deleteNode(metadata));
  };
}
