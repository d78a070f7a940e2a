import { CairnError } from '@cairn/contract';
import pino from 'pino';
import pretty from 'pino-pretty';

export type Logger = pino.Logger;
export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export type LoggerOptions = {
  /** The name of the program, in every line. */
  name: string;
  level?: LogLevel;
  /** For people at a terminal; otherwise one JSON object per line. */
  pretty?: boolean;
  /** Where lines go instead of standard error. */
  destination?: { write(line: string): void };
};

const secretKeys = ['authorization', 'token', 'password', 'secret', 'serverKey', 'cookie'];

/**
 * Lines of JSON on standard error (standard output is for a program's results), written synchronously, so that a kill
 * loses none. Values under secret keys are removed, at the top level and down to three levels.
 */
export function createLogger({ name, level = 'info', pretty: isPretty = false, destination }: LoggerOptions): Logger {
  const paths = secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`, `*.*.*.${key}`]);
  const options: pino.LoggerOptions = {
    name,
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths, censor: '[redacted]' },
    serializers: { err: serializeError, error: serializeError },
    formatters: { level: (label) => ({ level: label }) },
  };
  if (destination) return pino(options, destination);
  if (isPretty) return pino(options, pretty({ destination: 2, sync: true, ignore: 'pid,name,hostname', translateTime: 'SYS:HH:MM:ss' }));
  return pino(options, pino.destination({ dest: 2, sync: true }));
}

/** An error with its code, details and whole chain of causes. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  return {
    type: error.name,
    message: error.message,
    ...(error instanceof CairnError ? { code: error.code, details: error.details } : 'code' in error ? { code: error.code } : {}),
    stack: error.stack,
    ...(error instanceof AggregateError ? { errors: error.errors.map(serializeError) } : {}),
    ...(error.cause === undefined ? {} : { cause: serializeError(error.cause) }),
  };
}
