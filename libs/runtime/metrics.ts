import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

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
  const registry = new Registry();
  if (processMetrics) collectDefaultMetrics({ register: registry, prefix: 'cairn_' });

  function common<Label extends string>({ name, help, labels = [] }: Described<Label>) {
    const bad = labels.find((label) => unboundedLabel.test(label));
    if (bad !== undefined) throw new Error(`the metric ${name} must not have the label ${bad}: its values are unbounded`);
    return { name: `cairn_${name}`, help, labelNames: [...labels], registers: [registry] };
  }

  return {
    registry,
    counter: (described) => new Counter(common(described)),
    gauge({ collect, ...described }) {
      const configuration = common(described);
      if (!collect) return new Gauge(configuration);
      return new Gauge({
        ...configuration,
        collect() {
          return collect(this);
        },
      });
    },
    histogram: ({ buckets, ...described }) => new Histogram({ ...common(described), buckets: [...buckets] }),
    async render() {
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}
