import { labelText } from '@cairn/contract';
import { InvalidArgumentError } from 'commander';

/** Parses an option that is a whole number within bounds. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text.trim()) || value < min || value > max) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** Parses an option that is a number of at least 0. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError('It must be a number of at least 0.');
  return value;
}

/** Parses an option that is a number above 0 and at most `most`. */
export function numberUpTo(most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value > 0 && value <= most))
      throw new InvalidArgumentError(`It must be a number above 0, at most ${most}.`);
    return value;
  };
}

/** Collects an option that may be given several times. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** Collects labels, each as KEY=VALUE. */
export function label(value: string, before: string[] = []): string[] {
  if (!labelText.safeParse(value).success) throw new InvalidArgumentError('It must be KEY=VALUE, such as team=search.');
  return [...before, value];
}

/** Parses an option that is a number from 0 to 1. */
export function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1)) throw new InvalidArgumentError('It must be a number from 0 to 1.');
  return value;
}

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
/** The longest time that a timer can wait: 24 days. */
const maxMs = 2 ** 31 - 1;

/** Parses an option that is a time such as 90m, 12h or 3d, to milliseconds. */
export function duration(text: string): number {
  const [, amount = '', unit] = /^([0-9]+(?:\.[0-9]+)?)([smhd])$/.exec(text.trim()) ?? [];
  const ms = Number(amount) * unitMs[(unit ?? 's') as keyof typeof unitMs];
  if (unit === undefined || ms <= 0 || ms > maxMs) throw new InvalidArgumentError('It must be a time such as 90m, 12h or 3d, at most 24d.');
  return ms;
}
