import { CairnError } from '@cairn/contract';

export type BodyBudgetOptions = {
  /** Bytes of all bodies that are in memory at the same time. */
  totalBytes: number;
  /** The share of one address. */
  addressBytes: number;
};

/**
 * Limits the memory of bodies whose sender is not known before all of it has arrived. Each takes its announced length, or the most that it
 * may have, from before it is read until it is answered.
 */
export function createBodyBudget({ totalBytes, addressBytes }: BodyBudgetOptions) {
  const byAddress = new Map<string, number>();
  let taken = 0;
  return {
    /** @throws CairnError `rate_limited` */
    take(address: string, bytes: number): () => void {
      const own = byAddress.get(address) ?? 0;
      if (taken + bytes > totalBytes || own + bytes > addressBytes)
        throw new CairnError('rate_limited', 'Other deliveries are still being received, and take the memory for them', {
          details: { retryAfterSeconds: 5 },
        });
      taken += bytes;
      byAddress.set(address, own + bytes);
      let isGiven = false;
      return () => {
        if (isGiven) return;
        isGiven = true;
        taken -= bytes;
        const left = (byAddress.get(address) ?? bytes) - bytes;
        if (left > 0) byAddress.set(address, left);
        else byAddress.delete(address);
      };
    },
    taken: () => taken,
  };
}
