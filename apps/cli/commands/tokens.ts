import { CairnError, type TokenRole, tokenRole } from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo } from '../output/units.ts';
import { positiveNumber } from './options.ts';

export function addTokens({ program, action }: Registrar): void {
  const tokens = program.command('tokens').description('lists, creates and revokes tokens (for admins)');
  tokens.command('list', { isDefault: true }).description('lists the tokens').action(action(list));
  tokens
    .command('create <name>')
    .description('creates a token and prints its secret, once')
    .addOption(new Option('--role <role>', 'its permissions').choices(tokenRole.options).default('submitter'))
    .option('--expires-in-days <days>', 'expires after this many days', positiveNumber)
    .action(action(create));
  tokens.command('revoke <token>').description('revokes a token, by id or name').action(action(revoke));
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
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

async function create(
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

async function revoke({ ui, signal, client }: Session, text: string): Promise<undefined> {
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
