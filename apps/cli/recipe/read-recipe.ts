import { isUtf8 } from 'node:buffer';
import { constants, createReadStream, fstat, open } from 'node:fs';
import { Socket } from 'node:net';
import { addAbortSignal, type Readable } from 'node:stream';
import { promisify } from 'node:util';
import { CairnError, maxBodyBytes, type Recipe, recipe, settingPath, settingPathText } from '@cairn/contract';
import { type Document, LineCounter, parseDocument } from 'yaml';
import { protoFaults, type RecipeFault, recipeFaults } from './recipe-faults.ts';

/**
 * Reads a recipe from a YAML file, or from `stdin` when `path` is `-`, and checks it against the recipe's schema.
 *
 * @throws CairnError `invalid_yaml`, `unknown_setting` or `invalid_setting` with `file`, `line`, `column`, `frame` (the
 *   lines of the text with the position marked) and `nearest` in its details; `not_found` when the file does not exist.
 */
export async function readRecipe(path: string, stdin: Readable, signal: AbortSignal): Promise<Recipe> {
  const bytes = path === '-' ? await collect(stdin, path, signal) : await readBytes(path, signal);
  return parseRecipe(textOf(bytes, nameOf(path)), nameOf(path));
}

/**
 * The text of a recipe's file, without the byte order mark that some editors write.
 *
 * @throws CairnError `invalid_yaml` that says what the file contains instead
 */
function textOf(bytes: Buffer, file: string): string {
  const found = encodingFault(bytes);
  if (found === null) return bytes.toString('utf8').replace(/^\ufeff/, '');
  throw new CairnError('invalid_yaml', `${file} is ${found}; a recipe is YAML in UTF-8`, {
    details: { file, remedy: 'Save the file as UTF-8 (`iconv -f UTF-16 -t UTF-8` converts one of UTF-16), or use another file.' },
  });
}

function encodingFault(bytes: Buffer): string | null {
  const mark = bytes.subarray(0, 2).toString('hex');
  if (mark === 'fffe' || mark === 'feff') return 'in UTF-16';
  if (bytes.includes(0)) return 'not text in UTF-8: it has NUL bytes, as UTF-16 has';
  return isUtf8(bytes) ? null : 'not in UTF-8';
}

/** Parses and checks the text of a recipe. `file` is its name in errors. */
export function parseRecipe(source: string, file: string): Recipe {
  const lines = new LineCounter();
  const document = parsed(source, file, lines);
  const [fault] = document.errors;
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.pos[0]);
    throw new CairnError('invalid_yaml', `${file}:${line}:${col}: ${fault.message}`, {
      details: { file, line, column: col, frame: frameOf(source, line, col, fault.pos[1] - fault.pos[0]) },
      cause: fault,
    });
  }
  const checked = recipe.safeParse(toValue(document, file));
  const faults = [...protoFaults(document), ...(checked.success ? [] : recipeFaults(checked.error.issues, document))];
  if (checked.success && faults.length === 0) return checked.data;
  throw faultsError(faults, source, file, lines);
}

function parsed(source: string, file: string, lineCounter: LineCounter): Document {
  try {
    return parseDocument(source, { lineCounter, prettyErrors: false, merge: true });
  } catch (error) {
    // The parser runs out of stack on deeply nested lists.
    if (!(error instanceof RangeError)) throw error;
    throw new CairnError('invalid_yaml', `${file} has lists or maps nested too deeply for a recipe`, {
      details: { file },
      cause: error,
    });
  }
}

function toValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new CairnError('invalid_yaml', `${file}: ${error instanceof Error ? error.message : String(error)}`, {
      details: { file },
      cause: error,
    });
  }
}

function faultsError(faults: readonly RecipeFault[], source: string, file: string, lines: LineCounter): CairnError {
  const placed = faults.map((fault) => {
    const { line, col } = lines.linePos(fault.range[0]);
    return { ...fault, line, column: col };
  });
  const [first, ...others] = placed;
  if (first === undefined) return new CairnError('invalid_setting', `${file} does not match the recipe's schema`);
  const nearest = first.nearest === null ? {} : { nearest: first.nearest };
  const frame = frameOf(source, first.line, first.column, first.range[1] - first.range[0]);
  const rest = others.map(({ line, column, message }) => `\n${file}:${line}:${column}: ${message}`).join('');
  return new CairnError(first.code, `${file}:${first.line}:${first.column}: ${first.message}${rest}`, {
    details: {
      file,
      line: first.line,
      column: first.column,
      path: first.path,
      ...nearest,
      ...(others.length === 0 ? { frame } : {}),
      remedy: `Correct the ${others.length === 0 ? 'marked position' : 'listed positions'}; \`cairn recipe show mini\` prints a whole recipe.`,
      faults: placed.map(({ path, message, nearest, line, column }) => ({ path, message, nearest, line, column })),
    },
  });
}

/** The line with its number, the one before it, and marks below the relevant characters. */
function frameOf(source: string, line: number, column: number, length: number): string {
  const all = source.split(/\r?\n/);
  const digits = String(line).length;
  const shown = (number: number): string => `${String(number).padStart(digits)} | ${all[number - 1] ?? ''}`;
  const marks = Math.max(1, Math.min(length, (all[line - 1] ?? '').length - column + 1));
  const before = line > 1 ? [shown(line - 1)] : [];
  return [...before, shown(line), `${' '.repeat(digits)} | ${' '.repeat(column - 1)}${'^'.repeat(marks)}`].join('\n');
}

async function readBytes(path: string, signal: AbortSignal): Promise<Buffer> {
  try {
    return await collect(await streamOf(path), path, signal);
  } catch (error) {
    if (error instanceof CairnError || signal.aborted) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new CairnError('not_found', `The recipe file ${path} cannot be read: ${why}`, {
      details: { remedy: 'Check the path, or use a recipe of the service with --recipe NAME.' },
      cause: error,
    });
  }
}

/**
 * A pipe is read without blocking: an open or a read that waits for its writer holds a thread of the pool, and then not even
 * `process.exit` ends the program.
 */
async function streamOf(path: string): Promise<Readable> {
  const fd = await promisify(open)(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return (await promisify(fstat)(fd)).isFIFO() ? new Socket({ fd, readable: true, writable: false }) : createReadStream(path, { fd });
}

/** @throws CairnError `payload_too_large` at the first byte beyond the limit: a device has no end. */
async function collect(stream: Readable, path: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of addAbortSignal(signal, stream)) {
    chunks.push(Buffer.from(chunk));
    length += chunk.length;
    if (length <= maxBodyBytes) continue;
    throw new CairnError('payload_too_large', `${nameOf(path)} has more than ${maxBodyBytes} bytes; a recipe has at most that many`);
  }
  return Buffer.concat(chunks);
}

function nameOf(path: string): string {
  return path === '-' ? '(stdin)' : path;
}

/**
 * Reads `--set path=value`: the value is YAML, so `2` is a number, `true` a boolean, `[clean, full]` a list, and text that looks
 * like one of these needs quotes. In the path, a name with a dot needs them too: `stages."v1.5".epochs=2`.
 *
 * @throws CairnError `invalid_setting`, `unknown_setting` for a path that cannot be read
 */
export function parseSetOption(option: string): [path: string, value: unknown] {
  const at = option.indexOf('=');
  const path = option.slice(0, Math.max(0, at)).trim();
  if (at < 0 || path === '') {
    throw new CairnError('invalid_setting', `--set ${option} is not an assignment`, {
      details: { remedy: 'Write --set PATH=VALUE, such as --set stages.384.epochs=2.' },
    });
  }
  const source = option.slice(at + 1);
  const document = parseDocument(source, { prettyErrors: false });
  const [fault] = document.errors;
  if (fault !== undefined) {
    throw new CairnError('invalid_setting', `--set ${option}: the value is not YAML: ${fault.message}`, {
      details: { path, remedy: 'Put a text with special characters in quotes.' },
    });
  }
  const value: unknown = document.toJS({ maxAliasCount: 0 });
  if (source.trim() === '') {
    throw new CairnError('invalid_setting', `--set ${option}: ${path} has no value`, {
      details: { path, remedy: `Add a value: --set ${path}=VALUE.` },
    });
  }
  return [settingPathText(settingPath(path)), value];
}

/** All `--set` options as the `set` of a submission. A duplicate path is an error, because either could be meant. */
export function parseSetOptions(options: readonly string[]): Record<string, unknown> {
  // A map: a path may have the name of a property that every object has.
  const set = new Map<string, unknown>();
  for (const option of options) {
    const [path, value] = parseSetOption(option);
    if (set.has(path)) {
      throw new CairnError('invalid_setting', `--set ${path} is given twice`, { details: { path, remedy: 'Keep one of the two.' } });
    }
    set.set(path, value);
  }
  return Object.fromEntries(set);
}
