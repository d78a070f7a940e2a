import { createCloser } from '@cairn/runtime';
import {
  findS3Server,
  findValkeyServer,
  type S3Proxy,
  startS3,
  startS3Proxy,
  startValkey,
  type TestS3,
  type TestValkey,
} from '@cairn/testing';

/** Where the queue and the objects of a run are: the service's own database and folder, or separate servers. */
export const backends = ['postgres', 'redis', 'redis and s3'] as const;
export type Backend = (typeof backends)[number];

export type Servers = {
  valkey: TestValkey | null;
  s3: TestS3 | null;
  /** In front of the S3 server: the service knows no other address. */
  s3Proxy: S3Proxy | null;
  stop(): Promise<void>;
};

/** Servers for one run; `python` is the environment that has their programs. */
export async function startServers(backend: Backend, python: string | undefined): Promise<Servers> {
  const place = { python, cacheDir: '' };
  const closer = createCloser();
  try {
    const valkey = backend === 'postgres' ? null : await startValkey({ program: await findValkeyServer(place) });
    closer.add('Valkey', async () => valkey?.stop());
    const s3 = backend === 'redis and s3' ? await startS3({ program: await findS3Server(place) }) : null;
    closer.add('S3', async () => s3?.stop());
    const s3Proxy = s3 === null ? null : await startS3Proxy(s3.port);
    closer.add('the proxy of S3', async () => s3Proxy?.close());
    return { valkey, s3, s3Proxy, stop: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** The service's settings for storing its objects there. */
export function storageOf({ s3, s3Proxy }: Servers): { url: string; env: Record<string, string> } | null {
  if (s3 === null || s3Proxy === null) return null;
  return { url: `s3://${s3.bucket}/faults?endpoint=${s3Proxy.endpoint}`, env: s3.env };
}
