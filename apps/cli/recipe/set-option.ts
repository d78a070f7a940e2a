import { CairnError, settingPath, settingPathText } from '@cairn/contract';
import { parseDocument } from 'yaml';

/**
 * Reads `--set path=value`: the value is YAML, so `2` is a number, `true` a truth value, `[clean, full]` a list, and what
 * needs to stay a text is put in quotes. In the path a name with a dot in it is: `stages."v1.5".epochs=2`.
 *
 * @throws CairnError `invalid_setting`, `unknown_setting` for a path that cannot be read
 */
export function parseSetOption(option: string): [path: string, value: unknown] {
  const at = option.indexOf('=');
  const path = option.slice(0, Math.max(0, at)).trim();
  if (at < 0 || path === '') {
    throw new CairnError('invalid_setting', `--set ${option} is no assignment`, {
      details: { remedy: 'Write --set PATH=VALUE, such as --set stages.384.epochs=2.' },
    });
  }
  const source = option.slice(at + 1);
  const document = parseDocument(source, { prettyErrors: false });
  const [fault] = document.errors;
  if (fault !== undefined) {
    throw new CairnError('invalid_setting', `--set ${option}: the value is no YAML: ${fault.message}`, {
      details: { path, remedy: 'Put a text with special characters in quotes.' },
    });
  }
  const value: unknown = document.toJS({ maxAliasCount: 0 });
  if (source.trim() === '') {
    throw new CairnError('invalid_setting', `--set ${option}: ${path} gets no value`, {
      details: { path, remedy: `Give a value: --set ${path}=VALUE.` },
    });
  }
  return [settingPathText(settingPath(path)), value];
}

/** All `--set` options as the `set` of a submission. A path given twice is an error: which one was meant is not ours to guess. */
export function parseSetOptions(options: readonly string[]): Record<string, unknown> {
  // A map: a path may have the name of something that every object has.
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
