import { join } from 'node:path';
import { type Service, type ServiceOptions, startService } from '../service/start-service.ts';
import type { ProgramSpec } from '../service/supervised-program.ts';

export type TestServiceOptions = Pick<ServiceOptions, 'home' | 'python' | 'env' | 'signal'> &
  Partial<Pick<ServiceOptions, 'internalPort' | 'slots' | 'onEvent'>> & {
    /** Folders that may hold datasets, in addition to the home's own. */
    datasetRoots?: readonly string[];
    /** Variables of all programs, which override those of the service. */
    variables?: Readonly<Record<string, string>>;
    controllerVariables?: Readonly<Record<string, string>>;
    /** One is the leader, the others are spares. */
    controllers?: number;
  };

/** A service on free ports, with a database that is fast and not safe against power failures. */
export async function startTestService({
  datasetRoots = [],
  variables = {},
  controllerVariables = {},
  controllers = 1,
  ...options
}: TestServiceOptions): Promise<Service> {
  const roots: Record<string, string> = datasetRoots.length === 0 ? {} : { CAIRN_DATASET_ROOTS: datasetRoots.join(':') };
  const withVariables = (spec: ProgramSpec, own: Readonly<Record<string, string>> = {}): ProgramSpec => ({
    ...spec,
    env: { ...spec.env, ...roots, ...variables, ...own },
  });
  return startService(
    { port: 0, internalPort: 0, slots: 2, onEvent: () => undefined, ...options },
    {
      isDurable: false,
      arrange: ({ migrate, api, controllers: [controller], worker }) => ({
        migrate: withVariables(migrate),
        api: withVariables(api),
        controllers: [
          withVariables(controller, controllerVariables),
          ...Array.from({ length: controllers - 1 }, (_, index) => replica(withVariables(controller, controllerVariables), index + 2)),
        ],
        worker: withVariables(worker),
      }),
    },
  );
}

function replica(spec: ProgramSpec, number: number): ProgramSpec {
  const name = `${spec.name}-${number}`;
  return { ...spec, name, logFile: join(spec.logFile, '..', `${name}.log`) };
}
