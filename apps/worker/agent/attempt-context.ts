import type { InternalClient } from '@cairn/client';
import type { AttemptSpec, AttemptSpecOf, FinishRequest } from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import type { Reporter } from '../report/reporter.ts';
import type { Stop } from './stop.ts';

/** What the work of an attempt gets, whatever its kind. */
export type AttemptContext<Spec extends AttemptSpec = AttemptSpec> = {
  spec: Spec;
  client: InternalClient;
  reporter: Reporter;
  store: ObjectStore;
  /** The folders that may hold datasets. */
  datasetRoots: readonly string[];
  /** Where images of a source are kept for the next epoch; null: nowhere. */
  imageCache: { folder: string; bytes: number } | null;
  /** The attempt's own folder on this machine. */
  workDir: string;
  stop: Stop;
  log: Logger;
  /** The interpreter with the packages of docker/trainer. */
  python: string;
  /** 0 on a pool of CPUs. */
  gpus: number;
  /** The environment of programs that the attempt starts: this process's own, without the token. */
  env: Readonly<Record<string, string>>;
};

/** Does the work of one attempt of kind `K`. Throws the error that ends it. */
export type Runner<K extends AttemptSpec['kind']> = (context: AttemptContext<AttemptSpecOf<K>>) => Promise<FinishRequest>;
