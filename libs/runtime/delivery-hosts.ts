import { CairnError } from '@cairn/contract';
import { z } from 'zod';

/** The setting that limits which services webhooks and reports are sent to. By name, because a proxy resolves names itself. */
export const deliveryHostsVariable = {
  CAIRN_DELIVERY_HOSTS: z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((host) => host.trim().toLowerCase())
        .filter((host) => host !== ''),
    )
    .pipe(
      z.array(z.string().regex(/^(\*\.)?[a-z0-9[\]:._-]+$/, 'use names such as hooks.example.org or *.example.org, separated by commas')),
    )
    .optional()
    .describe('the hosts that webhooks and reports may be sent to; unset: any')
    .meta({ example: 'hooks.example.org,*.corp.example.org,10.0.0.7' }),
};

/** True for a host that the setting names: `*.example.org` is every name below it. Null allows every host. */
export function isDeliveryHost(url: string, hosts: readonly string[] | null): boolean {
  const { hostname } = new URL(url);
  return hosts === null || hosts.some((host) => (host.startsWith('*.') ? hostname.endsWith(host.slice(1)) : hostname === host));
}

/** @throws CairnError `forbidden` for a host that the setting does not name */
export function requireDeliveryHost(url: string, hosts: readonly string[] | null): void {
  if (isDeliveryHost(url, hosts)) return;
  throw new CairnError('forbidden', `Nothing may be sent to ${new URL(url).hostname}: CAIRN_DELIVERY_HOSTS does not name it`, {
    details: { remedy: 'Ask the operator of the service to add the host to CAIRN_DELIVERY_HOSTS.' },
  });
}
