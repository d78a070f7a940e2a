import { isUtf8 } from 'node:buffer';
import { CairnError, hookAnswer, maxHookBytes, safeName, writtenText } from '@cairn/contract';
import type { BoundTrigger } from '@cairn/engine';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { bodyDigest, verifyDelivery } from '../hooks/verify-delivery.ts';
import { type App, problems } from '../http/bare-app.ts';
import { onceOver } from '../http/closing.ts';
import { createRateLimit } from '../load/call-rates.ts';
import type { ApiDeps } from './api-deps.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The trigger that the request is for. */
    trigger: BoundTrigger | null;
  }
}

/** Four bodies of the largest size, of which one address may send two at the same time. */
const budget = { totalBytes: 4 * maxHookBytes, addressBytes: 2 * maxHookBytes };
/** Refused deliveries that a replica records of a trigger. */
const recordedPerSecond = 0.1;
const maxRemembered = 1_000;

const description =
  'For code hosts and other programs, without a token: the signature proves the sender. GitHub signs with X-Hub-Signature-256; GitLab with ' +
  'webhook-signature, or it sends the secret as X-Gitlab-Token; all others sign as Standard Webhooks says. Whatever it starts or ignores, a ' +
  'rightly signed delivery is answered with success, because code hosts switch off webhooks that fail; `outcome` and `reason` say what was done with it.';

export function hookRoutes(app: App, { engine, load, bounds, metrics, log }: ApiDeps): void {
  const bodies = createBodyBudget(budget);
  const rate = createRateLimit({ perSecond: bounds.deliveriesPerTrigger, most: maxRemembered });
  const recorded = createRateLimit({ perSecond: recordedPerSecond, most: maxRemembered });
  const deliveries = metrics.counter({ name: 'hook_deliveries_total', help: 'Deliveries to triggers, by outcome', labels: ['outcome'] });
  app.decorateRequest('trigger', null);

  app.post(
    '/v1/hooks/:trigger',
    {
      config: { isOpen: true, load: 'hook', rawBytes: maxHookBytes },
      schema: {
        operationId: 'deliverHook',
        tags: ['triggers'],
        summary: 'Deliver an event to a trigger',
        description,
        params: z.object({ trigger: writtenText(1_000) }),
        response: {
          200: hookAnswer.describe('It starts nothing, or was delivered before.'),
          202: hookAnswer.describe('A run was started, is about to be, or waits for a person.'),
          ...problems,
        },
      },
      // Before a byte of the body is read.
      preParsing: async (request, reply, payload) => {
        const name = safeName.safeParse((request.params as { trigger: unknown }).trigger);
        if (!name.success) throw new CairnError('not_found', 'Trigger not found; the address ends with the name of a trigger');
        request.trigger = await load.firstReads(`trigger ${name.data}`, () => engine.findTrigger(name.data));
        const memory = bodies.open(request.ip);
        request.onBodyBytes = (bytes) => memory.take(bytes);
        onceOver(reply, () => memory.giveBack());
        return payload;
      },
    },
    async (request, reply) => {
      const trigger = triggerOf(request);
      const { body = Buffer.alloc(0), headers, ip: address } = request;
      if (!Buffer.isBuffer(body)) throw new Error('the body of a delivery was parsed before its signature was verified');
      const secrets = await engine.triggerSecrets(trigger);
      const verified = verifyDelivery({ provider: trigger.provider, headers, body, secrets, nowMs: Date.now() });
      if ('wrong' in verified) {
        deliveries.inc({ outcome: 'refused' });
        // A flood of wrong ones is counted, not stored.
        if (recorded.take(trigger.id) === 0) {
          const refused = { reason: verified.wrong, digest: bodyDigest(body), address, eventName: null };
          await engine.recordRefusal(trigger, refused).catch((err: unknown) => log.warn({ err }, 'could not record a refused delivery'));
        }
        const { wrong, remedy } = verified;
        throw new CairnError('wrong_signature', `The delivery to trigger ${trigger.name} is refused: ${wrong}`, {
          details: remedy === undefined ? {} : { remedy },
        });
      }
      const waitMs = rate.take(trigger.id);
      if (waitMs > 0)
        throw new CairnError('rate_limited', `Too many deliveries: the limit of a trigger is ${bounds.deliveriesPerTrigger} per second`, {
          details: { retryAfterSeconds: Math.ceil(waitMs / 1000) },
        });
      const { key, replayKey, eventName } = verified;
      const delivery = { key, replayKey, eventName, digest: replayKey ?? bodyDigest(body), body: jsonOf(body), address };
      const answer = await engine.receiveDelivery(trigger, delivery);
      deliveries.inc({ outcome: answer.outcome });
      if (answer.outcome === 'refused')
        throw new CairnError(
          'invalid_request',
          `The delivery ${answer.delivery} to trigger ${trigger.name} cannot be read: ${answer.reason}`,
          { details: { remedy: 'Correct the sender, or the provider of the trigger; docs/ci.md shows what a delivery has.' } },
        );
      const isQuiet = answer.outcome === 'ignored' || answer.outcome === 'repeated';
      return reply.code(isQuiet ? 200 : 202).send(answer);
    },
  );
}

function triggerOf({ trigger }: FastifyRequest): BoundTrigger {
  if (trigger === null) throw new Error('the trigger of a delivery was not looked up');
  return trigger;
}

/** What is not JSON becomes null, which no provider sends: the delivery is recorded as unreadable. */
function jsonOf(body: Buffer): unknown {
  if (!isUtf8(body)) return null;
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
}

type BodyBudgetOptions = {
  /** Bytes of all bodies that are in memory at the same time. */
  totalBytes: number;
  /** The share of one address. */
  addressBytes: number;
};

/**
 * Limits the memory of bodies whose sender is not known before all of it has arrived. Each takes what has arrived of it, until it is
 * answered: what is only announced takes nothing, so that nobody can keep others out without sending.
 */
export function createBodyBudget({ totalBytes, addressBytes }: BodyBudgetOptions) {
  const byAddress = new Map<string, number>();
  let taken = 0;
  return {
    open(address: string) {
      let held = 0;
      return {
        /** @throws CairnError `rate_limited` */
        take(bytes: number): void {
          const own = byAddress.get(address) ?? 0;
          if (taken + bytes > totalBytes || own + bytes > addressBytes)
            throw new CairnError('rate_limited', 'Too many deliveries are being received at the same time', {
              details: { retryAfterSeconds: 5 },
            });
          taken += bytes;
          held += bytes;
          byAddress.set(address, own + bytes);
        },
        giveBack(): void {
          taken -= held;
          const left = (byAddress.get(address) ?? held) - held;
          held = 0;
          if (left > 0) byAddress.set(address, left);
          else byAddress.delete(address);
        },
      };
    },
    taken: () => taken,
  };
}
