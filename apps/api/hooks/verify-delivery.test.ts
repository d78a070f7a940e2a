import { expect, test } from 'vitest';
import { createBodyBudget } from '../routes/hooks.ts';
import { verifyDelivery } from './verify-delivery.ts';

test('the signatures that GitHub and Standard Webhooks publish are accepted', () => {
  const secrets = ["It's a Secret to Everybody"];
  const headers = { 'x-github-event': 'push', 'x-github-delivery': '1' };
  const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
  const body = Buffer.from('Hello, World!');
  const github = { provider: 'github', headers: { ...headers, 'x-hub-signature-256': signature }, body, secrets, nowMs: 0 } as const;
  expect(verifyDelivery(github)).toMatchObject({ key: '1', eventName: 'push' });
  const standard = {
    provider: 'standard',
    headers: {
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    },
    body: Buffer.from('{"test": 2432232314}'),
    secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
    nowMs: 1_614_265_330_000,
  } as const;
  expect(verifyDelivery(standard)).toMatchObject({ key: 'msg_p5jXN8AQM9LWM0D4loKWxJek' });
});

test('bodies share a budget, of which one address gets a part', () => {
  const budget = createBodyBudget({ totalBytes: 100, addressBytes: 60 });
  const [first, second, idle] = [budget.open('a'), budget.open('b'), budget.open('c')];
  first.take(25);
  first.take(35);
  expect(() => first.take(1)).toThrow('Too many deliveries');
  expect(() => budget.open('a').take(1)).toThrow('Too many deliveries');
  // One that has sent nothing yet keeps nobody out.
  second.take(40);
  expect(() => idle.take(1)).toThrow('Too many deliveries');
  first.giveBack();
  first.giveBack();
  expect(budget.taken()).toBe(40);
  second.giveBack();
  idle.take(60);
  idle.giveBack();
  expect(budget.taken()).toBe(0);
});
