import { type FileHandle, open } from 'node:fs/promises';
import { CairnError, preprocessing } from '@cairn/contract';

/** What an exported model tells of itself; null for what it does not. */
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
