import { describe, expect, test } from 'vitest';
import { describeProxies, proxiesOf } from './proxies.ts';

describe('the proxies of the environment', () => {
  test('are none without variables, or with only NO_PROXY', () => {
    expect(proxiesOf({})).toBeNull();
    expect(proxiesOf({ NO_PROXY: '*', HTTP_PROXY: '' })).toBeNull();
  });

  test('are those in lower case first; a bare name is an http address; loopback never has one', () => {
    const env = {
      HTTP_PROXY: 'http://upper:1',
      http_proxy: 'lower:3128',
      HTTPS_PROXY: 'http://ada:secret@secure:3128',
      NO_PROXY: 'a.org, .b.org',
    };
    expect(proxiesOf(env)).toMatchObject({ http_proxy: 'http://lower:3128', https_proxy: 'http://ada:secret@secure:3128' });
    expect(proxiesOf(env)?.no_proxy.split(',')).toEqual(expect.arrayContaining(['localhost', '127.0.0.1', '::1', 'a.org', '.b.org']));
    expect(describeProxies(env)).toBe('http by lower:3128, https by secure:3128');
  });

  test.each(['socks5://proxy:1080', 'http://', 'not an address'])('cannot be %s', (HTTPS_PROXY) => {
    expect(() => proxiesOf({ HTTPS_PROXY })).toThrow(/^HTTPS_PROXY is not the address/);
  });
});
