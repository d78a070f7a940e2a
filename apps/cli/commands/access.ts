import { type AuditEntry, auditChanges, CairnError, firstOf, type SecretKeyList, type TokenRole, tokenRole } from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo } from '../output/units.ts';
import { positiveNumber, wholeNumber } from './options.ts';

export function addTokens({ program, action }: Registrar): void {
  const tokens = program.command('tokens').description('lists, creates and revokes tokens (for admins)');
  tokens.command('list', { isDefault: true }).description('lists the tokens').action(action(listTokens));
  tokens
    .command('create <name>')
    .description('creates a token and prints its secret, once')
    .addOption(new Option('--role <role>', 'its permissions').choices(tokenRole.options).default('submitter'))
    .option('--expires-in-days <days>', 'expires after this many days', positiveNumber)
    .action(action(createToken));
  tokens.command('revoke <token>').description('revokes a token, by id or name').action(action(revokeToken));
}

async function listTokens({ ui, signal, client, cli }: Session): Promise<undefined> {
  const { items } = await (await client()).listTokens({ signal });
  ui.json({ items });
  const now = cli.now();
  const rows = items.map((token) => [
    ui.style.bold(token.name),
    token.role,
    formatAgo(token.createdAt, now),
    token.expiresAt === null ? 'never' : token.expiresAt.slice(0, 10),
    token.lastUsedAt === null ? 'never' : formatAgo(token.lastUsedAt, now),
    ui.style.dim(token.id),
  ]);
  const columns = [
    { title: 'name' },
    { title: 'role' },
    { title: 'created' },
    { title: 'expires' },
    { title: 'last used' },
    { title: 'id' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function createToken(
  { ui, signal, client }: Session,
  name: string,
  options: { role: TokenRole; expiresInDays?: number },
): Promise<undefined> {
  const { role, expiresInDays } = options;
  const token = await (await client()).createToken({ name, role, ...(expiresInDays === undefined ? {} : { expiresInDays }) }, { signal });
  ui.json(token);
  // Only the secret on stdout: `CAIRN_TOKEN=$(cairn tokens create ci)`.
  ui.line(token.secret);
  ui.note(ui.style.dim(`Token ${token.name} (${token.role}, ${token.id}). Its secret is not shown again.`));
  return undefined;
}

async function revokeToken({ ui, signal, client }: Session, text: string): Promise<undefined> {
  const api = await client();
  const { items } = await api.listTokens({ signal });
  const fitting = items.filter((token) => token.id === text || token.name === text);
  const [token, ...others] = fitting;
  if (token === undefined) throw new CairnError('not_found', `No token "${text}"`, { details: { remedy: '`cairn tokens` lists them.' } });
  if (others.length > 0) {
    throw new CairnError('invalid_request', `Several tokens are named "${text}": ${fitting.map(({ id }) => id).join(', ')}`, {
      details: { remedy: 'Use the id.' },
    });
  }
  await api.revokeToken(token.id, { signal });
  ui.json({ revoked: token });
  ui.line(`Token ${token.name} revoked.`);
  return undefined;
}

export function addSecrets({ program, action }: Registrar): void {
  const secrets = program
    .command('secrets')
    .description('keys that seal the secrets of triggers and webhooks in the database (for admins)');
  secrets.command('list', { isDefault: true }).description('lists the keys and how many secrets each seals').action(action(listSecrets));
  secrets
    .command('reseal')
    .description('seals every secret with the first of CAIRN_SECRETS_KEYS, so that the others can be removed')
    .action(action(reseal));
}

async function listSecrets({ ui, signal, client }: Session): Promise<undefined> {
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

type AuditOptions = { actor?: string; action?: string; target?: string; limit: number };

export function addAudit({ program, action }: Registrar): void {
  program
    .command('audit')
    .description('lists who changed what, the newest first (for admins)')
    .option('--actor <token>', 'only of this token, by name')
    .option('--action <action>', 'only of this kind, such as run.cancel')
    .option('--target <id>', 'only about this run, token or other thing, by id or name')
    .option('--limit <count>', 'at most this many', wholeNumber(1, 10_000), 50)
    .action(action(listAudit));
}

async function listAudit({ ui, signal, client, cli }: Session, { limit, ...filter }: AuditOptions): Promise<undefined> {
  const items: AuditEntry[] = [];
  for await (const entry of (await client()).eachAuditEntry({ ...filter, limit: Math.min(limit, 200) }, { signal })) {
    items.push(entry);
    if (items.length === limit) break;
  }
  ui.json({ items });
  if (items.length === 0) {
    ui.line('No entry.');
    return undefined;
  }
  const rows = items.map((entry) => [
    formatAgo(entry.at, cli.now()),
    ui.style.bold(entry.actor),
    entry.action,
    entry.target,
    changeText(entry),
    ui.style.dim(entry.address ?? ''),
  ]);
  const columns = ['when', 'token', 'action', 'target', 'what changed', 'address'].map((title) => ({ title }));
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

/** Characters of a value, and of all that changed; --json has the whole. */
const shown = { value: 40, change: 120 };

/** What an act changed, such as `version: 7 to 8`, and the reason that was given. */
function changeText({ before, after, details }: AuditEntry): string {
  const short = (text: string | null): string => (text === null ? 'none' : cut(text, shown.value));
  const changes = auditChanges({ before, after }).map(({ name, was, is }) =>
    was === null ? `${name}: ${short(is)}` : `${name}: ${short(was)} to ${short(is)}`,
  );
  const why = typeof details.reason === 'string' && details.reason !== '' ? [`(${details.reason})`] : [];
  return cut([changes.join('; '), ...why].join(' ').trim(), shown.change);
}

const cut = (text: string, most: number): string => (text.length > most ? `${firstOf(text, most - 1)}…` : text);
