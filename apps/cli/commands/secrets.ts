import type { SecretKeyList } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';

export function addSecrets({ program, action }: Registrar): void {
  const secrets = program
    .command('secrets')
    .description('keys that seal the secrets of triggers and webhooks in the database (for admins)');
  secrets.command('list', { isDefault: true }).description('lists the keys and how many secrets each seals').action(action(list));
  secrets
    .command('reseal')
    .description('seals every secret with the first of CAIRN_SECRETS_KEYS, so that the others can be removed')
    .action(action(reseal));
}

async function list({ ui, signal, client }: Session): Promise<undefined> {
  const keys = await (await client()).listSecretKeys({ signal });
  ui.json(keys);
  printKeys(ui, keys);
  return undefined;
}

async function reseal({ ui, signal, client }: Session): Promise<undefined> {
  const keys = await (await client()).resealSecrets({ signal });
  ui.json(keys);
  printKeys(ui, keys);
  return undefined;
}

const meanings = {
  seals: 'seals new secrets',
  opens: 'only opens; `cairn secrets reseal` makes it unnecessary',
  missing: 'missing in CAIRN_SECRETS_KEYS: its secrets cannot be used',
} satisfies Record<SecretKeyList['items'][number]['state'], string>;

function printKeys(ui: Session['ui'], { items }: SecretKeyList): void {
  const rows = items.map(({ keyId, secrets, state }) => [
    ui.style.bold(keyId),
    String(secrets),
    state === 'missing' ? ui.style.warn(meanings[state]) : meanings[state],
  ]);
  const columns = [{ title: 'key' }, { title: 'secrets', align: 'right' as const }, { title: 'state' }];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
}
