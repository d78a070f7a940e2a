import { Button } from '@mantine/core';
import { useState } from 'react';
import classes from './copy-call.module.css';
import { Dropdown } from './dropdown.tsx';
import { Icon } from './icon.tsx';

export type Call = { method?: 'GET' | 'POST' | 'DELETE'; path: string; body?: unknown };

/** The curl call, with the token of the variable TOKEN as in the README. */
function curlOf({ method = 'GET', path, body }: Call, origin: string): string {
  const parts = ['curl -s', method === 'GET' ? '' : `-X ${method}`, quoted(`${origin}${path}`), '-H "Authorization: Bearer $TOKEN"'];
  if (body !== undefined) parts.push("-H 'Content-Type: application/json' -d", quoted(JSON.stringify(body)));
  return parts.filter((part) => part !== '').join(' ');
}

/** A word of a shell: as it is where it is safe, else in single quotes. */
export const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Buttons that copy what does the same elsewhere: the command of the CLI, and the call of the API. */
export function CopyCall({ cli, call }: { cli: string; call: Call }) {
  return (
    <Dropdown label="Copy as" icon="copy">
      <CopyLine name="Command line" text={cli} />
      <CopyLine name="curl" text={curlOf(call, window.location.origin)} />
    </Dropdown>
  );
}

function CopyLine({ name, text }: { name: string; text: string }) {
  return (
    <div className={classes.line}>
      <div>
        <strong>{name}</strong> <CopyButton text={text} />
      </div>
      <code>{text}</code>
    </div>
  );
}

/** Copies a text, and says whether it did. */
export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [result, setResult] = useState<'copied' | 'failed' | null>(null);
  return (
    <Button
      size="compact-xs"
      variant="default"
      leftSection={<Icon name={result === 'copied' ? 'check' : 'copy'} size={12} />}
      onBlur={() => setResult(null)}
      onClick={() => copy(text).then(setResult)}
    >
      <span aria-live="polite">{result === null ? label : result === 'copied' ? 'Copied' : 'Select it and press Ctrl+C'}</span>
    </Button>
  );
}

/** Browsers offer the clipboard only over https and on localhost. */
const copy = async (text: string): Promise<'copied' | 'failed'> => {
  try {
    await navigator.clipboard.writeText(text);
    return 'copied';
  } catch {
    return 'failed';
  }
};
