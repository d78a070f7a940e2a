import { createStyle, type Glyphs, glyphsFor, type Style } from './style.ts';
import { jsonText, printable } from './visible-text.ts';

/** The output of a program: a terminal, a file or a pipe. */
export type TextOutput = {
  write: (text: string) => unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
  rows?: number | undefined;
  on: (event: 'resize', listener: () => void) => unknown;
  off: (event: 'resize', listener: () => void) => unknown;
};

export type Ui = {
  /** Machine-readable output only: one JSON document (or JSON lines) on stdout. */
  isJson: boolean;
  /** Whether stdout is a terminal on which a live view can be drawn. */
  isTerminal: boolean;
  style: Style;
  glyphs: Glyphs;
  stdout: TextOutput;
  stderr: TextOutput;
  /** A line for people on stdout; nothing with --json. */
  line: (text?: string) => void;
  /** A line for people on stderr: progress, never a result. Nothing with --json. */
  note: (text: string) => void;
  /** A JSON document on stdout, indented; nothing without --json. */
  json: (value: unknown) => void;
  /** One line of JSON on stdout; nothing without --json. */
  jsonLine: (value: unknown) => void;
};

export type UiOptions = {
  stdout: TextOutput;
  stderr: TextOutput;
  env: Readonly<Record<string, string | undefined>>;
  isJson: boolean;
  /** False for --no-color. */
  isColourWanted: boolean;
};

/** A command's output. Colour only on a terminal, unless NO_COLOR (https://no-color.org) or --no-color forbids it. */
export function createUi({ stdout, stderr, env, isJson, isColourWanted }: UiOptions): Ui {
  const isDumb = env.TERM === 'dumb';
  const isColoured = isColourWanted && !isJson && !isDumb && !env.NO_COLOR && stdout.isTTY === true;
  return {
    isJson,
    isTerminal: stdout.isTTY === true && !isDumb && !isJson,
    style: createStyle(isColoured),
    glyphs: glyphsFor(env),
    stdout,
    stderr,
    line: (text = '') => {
      if (!isJson) stdout.write(`${printable(text)}\n`);
    },
    note: (text) => {
      if (!isJson) stderr.write(`${printable(text)}\n`);
    },
    json: (value) => {
      if (isJson) stdout.write(`${jsonText(value, 2)}\n`);
    },
    jsonLine: (value) => {
      if (isJson) stdout.write(`${jsonText(value)}\n`);
    },
  };
}
