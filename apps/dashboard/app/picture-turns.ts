export type PictureTurns = {
  /**
   * Calls `begin` when it is this picture's turn. The returned function ends the turn, or the wait for it.
   */
  take: (begin: () => void) => () => void;
};

/** Browsers open six connections to a server over HTTP/1.1: pictures leave some for data and for the event stream. */
const maxLoading = 3;

/** Lets a few pictures load at a time, so that a page of a hundred does not hold up what it needs to be used. */
export function createPictureTurns(): PictureTurns {
  const loading = new Set<() => void>();
  const waiting = new Set<() => void>();

  function next(): void {
    for (const begin of waiting) {
      if (loading.size >= maxLoading) return;
      waiting.delete(begin);
      loading.add(begin);
      begin();
    }
  }
  return {
    take(begin) {
      // A function of its own, since the same one may be passed twice.
      const turn = (): void => begin();
      waiting.add(turn);
      next();
      return () => {
        waiting.delete(turn);
        if (loading.delete(turn)) next();
      };
    },
  };
}
