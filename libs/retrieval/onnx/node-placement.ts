import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';

/** Where ONNX Runtime ran one node of a graph, according to its profile. */
export type NodePlacement = { node: string; op: string; provider: string };

/** The operators that take most of a network's time. If one runs on the CPU, the GPU waits. */
const heavyOperators = /Conv|MatMul|Gemm|Attention|TopK/;

/** Reads the profile that ONNX Runtime wrote into `directory` (one JSON file, Chrome's trace format) and removes the folder. */
export async function readNodePlacement(directory: string): Promise<NodePlacement[]> {
  try {
    const [name] = await readdir(directory);
    if (name === undefined) throw new CairnError('internal', `ONNX Runtime wrote no profile into ${directory}`);
    const events: unknown = JSON.parse(await readFile(join(directory, name), 'utf8'));
    return Array.isArray(events) ? events.flatMap(placementOf) : [];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function placementOf(event: unknown): NodePlacement[] {
  if (!isRecord(event) || !isRecord(event.args) || typeof event.name !== 'string') return [];
  const { op_name: op, provider } = event.args;
  return typeof op === 'string' && typeof provider === 'string' ? [{ node: event.name, op, provider }] : [];
}

/**
 * Throws `invalid_configuration` if a heavy node did not run on CUDA, or none did. ONNX Runtime silently moves nodes to the CPU, and an
 * idle GPU costs as much as a busy one.
 */
export function assertOnCuda(placement: readonly NodePlacement[], what: string): void {
  const elsewhere = placement.filter(({ op, provider }) => heavyOperators.test(op) && provider !== 'CUDAExecutionProvider');
  const onCuda = placement.filter(({ provider }) => provider === 'CUDAExecutionProvider').length;
  if (elsewhere.length === 0 && onCuda > 0) return;
  const examples = elsewhere.slice(0, 3).map(({ node, provider }) => `${node} on ${provider}`);
  throw new CairnError(
    'invalid_configuration',
    `${what} does not run on the GPU: ${onCuda} of ${placement.length} nodes ran on CUDA${examples.length > 0 ? `, but ${examples.join(', ')}` : ''}. ` +
      "Use an image with ONNX Runtime's CUDA libraries that match the driver, or use the device cpu.",
    { details: { nodes: placement.length, onCuda, elsewhere: elsewhere.length } },
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
