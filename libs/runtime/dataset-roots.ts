import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';

const absolutePath = z.string().refine((path) => isAbsolute(path), 'is not an absolute path');

/** Where datasets may be: the variables of every program that reads them. */
export const datasetRootsVariables = {
  CAIRN_DATASET_ROOTS: z
    .string()
    .transform((text) => text.split(':').filter((path) => path !== ''))
    .pipe(z.array(absolutePath))
    .optional()
    .describe('the folders that may hold datasets, separated by colons; without them no dataset can be registered or read')
    .meta({ example: '/data/landmarks:/mnt/gldv2' }),
  CAIRN_DATASET_ROOTS_FILE: z
    .string()
    .min(1)
    .optional()
    .describe('a JSON file with a list of further such folders, read each time; `cairn dataset add` writes the one of an embedded service')
    .meta({ example: '/var/lib/cairn/dataset-roots.json' }),
};

/** The content of the file of {@link datasetRootsVariables}. */
export const datasetRootsFile = z.array(absolutePath);

type Configuration = { CAIRN_DATASET_ROOTS?: string[] | undefined; CAIRN_DATASET_ROOTS_FILE?: string | undefined };

/**
 * The folders that may hold datasets now. A missing file adds none.
 *
 * @throws CairnError `invalid_configuration` where the file cannot be read
 */
export async function readDatasetRoots(configuration: Configuration): Promise<string[]> {
  const { CAIRN_DATASET_ROOTS: roots = [], CAIRN_DATASET_ROOTS_FILE: file } = configuration;
  return file === undefined ? roots : [...roots, ...(await readDatasetRootsFile(file))];
}

/** The folders of one such file. Throws as {@link readDatasetRoots} does. */
export async function readDatasetRootsFile(file: string): Promise<string[]> {
  try {
    return datasetRootsFile.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new CairnError('invalid_configuration', `${file} is not a JSON list of absolute paths, or cannot be read`, { cause: error });
  }
}

/** The same variables for a child program. */
export function datasetRootsEnvironment(configuration: Configuration): Record<string, string> {
  const { CAIRN_DATASET_ROOTS: roots, CAIRN_DATASET_ROOTS_FILE: file } = configuration;
  return {
    ...(roots === undefined ? {} : { CAIRN_DATASET_ROOTS: roots.join(':') }),
    ...(file === undefined ? {} : { CAIRN_DATASET_ROOTS_FILE: file }),
  };
}
