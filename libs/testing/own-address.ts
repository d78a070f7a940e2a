import { networkInterfaces } from 'node:os';

/** The first address of this machine that is not its own alone. */
export function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const found = addresses.find(({ family, internal }) => family === 'IPv4' && !internal);
  if (found === undefined) throw new Error('this machine has no address that pods reach: set CAIRN_TEST_HOST');
  return found.address;
}
