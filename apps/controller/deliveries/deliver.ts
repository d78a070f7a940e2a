import { codeHostProvider } from '@cairn/contract';
import { type ClaimedDelivery, claimDelivery, type DueDelivery, isClaimed, openSecrets, recordDelivery } from '@cairn/engine';
import { deadline, isDeliveryHost } from '@cairn/runtime';
import type { ControllerParts } from '../parts.ts';
import { CallFailed, type CodeHostCalls } from './code-host.ts';
import { githubCalls, type RepositoryOptions } from './github.ts';
import type { GitHubApp, InstallationTokens } from './github-app.ts';
import { gitlabCalls } from './gitlab.ts';
import { outcomeOf, type Try } from './outcome.ts';
import { sendReport } from './send-report.ts';
import { sendWebhook } from './send-webhook.ts';

export type DeliveryParts = Pick<ControllerParts, 'ctx' | 'publicUrl' | 'installationTokens'> & {
  /** The time by which deliveries are due. */
  clock(): Date;
};

/** Within the lease of a claim, with time to record the end. */
const limitMs = 45_000;

/**
 * Tries to send one delivery, and records the outcome. Any controller may: the row decides who does, and one that was paused for longer
 * than its lease records nothing.
 */
export async function deliver(parts: DeliveryParts, due: DueDelivery, signal: AbortSignal): Promise<void> {
  const { prisma } = parts.ctx;
  const claimed = await claimDelivery(prisma, due, parts.clock());
  if (claimed === null) return;
  const limited = deadline(signal, limitMs);
  const tried = await send(parts, claimed, limited).catch((error: unknown): Try => {
    // The controller ends: another one repeats the try when the lease is over.
    signal.throwIfAborted();
    parts.ctx.log.warn({ err: error, delivery: claimed.id }, 'a delivery failed');
    return { end: 'later', status: null, message: limited.aborted ? `not done within ${limitMs / 1000} s` : faultText(error), until: null };
  });
  const now = parts.clock();
  await recordDelivery(prisma, claimed, outcomeOf(tried, claimed, now), now);
}

const faultText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function send(parts: DeliveryParts, claimed: ClaimedDelivery, signal: AbortSignal): Promise<Try> {
  const { prisma, limits } = parts.ctx;
  const { projectId, target } = claimed;
  const receiver =
    claimed.kind === 'webhook'
      ? await prisma.webhook.findUnique({ where: { id: target } })
      : await prisma.codeHost.findUnique({ where: { id: target } });
  if (receiver === null) return { end: 'refused', status: 0, message: 'the receiver was removed' };
  // The setting may have changed since the receiver was added.
  if (!isDeliveryHost(receiver.url, limits.deliveryHosts))
    return { end: 'later', status: null, message: `CAIRN_DELIVERY_HOSTS does not name ${new URL(receiver.url).hostname}`, until: null };
  const secrets = await openSecrets(parts.ctx, prisma, { projectId, ownerId: target });
  if (!('provider' in receiver)) {
    const { url } = receiver;
    return sendWebhook({ url, messageId: claimed.messageId, body: JSON.stringify(claimed.body), secrets }, parts.clock(), signal);
  }
  const { clock, publicUrl } = parts;
  const send = (calls: CodeHostCalls) =>
    sendReport(claimed, { prisma, calls, publicUrl, clock, mayCreate: () => isClaimed(prisma, claimed, clock()) });
  const [secret = ''] = secrets;
  const { url, appId } = receiver;
  const repository = String(claimed.body.repository);
  const options = { url, repository, clock, signal };
  if (codeHostProvider.parse(receiver.provider) === 'gitlab') return send(gitlabCalls({ ...options, token: secret }));
  if (appId === null) return send(githubCalls({ ...options, token: secret }));
  return sendAsApp(parts.installationTokens, { url, appId, privateKey: secret }, options, send);
}

/** With a token of the app's installation. One that GitHub refuses was revoked, so the next try makes another. */
async function sendAsApp(
  tokens: InstallationTokens,
  app: GitHubApp,
  options: Omit<RepositoryOptions, 'token'>,
  send: (calls: CodeHostCalls) => Promise<Try>,
): Promise<Try> {
  try {
    const { token, login } = await tokens.of(app, options.repository, options);
    const tried = await send(githubCalls({ ...options, token, login }));
    if (tried.end === 'later' && tried.status === 401) tokens.forget(app, options.repository);
    return tried;
  } catch (error) {
    if (error instanceof CallFailed) return error.tried;
    throw error;
  }
}
