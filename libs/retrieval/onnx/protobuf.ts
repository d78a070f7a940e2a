/**
 * The few parts of Protocol Buffers' wire format that an ONNX file needs (https://protobuf.dev/programming-guides/encoding):
 * varints and length-delimited fields. A message is the concatenation of its fields.
 */

const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** An integer, bool or enum field. `value` is not negative: nothing that we write is. */
export function integerField(field: number, value: number): Uint8Array {
  return concatenate([varint((field << 3) | VARINT), varint(value)]);
}

/** A string, bytes or nested message field. */
export function bytesField(field: number, value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
  return concatenate([varint((field << 3) | LENGTH_DELIMITED), varint(bytes.length), bytes]);
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

function varint(value: number): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not an integer from 0 to 2^53 - 1`);
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
