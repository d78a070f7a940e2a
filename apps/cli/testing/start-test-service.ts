import { join } from 'node:path';
import type { ProgramSpec } from '../service/kept-program.ts';
import { type Service, type ServiceOptions, startService } from '../service/start-service.ts';

export type TestServiceOptions = Pick<ServiceOptions, 'home' | 'python' | 'env' | 'signal'> &
  Partial<Pick<ServiceOptions, 'internalPort' | 'slots' | 'tell'>> & {
    /** Folders that datasets may lie in, besides the home's own. */
    datasetRoots?: readonly string[];
    /** Variables of all programs, which win over those that the service gives them. */
    variables?: Readonly<Record<string, string>>;
    controllerVariables?: Readonly<Record<string, string>>;
    /** One leads, the others wait for its end. */
    controllers?: number;
  };

/** A service on free ports, with a database that is fast and not safe against a power failure. */
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
    { port: 0, internalPort: 0, slots: 2, tell: () => undefined, ...options },
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
