/**
 * True for the environment variables that a program which opens a store may need besides the storage URL: those that the
 * AWS SDK reads (credentials, region, endpoint), and the certificates that Node trusts. For whoever starts agents.
 */
export function isStorageVariable(name: string): boolean {
  return name.startsWith('AWS_') || name === 'NODE_EXTRA_CA_CERTS';
}
