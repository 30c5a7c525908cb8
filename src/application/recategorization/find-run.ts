import { CategorizerError } from '../../domain/errors.ts';
import type { Run, RunRegistry } from './ports.ts';

/** @throws CategorizerError `RUN_NOT_FOUND` */
export async function findRun(registry: Pick<RunRegistry, 'get'>, id: string): Promise<Run> {
  const run = await registry.get(id);
  if (run) return run;
  throw new CategorizerError('RUN_NOT_FOUND', `there is no run ${id}: see categorizer runs list`);
}
