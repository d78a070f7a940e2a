import type { ReactNode } from 'react';

/** Names with their values, side by side where there is room. */
export function Facts({ facts, className }: { facts: readonly (readonly [string, ReactNode])[]; className: string | undefined }) {
  return (
    <dl className={className}>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
