import { expect } from 'vitest';

export const eventually = <T>(read: () => T | Promise<T>, timeout = 60_000) => expect.poll(read, { timeout, interval: 200 });
