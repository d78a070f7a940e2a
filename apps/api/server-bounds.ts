import type { ApiConfiguration } from './configuration.ts';
import type { ConnectionBounds } from './load/bound-connections.ts';
import type { CallRates } from './load/call-rates.ts';
import type { WeightsQuotas } from './weights-quota.ts';

/** Limits for the callers of a replica. */
export type ServerBounds = {
  rates: CallRates;
  /** Deliveries per second of one trigger; 0: unlimited. */
  deliveriesPerTrigger: number;
  weights: WeightsQuotas;
  /** Connection limits of each of the two ports. */
  connections: ConnectionBounds;
};

const gigabyte = 1e9;

export function boundsOf(configuration: ApiConfiguration): ServerBounds {
  return {
    rates: { perToken: configuration.CAIRN_TOKEN_RATE, perAddress: configuration.CAIRN_ADDRESS_RATE },
    deliveriesPerTrigger: configuration.CAIRN_TRIGGER_RATE,
    weights: {
      projectCount: configuration.CAIRN_PROJECT_WEIGHTS,
      ownerCount: configuration.CAIRN_OWNER_WEIGHTS,
      projectBytes: configuration.CAIRN_PROJECT_WEIGHTS_GB * gigabyte,
      ownerBytes: configuration.CAIRN_OWNER_WEIGHTS_GB * gigabyte,
    },
    connections: {
      most: configuration.CAIRN_MAX_CONNECTIONS,
      perAddress: configuration.CAIRN_ADDRESS_CONNECTIONS,
      trusted: configuration.CAIRN_TRUSTED_PROXIES,
    },
  };
}
