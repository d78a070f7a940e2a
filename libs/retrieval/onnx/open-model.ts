import { type FileHandle, open } from 'node:fs/promises';
import { CairnError, preprocessing } from '@cairn/contract';
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { createSession, type Device, type NodePlacement } from './create-session.ts';

export type OpenModelOptions = {
  /** The ONNX file. */
  path: string;
  device: Device;
  /** CPU threads within an operator. */
  threads: number;
  /** Side of the images in pixels for the test run, if the model does not fix it; 64 by default. */
  imageSize?: number;
};

/** The input of a run: `images` is batch x imageSize x imageSize x 3 bytes of RGB, of which the first `rows` are used. */
export type ImageBatch = { images: Uint8Array; batch: number; imageSize: number; rows: number };

export type Model = {
  readonly path: string;
  readonly device: Device;
  /** Length of a feature vector. */
  readonly embeddingDim: number;
  /** The fixed side and batch size of the model, or null if it accepts any. */
  readonly imageSize: number | null;
  readonly batch: number | null;
  /** Where each node ran in a first run. */
  readonly placement: readonly NodePlacement[];
  /**
   * The features of the first `rows` images, rows x embeddingDim, as returned by the model. It blocks the event loop for the whole run
   * (microsoft/onnxruntime#19611), so a process that runs a model should do little else. Always pass the same batch and size, with the last
   * batch padded: each shape allocates its own memory, which is never freed.
   */
  run(batch: ImageBatch): Promise<Float32Array>;
  /** Frees the session. Further calls do nothing. */
  close(): Promise<void>;
};

const INPUT = 'images';
const OUTPUT = 'features';

/**
 * Opens an exported model: input `images` uint8 [N, H, W, 3], output `features` float16 or float32 [N, D]. Throws `model_mismatch` naming
 * the actual interface, and `invalid_configuration` if `cuda` is requested and not used by every convolution and matrix product.
 */
export async function openModel({ path, device, threads, imageSize = 64 }: OpenModelOptions): Promise<Model> {
  const { session, placement, proof } = await createSession({
    model: path,
    what: `the model ${path}`,
    device,
    threads,
    prove: async (opened) => {
      const ports = portsOf(opened, path);
      const side = ports.imageSize ?? imageSize;
      const batch = ports.batch ?? 1;
      const images = new Uint8Array(batch * side * side * 3).fill(128);
      const features = await runOnce(opened, { images, batch, imageSize: side, rows: batch }, path, 'model_mismatch');
      checkFeatures(features, batch, ports.embeddingDim, path);
      return ports;
    },
  });
  const { embeddingDim } = proof;
  let isClosed = false;

  return {
    path,
    device,
    embeddingDim,
    imageSize: proof.imageSize,
    batch: proof.batch,
    placement,
    async run(input) {
      checkBatch(input, proof, path);
      const features = await runOnce(session, input, path, 'program_failed');
      return checkFeatures(features, input.batch, embeddingDim, path).subarray(0, input.rows * embeddingDim);
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      await session.release();
    },
  };
}

type Ports = { embeddingDim: number; imageSize: number | null; batch: number | null };

function portsOf(session: InferenceSession, path: string): Ports {
  const input = session.inputMetadata[0];
  const output = session.outputMetadata.find((port) => port.name === OUTPUT);
  const found = `inputs ${session.inputMetadata.map(describe).join(', ')}; outputs ${session.outputMetadata.map(describe).join(', ')}`;
  const mismatch = (expected: string) =>
    new CairnError('model_mismatch', `The model ${path} has no ${expected}, but ${found}. Export it with \`cairn_trainer.export\`.`, {
      details: { expected, found },
    });

  if (session.inputMetadata.length !== 1 || input === undefined || !input.isTensor || input.name !== INPUT || input.type !== 'uint8') {
    throw mismatch(`single input \`${INPUT}\` of type uint8`);
  }
  const [batch, height, width, channels] = input.shape;
  if (input.shape.length !== 4 || channels !== 3 || (typeof height === 'number' && typeof width === 'number' && height !== width)) {
    throw mismatch(`input \`${INPUT}\` of shape [N, H, H, 3]`);
  }
  if (output === undefined || !output.isTensor || (output.type !== 'float16' && output.type !== 'float32')) {
    throw mismatch(`output \`${OUTPUT}\` of type float16 or float32`);
  }
  const embeddingDim = output.shape[1];
  if (output.shape.length !== 2 || typeof embeddingDim !== 'number' || embeddingDim < 1) {
    throw mismatch(`output \`${OUTPUT}\` of shape [N, D] with a fixed D`);
  }
  const side = typeof height === 'number' ? height : width;
  return { embeddingDim, imageSize: typeof side === 'number' ? side : null, batch: typeof batch === 'number' ? batch : null };
}

function describe(port: InferenceSession.ValueMetadata): string {
  return port.isTensor ? `${port.name} ${port.type} [${port.shape.join(', ')}]` : `${port.name} (no tensor)`;
}

function checkBatch(input: ImageBatch, fixed: { imageSize: number | null; batch: number | null }, path: string): void {
  const { images, batch, imageSize, rows } = input;
  if ((fixed.imageSize ?? imageSize) !== imageSize || (fixed.batch ?? batch) !== batch) {
    throw new CairnError(
      'model_mismatch',
      `The model ${path} takes ${fixed.batch ?? 'any number of'} images of side ${fixed.imageSize ?? 'any'}, ` +
        `not ${batch} of side ${imageSize}. Set imageSize and batch to what it was exported with.`,
    );
  }
  if (images.length !== batch * imageSize * imageSize * 3 || rows > batch) {
    throw new CairnError('internal', `${images.length} bytes and ${rows} rows are not a batch of ${batch} images of side ${imageSize}`);
  }
}

/** `failure` is the code for errors of ONNX Runtime: in the first run the model does not match, later the device failed. */
async function runOnce(
  session: InferenceSession,
  { images, batch, imageSize }: ImageBatch,
  path: string,
  failure: 'model_mismatch' | 'program_failed',
): Promise<Tensor> {
  const tensor = new Tensor('uint8', images, [batch, imageSize, imageSize, 3]);
  try {
    const { [OUTPUT]: features } = await session.run({ [INPUT]: tensor });
    if (features === undefined) throw new Error(`no output \`${OUTPUT}\``);
    return features;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new CairnError(failure, `The model ${path} failed on ${batch} images of side ${imageSize}: ${message}`, { cause });
  }
}

/** The features as float32, after checking their shape. */
function checkFeatures(features: Tensor, batch: number, embeddingDim: number, path: string): Float32Array {
  if (features.dims.length !== 2 || features.dims[0] !== batch || features.dims[1] !== embeddingDim) {
    throw new CairnError(
      'model_mismatch',
      `The model ${path} returned features of shape [${features.dims.join(', ')}] for ${batch} images instead of [${batch}, ${embeddingDim}].`,
    );
  }
  const { data } = features;
  if (data instanceof Float32Array) return data;
  // ONNX Runtime returns float16 as Float16Array if the language has it, otherwise as raw bits in a Uint16Array.
  if (data instanceof Float16Array) return new Float32Array(data);
  if (data instanceof Uint16Array) return new Float32Array(new Float16Array(data.buffer, data.byteOffset, data.length));
  throw new CairnError('model_mismatch', `The model ${path} returned features of type ${features.type}.`);
}

/** What an exported model's metadata says; null for what is missing. */
export type ModelFacts = { imageSize: number | null; preprocessing: ReturnType<typeof preprocessing.parse> | null };

/** ModelProto.metadata_props and StringStringEntryProto of onnx.proto, as field numbers. */
const [metadataProps, keyField, valueField] = [14, 1, 2];
const mostEntryBytes = 64 * 1024;
const windowBytes = 32;

/**
 * The facts that the export writes into a model's metadata, which onnxruntime-node does not return. Reads only the headers of the file's
 * top-level fields: the graph is skipped by its length.
 *
 * @throws CairnError `model_mismatch` if it is not an ONNX file; the system's error
 */
export async function readModelFacts(path: string): Promise<ModelFacts> {
  const file = await open(path);
  try {
    const props = new Map<string, string>();
    const { size } = await file.stat();
    for (let at = 0; at < size; ) {
      const window = await bytesAt(file, at, windowBytes);
      const [tag, afterTag] = varint(window, 0, path);
      // Of ModelProto only varints and length-delimited fields exist.
      const [value, after] = varint(window, afterTag, path);
      if ((tag & 7) === 0) {
        at += after;
        continue;
      }
      if ((tag & 7) !== 2 || at + after + value > size) throw notOnnx(path);
      if (tag >> 3 === metadataProps && value <= mostEntryBytes) {
        const [key, text] = entryOf(await bytesAt(file, at + after, value), path);
        props.set(key, text);
      }
      at += after + value;
    }
    const side = Number(props.get('cairn.imageSize'));
    return {
      imageSize: Number.isInteger(side) && side > 0 ? side : null,
      preprocessing: preprocessing.safeParse(props.get('cairn.preprocessing')).data ?? null,
    };
  } finally {
    await file.close();
  }
}

function entryOf(bytes: Buffer, path: string): [key: string, value: string] {
  const texts: Record<number, string> = {};
  for (let at = 0; at < bytes.length; ) {
    const [tag, afterTag] = varint(bytes, at, path);
    const [length, after] = varint(bytes, afterTag, path);
    if ((tag & 7) !== 2) throw notOnnx(path);
    texts[tag >> 3] = bytes.toString('utf8', after, after + length);
    at = after + length;
  }
  return [texts[keyField] ?? '', texts[valueField] ?? ''];
}

async function bytesAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
  return buffer.subarray(0, bytesRead);
}

/** A number of up to 2^53, and the place behind it. */
function varint(bytes: Buffer, from: number, path: string): [value: number, after: number] {
  let value = 0;
  for (let at = from, scale = 1; at < bytes.length && scale <= 2 ** 49; at += 1, scale *= 128) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return [value, at + 1];
  }
  throw notOnnx(path);
}

function notOnnx(path: string): CairnError {
  return new CairnError(
    'model_mismatch',
    `The model ${path} is not an ONNX file. Export it with \`cairn export\` or \`cairn_trainer.export\`.`,
  );
}
