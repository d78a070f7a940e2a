import { readFile } from 'node:fs/promises';
import { CairnError, type CodeHostProvider, codeHostProvider } from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { collect } from './options.ts';
import { type DeliveryOptions, figures, printDeliveries, withDeliveries } from './webhook.ts';

export function addCodeHosts({ program, action }: Registrar): void {
  const host = program
    .command('codehost')
    .description('GitHub and GitLab, which get reports about runs of their repositories (for admins)');
  const tokenFile = ['--token-file <file>', "the file with the token of the code host's user that reports; - reads it from stdin"] as const;
  const keyFile = ['--private-key-file <file>', 'with --app: the private key that GitHub made for the app; - reads it from stdin'] as const;
  host
    .command('add <name>')
    .description('adds a code host: runs set a status of their commit, and write one comment on their pull request')
    .addOption(new Option('--provider <provider>', 'whose API it has').choices(codeHostProvider.options).makeOptionMandatory())
    .requiredOption('--api <address>', 'the address of its API: https://api.github.com, https://gitlab.example.org')
    .requiredOption('--repositories <pattern>', 'org/name, org/* or * (repeatable)', collect)
    .option(...tokenFile)
    .option('--app <id>', 'in place of a token: the App ID or Client ID of the GitHub App that reports')
    .option(...keyFile)
    .action(action(add));
  host.command('list', { isDefault: true }).description('lists the code hosts').action(action(list));
  host.command('show <name>').description('shows a code host and its newest reports').action(action(show));
  host
    .command('token <name>')
    .description('replaces the token, or the private key of its app; reports that failed are sent with it at once')
    .option(...tokenFile)
    .option(...keyFile)
    .action(action(replaceToken));
  withDeliveries(host.command('deliveries <name>').description('lists the reports and their outcomes, newest first')).action(
    action(deliveries),
  );
  host.command('remove <name>').description('removes a code host; reports already sent stay there').action(action(remove));
}

type SecretFiles = { tokenFile?: string; privateKeyFile?: string };
type AddOptions = SecretFiles & { provider: CodeHostProvider; api: string; repositories: string[]; app?: string };

async function add({ ui, signal, client, cli }: Session, name: string, options: AddOptions): Promise<undefined> {
  const { provider, api: url, repositories, app } = options;
  if ((app === undefined) !== (options.privateKeyFile === undefined))
    throw new CairnError('invalid_request', 'An app reports with its private key', {
      details: { remedy: 'Give both --app and --private-key-file.' },
    });
  const secret = await secretOf(options, cli.stdin);
  const auth = 'token' in secret ? secret : { app: { id: app ?? '', privateKey: secret.privateKey } };
  const made = await (await client()).addCodeHost({ name, provider, url, repositories, ...auth }, { signal });
  ui.json(made);
  ui.line(`Code host ${made.name} gets reports about runs of ${made.repositories.join(', ')}.`);
  return undefined;
}

type Stdin = AsyncIterable<string | Uint8Array>;

async function secretOf({ tokenFile, privateKeyFile }: SecretFiles, stdin: Stdin): Promise<{ token: string } | { privateKey: string }> {
  if (tokenFile !== undefined && privateKeyFile === undefined) return { token: await textOf('token', tokenFile, stdin) };
  if (privateKeyFile !== undefined && tokenFile === undefined) return { privateKey: await textOf('private key', privateKeyFile, stdin) };
  const what = tokenFile === undefined ? 'Neither a token nor a private key is given' : 'A token and a private key are given';
  throw new CairnError('invalid_request', what, { details: { remedy: 'Use either --token-file, or --private-key-file of a GitHub App.' } });
}

/** From a file, since arguments are visible to every user of the machine. */
async function textOf(what: 'token' | 'private key', file: string, stdin: Stdin): Promise<string> {
  try {
    const text = file === '-' ? (await Array.fromAsync(stdin)).map(String).join('') : await readFile(file, 'utf8');
    const token = text.trim();
    if (token === '') throw new Error('it is empty');
    return token;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CairnError('invalid_request', `The ${what} cannot be read from ${file === '-' ? 'stdin' : file}: ${why}`, {
      cause,
      details: { remedy: `Pass a file that has only the ${what}.` },
    });
  }
}

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const { items } = await (await client()).listCodeHosts({ signal });
  ui.json({ items });
  if (items.length === 0) ui.line('No code hosts: `cairn help codehost add` says how to add one.');
  const rows = items.map((item) => [
    ...[ui.style.bold(item.name), item.provider, item.url, item.repositories.join(', ')],
    ...figures(item, ui, cli.now()),
  ]);
  const columns = ['name', 'provider', 'address', 'repositories', 'waiting', 'newest'].map((title) => ({ title }));
  if (rows.length > 0) for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

async function show(session: Session, name: string): Promise<undefined> {
  const { ui, signal, client, cli } = session;
  const api = await client();
  const host = await api.getCodeHost(name, { signal });
  if (ui.isJson) {
    ui.json({ codeHost: host, deliveries: (await api.listReports(name, { limit: 10 }, { signal })).items });
    return undefined;
  }
  ui.line(`${ui.style.bold(host.name)}  ${host.provider} at ${host.url}`);
  ui.line(`repositories  ${host.repositories.join(', ')}`);
  if (host.appId !== null) ui.line(`reports as  GitHub App ${host.appId}`);
  await printDeliveries(ui, cli.now(), { limit: 10 }, (query) => api.eachReport(name, query, { signal }));
  return undefined;
}

async function replaceToken({ ui, signal, client, cli }: Session, name: string, options: SecretFiles): Promise<undefined> {
  const secret = await secretOf(options, cli.stdin);
  ui.json(await (await client()).replaceCodeHostToken(name, secret, { signal }));
  ui.line(`Code host ${name} has a new ${'token' in secret ? 'token' : 'private key'}.`);
  return undefined;
}

async function deliveries({ ui, signal, client, cli }: Session, name: string, options: DeliveryOptions): Promise<undefined> {
  const api = await client();
  await printDeliveries(ui, cli.now(), options, (query) => api.eachReport(name, query, { signal }));
  return undefined;
}

async function remove({ ui, signal, client }: Session, name: string): Promise<undefined> {
  await (await client()).removeCodeHost(name, { signal });
  ui.json({ removed: name });
  ui.line(`Code host ${name} is removed.`);
  return undefined;
}
