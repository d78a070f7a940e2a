import type { AdmissionSource, PrismaClient } from '@cairn/db';
import type { BuiltinRecipe, Engine } from '@cairn/engine';
import type { Logger, Metrics } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import type { EventFeed } from '../events/feed.ts';
import type { Dashboard } from '../http/dashboard.ts';
import type { DatasetImages } from '../images/dataset-images.ts';
import type { StoredTables } from '../images/list-rows.ts';
import type { SearchByPicture } from '../images/search-by-picture.ts';
import type { InspectSource } from '../inspect-source.ts';
import type { LoadLimits } from '../load/load-limits.ts';
import type { ServerBounds } from '../server-bounds.ts';
import type { WeightsQuota } from '../weights-quota.ts';
import type { MetricsPage } from './health.ts';

/** The dependencies of the public server; created by main.ts. */
export type ApiDeps = {
  prisma: PrismaClient;
  engine: Engine;
  feed: EventFeed;
  /** Why steps wait, shared between requests. */
  admission: AdmissionSource;
  recipes: ReadonlyMap<string, BuiltinRecipe>;
  /** Checks a dataset's files and computes their digest. */
  inspectSource: InspectSource;
  /** Gives an image of a dataset as a JPEG. */
  images: DatasetImages;
  searchByPicture: SearchByPicture;
  /** Reads Parquet files of artifacts. */
  tables: StoredTables;
  /** Stores imported files, and files that attempts leave in addition to their results. */
  store: ObjectStore;
  /** The location of a key prefix of the object store, for people. */
  locate(prefix: string): string;
  load: LoadLimits;
  bounds: ServerBounds;
  metricsPage: MetricsPage;
  weightsQuota: WeightsQuota;
  log: Logger;
  metrics: Metrics;
  /** The dashboard to serve; null where it is not built. */
  dashboard: Dashboard | null;
  /** Time between two heartbeats of an event stream. */
  heartbeatMs: number;
};
