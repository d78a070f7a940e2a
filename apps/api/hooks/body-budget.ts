import { CairnError } from '@cairn/contract';

export type BodyBudgetOptions = {
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
            throw new CairnError('rate_limited', 'Other deliveries are still being received, and take the memory for them', {
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
