import { agentExit, type FailureSignal } from '@cairn/contract';

/** 128 + 7: killed by SIGBUS, as is a process that writes to a full /dev/shm. */
const busErrorCode = 135;

/** What the exit code of an agent's container means, together with its last output where known. */
export function exitSignal(code: number, message: string): FailureSignal {
  switch (code) {
    case agentExit.ok:
      return 'ended_without_result';
    case agentExit.configuration:
      return 'agent_configuration';
    case agentExit.superseded:
      return 'agent_superseded';
    case agentExit.preempted:
      return 'agent_preempted';
    case 137:
    case 143:
      return 'killed';
    default:
      return code === busErrorCode || message.includes('Bus error') ? 'shared_memory_full' : 'agent_failed';
  }
}
