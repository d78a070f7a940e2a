import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError, type ErrorCode } from '@cairn/contract';
import { InferenceSession } from 'onnxruntime-node';

export type Device = 'cpu' | 'cuda';

export type SessionOptions<Proof> = {
  /** The path of an ONNX file. */
  model: string;
  /** The name of the model in errors. */
  what: string;
  /** `cuda` is the first device of CUDA_VISIBLE_DEVICES: one process per GPU. */
  device: Device;
  /** CPU threads within an operator. */
  threads: number;
  /** One small run, whose profile shows where each node runs. */
  prove: (session: InferenceSession) => Promise<Proof>;
};

export type ProvenSession<Proof> = { session: InferenceSession; proof: Proof; placement: readonly NodePlacement[] };

/**
 * A session of ONNX Runtime that has run once, with all nodes on the expected device. Throws `model_mismatch` for a file that is not a
 * model, `invalid_configuration` if the GPU cannot be used. `session.release()` does not free all of its memory
 * (microsoft/onnxruntime#25325): use one session per process, and a new process instead of a second session.
 */
export async function createSession<Proof>({ model, what, device, threads, prove }: SessionOptions<Proof>): Promise<ProvenSession<Proof>> {
  const profile = await mkdtemp(join(tmpdir(), 'cairn-profile-'));
  let session: InferenceSession | undefined;
  try {
    session = await open({ model, what, device, threads, profile });
    const proof = await prove(session);
    session.endProfiling();
    const placement = await readNodePlacement(profile);
    if (device === 'cuda') assertOnCuda(placement, what);
    return { session, proof, placement };
  } catch (error) {
    await session?.release();
    throw error;
  } finally {
    await rm(profile, { recursive: true, force: true });
  }
}

type OpenOptions = Pick<SessionOptions<unknown>, 'model' | 'what' | 'device' | 'threads'> & { profile: string };

async function open({ model, what, device, threads, profile }: OpenOptions): Promise<InferenceSession> {
  const options: InferenceSession.SessionOptions = {
    executionProviders: device === 'cuda' ? [{ name: 'cuda', deviceId: 0 }] : ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    enableProfiling: true,
    profileFilePrefix: join(profile, 'nodes'),
    // Spinning threads would take cores from the decoding threads.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
  try {
    return await InferenceSession.create(model, options);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const code: ErrorCode = device === 'cuda' ? 'invalid_configuration' : 'model_mismatch';
    const advice =
      device === 'cuda' ? "Check the GPU, the driver and ONNX Runtime's CUDA libraries, or use the device cpu." : 'Export the model again.';
    throw new CairnError(code, `ONNX Runtime cannot open ${what} on ${device}: ${message}. ${advice}`, { cause });
  }
}

/** Where ONNX Runtime ran one node of a graph, according to its profile. */
export type NodePlacement = { node: string; op: string; provider: string };

/** The operators that take most of a network's time. If one runs on the CPU, the GPU waits. */
const heavyOperators = /Conv|MatMul|Gemm|Attention|TopK/;

/** Reads the profile that ONNX Runtime wrote into `directory` (one JSON file, Chrome's trace format) and removes the folder. */
export async function readNodePlacement(directory: string): Promise<NodePlacement[]> {
  try {
    const [name] = await readdir(directory);
    if (name === undefined) throw new CairnError('internal', `ONNX Runtime wrote no profile into ${directory}`);
    const events = wholeProfile(await readFile(join(directory, name), 'utf8'), directory);
    return Array.isArray(events) ? events.flatMap(placementOf) : [];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** ONNX Runtime says nothing when it cannot write all of it. */
function wholeProfile(text: string, directory: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `No space left for ONNX Runtime's profile of a model in ${directory}, which ends early. Free some space there`;
    throw new CairnError('storage_full', message, { cause });
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
