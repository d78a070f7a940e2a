import { createRequire } from 'node:module';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Counter, Gauge, Histogram, Registry } from 'prom-client';

const require = createRequire(import.meta.url);

/** Labels that would make one series per run, or worse: a Prometheus server cannot hold that many. */
const unboundedLabel = /(^|_)(id|run|step|attempt|shard|token|user|path|url)$|Id$/;

type Described<Label extends string> = {
  /** Without the prefix `cairn_`; with the unit (`_seconds`, `_bytes`) and `_total` for counters. */
  name: string;
  help: string;
  labels?: readonly Label[];
};

export type Metrics = {
  registry: Registry;
  counter<Label extends string = never>(described: Described<Label>): Counter<Label>;
  /** `collect` sets the gauge when it is read. */
  gauge<Label extends string = never>(
    described: Described<Label> & { collect?: (gauge: Gauge<Label>) => void | Promise<void> },
  ): Gauge<Label>;
  histogram<Label extends string = never>(described: Described<Label> & { buckets: readonly number[] }): Histogram<Label>;
  /** The answer of GET /metrics. */
  render(): Promise<{ contentType: string; body: string }>;
};

/**
 * The metrics of one app, in its own registry (prom-client's global one would mix the apps of a test process).
 * @throws Error for a label that names a single run, attempt or the like.
 */
export function createMetrics({ processMetrics = true }: { processMetrics?: boolean } = {}): Metrics {
  // Loaded here, not by every program that imports something else of this library, such as an agent.
  const prom: typeof import('prom-client') = require('prom-client');
  const registry = new prom.Registry();
  if (processMetrics) prom.collectDefaultMetrics({ register: registry, prefix: 'cairn_' });

  function common<Label extends string>({ name, help, labels = [] }: Described<Label>) {
    const bad = labels.find((label) => unboundedLabel.test(label));
    if (bad !== undefined) throw new Error(`the metric ${name} must not have the label ${bad}: its values are unbounded`);
    return { name: `cairn_${name}`, help, labelNames: [...labels], registers: [registry] };
  }

  return {
    registry,
    counter: (described) => new prom.Counter(common(described)),
    gauge({ collect, ...described }) {
      const configuration = common(described);
      if (!collect) return new prom.Gauge(configuration);
      return new prom.Gauge({
        ...configuration,
        collect() {
          return collect(this);
        },
      });
    },
    histogram: ({ buckets, ...described }) => new prom.Histogram({ ...common(described), buckets: [...buckets] }),
    async render() {
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

const resolutionMs = 10;

type LongestBlock = {
  /** In milliseconds of wall-clock time: how long everything in this process waited, including for a processor. */
  blockedMs(): number;
  /** In milliseconds of processor time: how long this process's own code blocked it, however busy the machine is. */
  busyMs(): number;
  close(): void;
};

/**
 * The longest time that the event loop was blocked within the last 30 to 60 s: long enough for every scraper to see it, without one
 * scraper resetting it for another.
 */
export function watchLongestBlock({ windowMs = 30_000 } = {}): LongestBlock {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  const before = { blockedMs: 0, busyMs: 0 };
  let busyMs = 0;
  let last = busyNow();
  const blockedMs = () => (histogram.count === 0 ? 0 : Math.max(0, histogram.max / 1e6 - resolutionMs));
  const turn = setInterval(() => {
    const now = busyNow();
    busyMs = Math.max(busyMs, now - last);
    last = now;
  }, resolutionMs).unref();
  const window = setInterval(() => {
    Object.assign(before, { blockedMs: blockedMs(), busyMs });
    histogram.reset();
    busyMs = 0;
  }, windowMs).unref();
  return {
    blockedMs: () => Math.max(before.blockedMs, blockedMs()),
    busyMs: () => Math.max(before.busyMs, busyMs),
    close() {
      clearInterval(turn);
      clearInterval(window);
      histogram.disable();
    },
  };
}

function busyNow(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
