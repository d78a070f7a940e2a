import { enableCompileCache } from 'node:module';

// An agent starts for every attempt: the compile cache saves half the time, because no types are stripped and no code is compiled again.
enableCompileCache();

const usage = `usage: main.ts agent|tasks|extract
  agent   runs the attempt of CAIRN_ATTEMPT_ID to its end
  tasks   takes attempts from the queue \`tasks\` and runs each in its own agent
  extract runs the extraction whose job is on standard input, without a control plane
`;

/** Loads only what the subcommand needs: an agent starts many times. */
switch (process.argv[2]) {
  case 'agent': {
    // Secrets that an executor passes as a file, to keep them out of the description of a container.
    if (process.env.CAIRN_ENV_FILE) process.loadEnvFile(process.env.CAIRN_ENV_FILE);
    const { runAgent } = await import('./agent/run-agent.ts');
    process.exit(await runAgent(process.env));
    break;
  }
  case 'tasks': {
    const { runTasks } = await import('./tasks/run-task.ts');
    await runTasks(process.env);
    break;
  }
  case 'extract': {
    const { runAlone } = await import('./alone/run-alone.ts');
    process.exit(await runAlone(process.env));
    break;
  }
  case 'child': {
    // Started by an agent, for work that blocks the event loop.
    const { runChild } = await import('./child/run-child.ts');
    await runChild(process.env);
    process.exit(0);
    break;
  }
  default:
    process.stderr.write(usage);
    process.exit(2);
}
