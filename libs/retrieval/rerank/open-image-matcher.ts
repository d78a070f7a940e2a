import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import {
  CairnError,
  type ImagePlace,
  lastOf,
  type MatchingAnswer,
  type MatchingConfig,
  type MatchingRequest,
  matchingAnswer,
} from '@cairn/contract';
import { isolatedPython, withoutPythonVariables } from '@cairn/runtime';

export type ImageMatcherOptions = MatchingConfig & {
  /** The interpreter with the packages of docker/trainer, and the environment of its process. */
  python: string;
  env: Readonly<Record<string, string | undefined>>;
  signal?: AbortSignal | undefined;
};

export type Matched = Omit<Extract<MatchingAnswer, { type: 'matched' }>, 'type' | 'id'>;

export type ImageMatcher = {
  matcher: Extract<MatchingAnswer, { type: 'ready' }>['matcher'];
  /** Threads of the process: more requests at a time wait. */
  threads: number;
  /** The inliers of a query with each of some images of the index. Rejects with the program's error, or the signal's reason. */
  match(query: ImagePlace, images: readonly ImagePlace[]): Promise<Matched>;
  /** Ends the process. */
  close(): Promise<void>;
};

/** A pair takes seconds at most, however large the images. */
const silenceLimitMs = 10 * 60_000;
const maxErrorChars = 4000;
const module = 'cairn_trainer.match_images';

/**
 * Starts the program that matches images (docker/trainer, {@link module}). Throws `missing_file` or `unreadable_file` for an ONNX matcher,
 * `storage_failed` for a missing image folder, `invalid_configuration` without Python, `program_failed`.
 */
export async function openImageMatcher({ python, env, signal, ...config }: ImageMatcherOptions): Promise<ImageMatcher> {
  signal?.throwIfAborted();
  const child = spawn(python, isolatedPython(module, []), { env: withoutPythonVariables(env), stdio: 'pipe' });
  const program = followProgram(child, python);
  const stop = () => program.fail(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  const close = async () => {
    signal?.removeEventListener('abort', stop);
    // It has nothing to save.
    child.kill('SIGKILL');
    await program.closed;
  };
  try {
    program.send(config);
    const matcher = await program.ready;
    let id = 0;
    return {
      matcher,
      threads: config.threads,
      match: (query, images) => program.ask({ id: id++, query, images: [...images] }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

type Waiting = { resolve: (matched: Matched) => void; reject: (error: unknown) => void };

/** Passes requests on, and answers to those who wait for them. The first failure rejects all. */
function followProgram(child: ChildProcessWithoutNullStreams, python: string) {
  const waiting = new Map<number, Waiting>();
  const ready = Promise.withResolvers<ImageMatcher['matcher']>();
  ready.promise.catch(() => undefined);
  let failure: { error: unknown } | null = null;
  let errors = '';

  const fail = (error: unknown): void => {
    failure ??= { error };
    clearTimeout(silence);
    ready.reject(failure.error);
    for (const { reject } of waiting.values()) reject(failure.error);
    waiting.clear();
    child.kill('SIGKILL');
  };
  let isReady = false;
  const silence = setTimeout(() => {
    // Between its start and the first request lies the search, which may take hours.
    if (isReady && waiting.size === 0) silence.refresh();
    else fail(programFailed(`gave no answer for ${silenceLimitMs / 60_000} minutes`));
  }, silenceLimitMs).unref();
  const programFailed = (how: string) =>
    new CairnError('program_failed', `${module}, run by ${python}, ${how}. Its last output:\n${errors.trim()}`, {
      details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements.txt.' },
    });

  const take = (line: string): void => {
    silence.refresh();
    const answer = matchingAnswer.parse(JSON.parse(line));
    if (answer.type === 'ready') {
      isReady = true;
      ready.resolve(answer.matcher);
    } else if (answer.type === 'failed') fail(new CairnError(answer.code, answer.message));
    else {
      const { type: _, id, ...matched } = answer;
      waiting.get(id)?.resolve(matched);
      waiting.delete(id);
    }
  };
  createInterface(child.stdout).on('line', (line) => {
    try {
      take(line);
    } catch (cause) {
      fail(new CairnError('program_failed', `${module} printed a line that is not an answer: ${line.slice(0, 200)}`, { cause }));
    }
  });
  child.stderr.on('data', (data: Buffer) => {
    errors = lastOf(errors + data.toString(), maxErrorChars);
  });
  // A write to a process that has ended fails; how it ended says more.
  child.stdin.on('error', () => undefined);
  const closed = once(child, 'close').then(
    ([code, signal]) => fail(programFailed(signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`)),
    (cause: unknown) =>
      fail(
        new CairnError('invalid_configuration', `The interpreter ${python} cannot be started`, {
          details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements.txt.' },
          cause,
        }),
      ),
  );
  const send = (message: object): void => void child.stdin.write(`${JSON.stringify(message)}\n`);

  return {
    ready: ready.promise,
    closed,
    fail,
    send,
    ask(request: MatchingRequest): Promise<Matched> {
      if (failure !== null) return Promise.reject(failure.error);
      const { promise, resolve, reject } = Promise.withResolvers<Matched>();
      if (waiting.size === 0) silence.refresh();
      waiting.set(request.id, { resolve, reject });
      send(request);
      return promise;
    },
  };
}
