import { join } from 'node:path';
import { freePort, isPortFree } from './probes.ts';

// SeaweedFS as an S3 server of this machine: for the demo on a bucket, and for tests.

const portNames = ['master.port', 'volume.port', 'filer.port', 's3.port', 'admin.port'] as const;
export type SeaweedPorts = Record<(typeof portNames)[number] | `${(typeof portNames)[number]}.grpc`, number>;

/** Free ports for its parts; clients use `s3.port`. */
export async function takeSeaweedPorts(): Promise<SeaweedPorts> {
  // Its worker, which removes the space of deleted objects, looks for the admin server at 10,000 above `admin.port`, whatever
  // `admin.port.grpc` is.
  let adminGrpc = await freePort();
  while (!(await isPortFree(adminGrpc - 10_000))) adminGrpc = await freePort();
  return {
    'master.port': await freePort(),
    'master.port.grpc': await freePort(),
    'volume.port': await freePort(),
    'volume.port.grpc': await freePort(),
    'filer.port': await freePort(),
    'filer.port.grpc': await freePort(),
    's3.port': await freePort(),
    's3.port.grpc': await freePort(),
    'admin.port': adminGrpc - 10_000,
    'admin.port.grpc': adminGrpc,
  };
}

/** Its parts also communicate by these sockets; a killed server leaves them. */
export function seaweedSockets(ports: SeaweedPorts): string[] {
  return portNames.map((name) => `/tmp/seaweedfs-${name.slice(0, -'.port'.length)}-grpc-${ports[`${name}.grpc`]}.sock`);
}

export type SeaweedIdentity = { name: string; accessKey: string; secretKey: string; actions: readonly string[] };
export const allSeaweedActions: readonly string[] = ['Admin', 'Read', 'Write', 'List'];

/** The content of `s3.json`. */
export function seaweedIdentities(identities: readonly SeaweedIdentity[]): string {
  return JSON.stringify({
    identities: identities.map(({ name, accessKey, secretKey, actions }) => ({ name, credentials: [{ accessKey, secretKey }], actions })),
  });
}

export type SeaweedOptions = {
  ports: SeaweedPorts;
  /** Has `s3.json` and the folder `data`. */
  folder: string;
  listen: string;
  /** Whether a write creates its bucket. */
  createsBuckets?: boolean;
};

/** The arguments of the program `weed`. */
export function seaweedArguments({ ports, folder, listen, createsBuckets = false }: SeaweedOptions): string[] {
  const settings = {
    dir: join(folder, 'data'),
    ip: '127.0.0.1',
    'ip.bind': listen,
    ...ports,
    's3.config': join(folder, 's3.json'),
    's3.port.iceberg': 0,
    's3.port.lance': 0,
    's3.iam': false,
    's3.autoCreateBucket': createsBuckets,
    'admin.ui': false,
    webdav: false,
    'master.volumeSizeLimitMB': 64,
    'filer.localSocket': join(folder, 'filer.sock'),
    's3.localSocket': join(folder, 's3.sock'),
  };
  return ['-logtostderr=true', 'mini', ...Object.entries(settings).map(([name, value]) => `-${name}=${value}`)];
}
