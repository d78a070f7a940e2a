import type { ListName } from './settings.ts';

/** Rows and labels of a list; labels are null where no source states them. */
export type KnownCount = { rows: number; labels: number | null; source: string };

const table1 = 'table 1 of arXiv 2110.04294';

/** The known counts of GLDv2's lists. */
export const knownCounts: Partial<Record<ListName, KnownCount>> = {
  clean: { rows: 1_580_470, labels: 81_313, source: table1 },
  c2x: { rows: 3_223_078, labels: 81_313, source: table1 },
  full: { rows: 4_132_914, labels: 203_094, source: table1 },
  all: { rows: 4_825_830, labels: 203_094, source: table1 },
  query: { rows: 1_129, labels: null, source: 'the scored queries of retrieval_solution_v2.1.csv' },
  index: { rows: 761_757, labels: null, source: 'the README of GLDv2' },
  index_expand: {
    rows: 78_959,
    labels: null,
    source: 'the 76,176 index images of the competition of 2021 and the ground truths they lack',
  },
};
