import type { z } from 'zod';
import { type Job, jobObject, type Node, nodeObject, type Pod, podObject } from '../cluster-objects.ts';

type Input<S extends z.ZodType> = z.input<S>;
export type PodStatus = NonNullable<Input<typeof podObject>['status']>;
export type JobStatus = NonNullable<Input<typeof jobObject>['status']>;

export const at = (second: number): string => new Date(Date.UTC(2026, 10, 23, 12, 0, second)).toISOString();

/** A pod of 8 GPUs on node a, as the API shows it; `status` is the subject of the test. */
export function aPod(status: PodStatus, change: { deletionTimestamp?: string; nodeName?: string | null; gpus?: number } = {}): Pod {
  const { deletionTimestamp, nodeName = 'a', gpus = 8 } = change;
  return podObject.parse({
    metadata: { name: 'attempt-x1', namespace: 'training', uid: 'pod-1', creationTimestamp: at(0), deletionTimestamp },
    spec: {
      nodeName,
      containers: [
        {
          resources: { requests: { cpu: '8', memory: '64Gi', 'nvidia.com/gpu': String(gpus) }, limits: { 'nvidia.com/gpu': String(gpus) } },
        },
      ],
    },
    status,
  });
}

export function aJob(status: JobStatus = { active: 1 }, change: { suspend?: boolean; deletionTimestamp?: string } = {}): Job {
  const { suspend, deletionTimestamp } = change;
  return jobObject.parse({
    metadata: { name: 'attempt', namespace: 'training', uid: 'job-1', creationTimestamp: at(0), deletionTimestamp },
    spec: { suspend },
    status,
  });
}

type NodeChange = {
  name?: string;
  allocatable?: Record<string, string>;
  labels?: Record<string, string>;
  ready?: 'True' | 'False' | 'Unknown';
  readySince?: string;
  unschedulable?: boolean;
  taints?: { key: string; value?: string; effect: string }[];
};

/** A node of 8 GPUs, 96 cores and 1 TiB. */
export function aNode({
  name = 'a',
  allocatable = {},
  labels = {},
  ready = 'True',
  readySince = at(0),
  unschedulable,
  taints,
}: NodeChange = {}): Node {
  const capacity = { cpu: '96', memory: '1Ti', pods: '110', 'nvidia.com/gpu': '8' };
  return nodeObject.parse({
    metadata: { name, uid: `node-${name}`, labels, creationTimestamp: at(0) },
    spec: { unschedulable, taints },
    status: {
      capacity,
      allocatable: { ...capacity, ...allocatable },
      conditions: [{ type: 'Ready', status: ready, reason: 'KubeletReady', lastTransitionTime: readySince }],
    },
  });
}
