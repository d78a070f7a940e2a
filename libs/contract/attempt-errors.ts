export type ErrorRow = {
  /** HTTP status of the problem document. */
  status: number;
  /** True when repeating the same call unchanged may succeed. */
  retry: boolean;
  /** Who can fix it. */
  fix: 'caller' | 'operator' | 'data owner' | 'cairn';
  title: string;
  /** What the reader should do. */
  remedy: string;
};

/** The codes with which attempts fail: their program, their machine, or the cluster. Part of the table in errors.ts. */
export const attemptErrors = {
  program_failed: {
    status: 500,
    retry: true,
    fix: 'operator',
    title: 'Program ended unexpectedly',
    remedy: 'Read the log of the attempt; the message contains its last lines.',
  },
  training_diverged: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Training diverged: the loss is not finite',
    remedy: 'Lower the learning rate or the scale. The image IDs of the batch are saved next to the log.',
  },
  model_mismatch: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Checkpoint or model does not match the recipe',
    remedy: 'Compare the keys and shapes in the message with the backbone of the recipe.',
  },
  out_of_memory: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Out of memory',
    remedy: 'Lower `batch` or `loaderWorkers`, or raise `memory` of the pool.',
  },
  shared_memory_full: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Shared memory full',
    remedy: 'Lower `loaderWorkers` or `batch`, or raise `sharedMemory` of the pool.',
  },
  deadline_exceeded: {
    status: 422,
    retry: false,
    fix: 'caller',
    title: 'Deadline exceeded',
    remedy: 'Raise `deadlineSeconds` of the pool and retry the run; it continues from the last checkpoint.',
  },
  unschedulable: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'No node can hold the pod',
    remedy: 'Wait until a node is free, or compare GPUs, memory, node selector and tolerations of the pool with the nodes.',
  },
  image_not_pulled: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'Container image cannot be pulled',
    remedy: "Check the name, digest and pull secret of the pool's image. The message contains the registry's answer.",
  },
  container_not_created: {
    status: 500,
    retry: false,
    fix: 'operator',
    title: 'Container cannot be created',
    remedy: 'Check Secrets, mounts, user and command of the pool; the message names the wrong one.',
  },
  pod_not_started: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Pod not started in time',
    remedy: "Check the pod's events and the node's disks. The step is retried automatically.",
  },
  pod_lost: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Pod removed, killed or refused',
    remedy: 'If this is rare, do nothing: the step is retried from its last checkpoint. The message says who removed the pod.',
  },
  node_lost: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Node lost',
    remedy: 'Check the node. The step is retried on another node, from its last checkpoint.',
  },
  gpu_failed: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Unhealthy GPU',
    remedy: 'Drain and reset the node that the message names. The step is retried on another node.',
  },
  preempted: {
    status: 503,
    retry: true,
    fix: 'operator',
    title: 'Preempted',
    remedy: 'Do nothing: the step continues from its last checkpoint when there is room.',
  },
  step_version_mismatch: {
    status: 409,
    retry: false,
    fix: 'operator',
    title: 'Worker version mismatch',
    remedy: 'Give the pool a worker image of the same release as the control plane.',
  },
  protocol_mismatch: {
    status: 409,
    retry: false,
    fix: 'operator',
    title: 'Protocol mismatch',
    remedy:
      'Use a worker image of this release or the one before. A step with settings or inputs that are new in this release needs an image of this release.',
  },
} as const satisfies Record<string, ErrorRow>;
