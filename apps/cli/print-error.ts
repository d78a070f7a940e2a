import { problemOfError, remedyOf } from '@cairn/client';
import { CairnError } from '@cairn/contract';
import { createStyle } from './output/style.ts';
import type { TextOutput } from './output/ui.ts';
import { jsonText, visibleText } from './output/visible-text.ts';

export type PrintErrorOptions = { stderr: TextOutput; isJson: boolean; isColoured: boolean; isDebug: boolean };

/** Prints an error: for people `error:` and `hint:`, for programs its problem document as one line of JSON. */
export function printError(error: unknown, { stderr, isJson, isColoured, isDebug }: PrintErrorOptions): void {
  if (isJson) {
    stderr.write(`${jsonText(problemOfError(error))}\n`);
    return;
  }
  const style = createStyle(isColoured);
  const lines = errorLines(error).map(({ label, text }) => {
    const shown = visibleText(text);
    if (label === null) return style.dim(shown);
    return `${label === 'error' ? style.bad('error:') : style.accent(`${label}:`)} ${shown}`;
  });
  stderr.write(`${lines.join('\n')}\n`);
  if (isDebug || !(error instanceof CairnError)) stderr.write(`${style.dim(visibleText(stackOf(error)))}\n`);
}

type ErrorLine = { label: 'error' | 'hint' | null; text: string };

/** The lines of an error for people, in order. */
export function errorLines(error: unknown): ErrorLine[] {
  if (!(error instanceof CairnError)) {
    return [
      { label: 'error', text: `internal error in cairn: ${error instanceof Error ? error.message : String(error)}` },
      { label: 'hint', text: 'Report it with the lines below.' },
    ];
  }
  const { frame, requestId } = error.details;
  const isServerFault = error.code === 'internal' && typeof requestId === 'string' && requestId !== '';
  return [
    { label: 'error', text: error.message },
    ...(typeof frame === 'string' ? [{ label: null, text: frame }] : []),
    { label: 'hint', text: remedyOf(error) },
    ...(isServerFault ? [{ label: null, text: `request ${requestId}` }] : []),
  ];
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const cause = error.cause === undefined ? '' : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
