import { CategorizerError } from '../domain/errors.ts';

/** @throws CategorizerError `INTERRUPTED` (retryable) where `stop` is aborted */
export function throwIfStopped(stop: AbortSignal, message = 'stopped by a signal'): void {
  if (stop.aborted) throw new CategorizerError('INTERRUPTED', message, { retryable: true });
}
