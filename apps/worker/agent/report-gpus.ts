import { type AttemptSpec, CairnError } from '@cairn/contract';
import { type Gpu, type Logger, readGpus } from '@cairn/runtime';

/** CUDA 13 has no kernels for chips before Turing, and ONNX Runtime's provider is built for CUDA 13: docs/adr/031. */
const leastForOnnxRuntime = 7.5;

type Given = { kind: AttemptSpec['kind']; count: number; env: NodeJS.ProcessEnv; log: Logger; signal: AbortSignal };

/**
 * Writes the GPUs of an attempt into its log, by nvidia-smi. Throws `invalid_configuration` where ONNX Runtime cannot run on them; the
 * trainer knows by itself for which GPUs its torch is built.
 */
export async function reportGpus({ kind, count, env, log, signal }: Given): Promise<void> {
  if (count === 0) return;
  let gpus: Gpu[];
  try {
    gpus = await readGpus({ env, signal });
  } catch (error) {
    signal.throwIfAborted();
    log.warn(`nvidia-smi does not describe the GPUs: ${error instanceof Error ? error.message.trim() : String(error)}`);
    return;
  }
  for (const gpu of gpus) log.info(describe(gpu));
  const old = gpus.filter(({ computeCapability }) => computeCapability !== null && computeCapability < leastForOnnxRuntime);
  // CUDA lists the fastest first, so old ones beside enough new ones are not used.
  if ((kind !== 'extract' && kind !== 'tag') || old.length === 0 || gpus.length - old.length >= count) return;
  const names = old.map(({ name, computeCapability }) => `${name} has compute capability ${computeCapability?.toFixed(1)}`);
  throw new CairnError(
    'invalid_configuration',
    `The GPU ${[...new Set(names)].join(', ')}; ONNX Runtime needs ${leastForOnnxRuntime}. Use another GPU, or a pool without.`,
  );
}

function describe({ index, name, driver, memoryMib, computeCapability }: Gpu): string {
  const memory = memoryMib === null ? 'memory not known' : `${(memoryMib / 1024).toFixed(1)} GiB`;
  const capability = computeCapability === null ? 'not known' : computeCapability.toFixed(1);
  return `GPU ${index}: ${name}, ${memory}, driver ${driver}, compute capability ${capability}`;
}
