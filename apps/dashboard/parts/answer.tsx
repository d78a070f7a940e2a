import type { ReactNode } from 'react';
import { ProblemNotice } from './problem.tsx';

type Asked<T> = { data: T | undefined; error: unknown; refetch: () => unknown };

/** An answer of the service: that it is loading, what `children` make of it, and above it why it could not be read. */
export function Answer<T>({ of, children }: { of: Asked<T>; children: (data: T) => ReactNode }) {
  return (
    <>
      {of.error !== null && <ProblemNotice error={of.error} onRetry={() => void of.refetch()} />}
      {of.data === undefined ? of.error === null && <p role="status">Loading …</p> : children(of.data)}
    </>
  );
}
