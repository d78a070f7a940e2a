import { CairnError, settingPath, settingPathText } from '@cairn/contract';
import { parseDocument } from 'yaml';

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
