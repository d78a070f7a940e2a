import { bytesField, concatenate, integerField } from './protobuf.ts';

/** Element types of ONNX tensors, by their number in `TensorProto.DataType`. */
export const elementType = { float32: 1, uint8: 2, int64: 7, float16: 10, float64: 11 } as const;
export type ElementType = keyof typeof elementType;

/** A number is a fixed dimension, a string the name of a free one. */
export type Dimension = number | string;
export type ValueInfo = { name: string; type: ElementType; shape: readonly Dimension[] };

/** An attribute of a node: integers or lists of integers are all that our graphs use. */
export type Attributes = Readonly<Record<string, number | readonly number[]>>;
export type GraphNode = { op: string; inputs: readonly string[]; outputs: readonly string[]; attributes?: Attributes };

/** A constant of the graph; `data` is little-endian and dense, in row order. */
export type Initializer = { name: string; type: ElementType; shape: readonly number[]; data: Uint8Array };

export type Graph = {
  name: string;
  opset: number;
  inputs: readonly ValueInfo[];
  outputs: readonly ValueInfo[];
  nodes: readonly GraphNode[];
  initializers?: readonly Initializer[];
};

// Version 8 goes with opset 17 and later and is read by every ONNX Runtime since 1.13.
const IR_VERSION = 8;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;

/**
 * The bytes of an ONNX model. Our own graphs (exact search, the small networks of the tests) are a few nodes: written
 * here they are readable and reviewable, which a binary file in the repository is not. Field numbers:
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
export function encodeModel(graph: Graph): Uint8Array {
  return concatenate([
    integerField(1, IR_VERSION),
    bytesField(2, 'cairn'),
    bytesField(7, encodeGraph(graph)),
    bytesField(8, concatenate([bytesField(1, ''), integerField(2, graph.opset)])),
  ]);
}

function encodeGraph(graph: Graph): Uint8Array {
  return concatenate([
    ...graph.nodes.map((node, index) => bytesField(1, encodeNode(node, `${node.op}_${index}`))),
    bytesField(2, graph.name),
    ...(graph.initializers ?? []).map((initializer) => bytesField(5, encodeInitializer(initializer))),
    ...graph.inputs.map((input) => bytesField(11, encodeValueInfo(input))),
    ...graph.outputs.map((output) => bytesField(12, encodeValueInfo(output))),
  ]);
}

function encodeNode(node: GraphNode, name: string): Uint8Array {
  return concatenate([
    ...node.inputs.map((input) => bytesField(1, input)),
    ...node.outputs.map((output) => bytesField(2, output)),
    bytesField(3, name),
    bytesField(4, node.op),
    ...Object.entries(node.attributes ?? {}).map(([key, value]) => bytesField(5, encodeAttribute(key, value))),
  ]);
}

function encodeAttribute(name: string, value: number | readonly number[]): Uint8Array {
  const fields =
    typeof value === 'number'
      ? [integerField(3, value), integerField(20, ATTRIBUTE_INT)]
      : [...value.map((item) => integerField(8, item)), integerField(20, ATTRIBUTE_INTS)];
  return concatenate([bytesField(1, name), ...fields]);
}

function encodeInitializer({ name, type, shape, data }: Initializer): Uint8Array {
  return concatenate([
    ...shape.map((size) => integerField(1, size)),
    integerField(2, elementType[type]),
    bytesField(8, name),
    bytesField(9, data),
  ]);
}

function encodeValueInfo({ name, type, shape }: ValueInfo): Uint8Array {
  const dimensions = shape.map((size) => bytesField(1, typeof size === 'number' ? integerField(1, size) : bytesField(2, size)));
  const tensor = concatenate([integerField(1, elementType[type]), bytesField(2, concatenate(dimensions))]);
  return concatenate([bytesField(1, name), bytesField(2, bytesField(1, tensor))]);
}
