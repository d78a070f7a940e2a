import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError, type ErrorCode } from '@cairn/contract';
import { InferenceSession } from 'onnxruntime-node';
import { assertOnCuda, type NodePlacement, readNodePlacement } from './node-placement.ts';

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
