import { expect, test } from 'vitest';
import { createCloser } from './closer.ts';

test('parts are closed one after another, the last created first', async () => {
  const closer = createCloser();
  const order: string[] = [];
  const slow = Promise.withResolvers<void>();
  closer.add('pool', () => order.push('pool'));
  closer.add('server', async () => {
    await slow.promise;
    order.push('server');
  });
  const closing = closer.close();
  setImmediate(slow.resolve);
  await closing;
  expect(order).toEqual(['server', 'pool']);
});

test('one failure does not keep the others open, and all failures are reported', async () => {
  const closer = createCloser();
  const closed: string[] = [];
  closer.add('pool', () => closed.push('pool'));
  closer.add('queue', () => {
    throw new Error('socket gone');
  });
  closer.add('server', () => Promise.reject(new Error('still busy')));
  const failure = await closer.close().catch((error: unknown) => error);
  expect(closed).toEqual(['pool']);
  expect(failure).toBeInstanceOf(AggregateError);
  expect((failure as AggregateError).errors.map((error: Error) => error.message)).toEqual([
    'server could not be closed: still busy',
    'queue could not be closed: socket gone',
  ]);
});

test('a part that does not close in time is named, and the rest are still closed', async () => {
  const closer = createCloser();
  const closed: string[] = [];
  closer.add('pool', () => closed.push('pool'));
  closer.add('stream', () => new Promise(() => {}));
  await expect(closer.close(20)).rejects.toThrow('stream was not closed within 20 ms');
  expect(closed).toEqual(['pool']);
});

test('closing twice closes once', async () => {
  const closer = createCloser();
  let times = 0;
  closer.add('pool', () => {
    times += 1;
  });
  await Promise.all([closer.close(), closer.close()]);
  expect(times).toBe(1);
});

test('nothing can be added once closing has begun', async () => {
  const closer = createCloser();
  await closer.close();
  expect(() => closer.add('late', () => {})).toThrow('late was created while the program was closing');
});
