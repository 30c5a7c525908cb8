import type { Clock } from './ports.ts';

/**
 * Shares one reading among all who ask within `ms` of it. A reading that fails is not kept.
 *
 * @param ms milliseconds
 */
export function atMostEvery<T>(ms: number, clock: Pick<Clock, 'now'>, read: () => Promise<T>): () => Promise<T> {
  let last: { readonly at: number; readonly reading: Promise<T> } | undefined;
  return () => {
    if (last && clock.now() - last.at < ms) return last.reading;
    const current = { at: clock.now(), reading: read() };
    last = current;
    current.reading.catch(() => {
      if (last === current) last = undefined;
    });
    return current.reading;
  };
}
