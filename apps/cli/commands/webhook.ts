import {
  CairnError,
  type OutgoingDeliveryState,
  type OutgoingDeliveryView,
  outgoingDeliveryState,
  type WebhookView,
  webhookEvent,
  webhookRequest,
} from '@cairn/contract';
import { sleep } from '@cairn/runtime';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatAgo, formatDuration, formatUntil, plural, secondsBetween } from '../output/units.ts';
import { wholeNumber } from './options.ts';

export function addWebhooks({ program, action }: Registrar): void {
  const webhook = program.command('webhook').description('signed messages to other services about events here (for admins)');
  webhook
    .command('add <url>')
    .description('adds a receiver and prints the secret that signs its messages, once')
    .requiredOption('--events <names>', `separated by commas: ${webhookEvent.options.join(', ')}`)
    .option('--name <name>', "its name here (default: the address's host)")
    .action(action(add));
  webhook.command('list', { isDefault: true }).description('lists the webhooks').action(action(list));
  webhook.command('show <name>').description('shows a webhook and its newest messages').action(action(show));
  webhook
    .command('rotate <name>')
    .description('makes a new secret and prints it, once; for a day messages carry a signature of the old one too')
    .action(action(rotate));
  webhook.command('test <name>').description('sends the event webhook.test and waits for the answer').action(action(test));
  withDeliveries(webhook.command('deliveries <name>').description('lists messages and their outcomes, newest first')).action(
    action(deliveries),
  );
  webhook.command('resend <name> <delivery>').description('sends a message again, with the same webhook-id').action(action(resend));
  webhook.command('remove <name>').description('removes a webhook and the messages that wait for it').action(action(remove));
}

type AddOptions = { events: string; name?: string };

async function add({ ui, signal, client }: Session, url: string, { events, name }: AddOptions): Promise<undefined> {
  const given = { name: name ?? hostOf(url), url, events: events.split(',').map((event) => event.trim()) };
  const request = webhookRequest.safeParse(given);
  if (!request.success) {
    const [issue] = request.error.issues;
    const field = issue?.path[0] === 'url' ? 'the address' : `--${String(issue?.path[0] ?? 'name')}`;
    throw new CairnError('invalid_request', `The webhook cannot be added: ${field}: ${issue?.message ?? 'invalid'}`, {
      details: { remedy: `The events are ${webhookEvent.options.join(', ')}; \`cairn help webhook add\` says more.` },
    });
  }
  const made = await (await client()).addWebhook(request.data, { signal });
  ui.json(made);
  // Only the secret on stdout, as for tokens.
  ui.line(made.secret);
  ui.note(ui.style.dim(`Webhook ${made.name} gets ${made.events.join(', ')}. Its secret is not shown again.`));
  return undefined;
}

const hostOf = (url: string): string => URL.parse(url)?.hostname ?? '';

async function list({ ui, signal, client, cli }: Session): Promise<undefined> {
  const { items } = await (await client()).listWebhooks({ signal });
  ui.json({ items });
  if (items.length === 0) ui.line('No webhooks: `cairn webhook add URL --events run.ended` adds one.');
  const rows = items.map((item) => [ui.style.bold(item.name), item.url, item.events.join(', '), ...figures(item, ui, cli.now())]);
  const columns = [{ title: 'name' }, { title: 'address' }, { title: 'events' }, { title: 'waiting' }, { title: 'newest' }];
  if (rows.length > 0) for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

/** What waits for a receiver, and the outcome of its newest delivery. */
export function figures({ pending, newest }: Pick<WebhookView, 'pending' | 'newest'>, ui: Ui, now: Date): string[] {
  if (newest === null) return [String(pending), 'nothing sent yet'];
  return [String(pending), `${painted(newest.state, ui)} ${formatAgo(newest.endedAt ?? newest.answer?.at ?? newest.createdAt, now)}`];
}

async function show({ ui, signal, client, cli }: Session, name: string): Promise<undefined> {
  const api = await client();
  const [webhook, { items }] = await Promise.all([
    api.getWebhook(name, { signal }),
    api.listWebhookDeliveries(name, { limit: 10 }, { signal }),
  ]);
  ui.json({ webhook, deliveries: items });
  ui.line(`${ui.style.bold(webhook.name)}  ${webhook.url}`);
  ui.line(`events   ${webhook.events.join(', ')}`);
  ui.line(`added    ${formatAgo(webhook.createdAt, cli.now())} by ${webhook.createdBy}`);
  if (webhook.previousSecretUntil !== null)
    ui.line(`secret   the one before signs too ${forStill(webhook.previousSecretUntil, cli.now())}`);
  ui.line(`waiting  ${plural(webhook.pending, 'message')}`);
  for (const line of deliveryLines(items, ui, cli.now())) ui.line(line);
  return undefined;
}

/** How much longer something holds: `for 23 h 59 min`. */
const forStill = (until: string, now: Date): string => `for ${formatDuration(secondsBetween(now.toISOString(), until, now))}`;

async function rotate({ ui, signal, client, cli }: Session, name: string): Promise<undefined> {
  const made = await (await client()).rotateWebhook(name, { signal });
  ui.json(made);
  ui.line(made.secret);
  const { previousSecretUntil: until } = made;
  const before = until === null ? 'The secret before signs no more.' : `The secret before signs too ${forStill(until, cli.now())}.`;
  ui.note(ui.style.dim(`${before} The new one is not shown again.`));
  return undefined;
}

const testLimitMs = 30_000;

async function test({ ui, signal, client, cli }: Session, name: string): Promise<number> {
  const api = await client();
  let delivery = await api.testWebhook(name, { signal });
  const end = Date.now() + testLimitMs;
  // Until its first answer; later tries are in the log.
  while (delivery.answer === null && Date.now() < end) {
    await sleep(500, signal);
    delivery = await api.getWebhookDelivery(name, delivery.id, { signal });
  }
  ui.json(delivery);
  const { answer, id } = delivery;
  if (answer === null) ui.line(`Not sent within ${formatDuration(testLimitMs / 1000)}: is a controller running? It is delivery ${id}.`);
  else ui.line(`${painted(delivery.state, ui)}: ${answer.message}`);
  if (delivery.state === 'pending' && delivery.nextTryAt !== null)
    ui.note(
      ui.style.dim(
        `It is tried again ${formatUntil(delivery.nextTryAt, cli.now())}; \`cairn webhook deliveries ${name}\` shows the answers.`,
      ),
    );
  return delivery.state === 'delivered' ? exitCodes.ok.code : exitCodes.failed.code;
}

export type DeliveryOptions = { state?: OutgoingDeliveryState; limit: number };

/** The options of a list of deliveries. */
export function withDeliveries<
  T extends { addOption(option: Option): T; option(flags: string, text: string, parse: (text: string) => number, value: number): T },
>(command: T): T {
  return command
    .addOption(new Option('--state <state>', 'only those').choices(outgoingDeliveryState.options))
    .option('--limit <count>', 'at most this many', wholeNumber(1, 10_000), 50);
}

async function deliveries({ ui, signal, client, cli }: Session, name: string, options: DeliveryOptions): Promise<undefined> {
  const api = await client();
  await printDeliveries(ui, cli.now(), options, (query) => api.eachWebhookDelivery(name, query, { signal }));
  return undefined;
}

/** Prints as many deliveries as are wanted. */
export async function printDeliveries(
  ui: Ui,
  now: Date,
  { state, limit }: DeliveryOptions,
  each: (query: { state?: OutgoingDeliveryState; limit: number }) => AsyncGenerator<OutgoingDeliveryView, void, void>,
): Promise<void> {
  const items: OutgoingDeliveryView[] = [];
  for await (const item of each({ ...(state === undefined ? {} : { state }), limit: Math.min(limit, 200) })) {
    items.push(item);
    if (items.length === limit) break;
  }
  ui.json({ items });
  if (items.length === 0) ui.line('None.');
  for (const line of deliveryLines(items, ui, now)) ui.line(line);
}

function deliveryLines(items: readonly OutgoingDeliveryView[], ui: Ui, now: Date): string[] {
  if (items.length === 0) return [];
  const rows = items.map((item) => [
    item.id,
    formatAgo(item.createdAt, now),
    item.event,
    item.subject,
    painted(item.state, ui),
    String(item.attempts),
    [
      item.answer?.message ?? '',
      ...(item.nextTryAt === null || item.attempts === 0 ? [] : [`next try ${formatUntil(item.nextTryAt, now)}`]),
    ].join('; '),
  ]);
  const columns = [
    { title: 'delivery' },
    { title: 'written' },
    { title: 'event' },
    { title: 'about' },
    { title: 'state' },
    { title: 'tries', align: 'right' as const },
    { title: 'answer' },
  ];
  return tableLines(columns, rows, { heading: ui.style.dim });
}

function painted(state: OutgoingDeliveryState, { style }: Pick<Ui, 'style'>): string {
  return { pending: style.warn, delivered: style.good, failed: style.bad }[state](state);
}

async function resend({ ui, signal, client }: Session, name: string, delivery: string): Promise<undefined> {
  const sent = await (await client()).resendDelivery(name, delivery, { signal });
  ui.json(sent);
  ui.line(`Delivery ${sent.id} is sent again. \`cairn webhook deliveries ${name}\` shows the answer.`);
  return undefined;
}

async function remove({ ui, signal, client }: Session, name: string): Promise<undefined> {
  await (await client()).removeWebhook(name, { signal });
  ui.json({ removed: name });
  ui.line(`Webhook ${name} is removed.`);
  return undefined;
}
