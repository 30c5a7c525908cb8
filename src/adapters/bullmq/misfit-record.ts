/**
 * What is remembered of a job that a worker gave back, in the job's own progress: it goes away with the job, and costs no
 * round trip besides the one that delays it.
 */
import { z } from 'zod';
import type { VectorKind } from '../../domain/feature-space.ts';

const recordSchema = z.object({
  misfit: z.object({
    space: z.string().optional(),
    width: z.number().optional(),
    /** When a worker gave it back for the first time, in milliseconds since 1970. */
    since: z.number(),
    /** How often it was given back. */
    rounds: z.number().int(),
    /** When workers may look at it again. The script of the queue lag reads it by this name. */
    due: z.number().int(),
  }),
});

export type Misfit = z.infer<typeof recordSchema>['misfit'];

/** Lenient on purpose: the progress of a job is whatever somebody wrote there. */
export function readMisfit(progress: unknown): Misfit | undefined {
  return recordSchema.safeParse(progress).data?.misfit;
}

export function misfitProgress(kind: VectorKind, times: Pick<Misfit, 'since' | 'rounds' | 'due'>): string {
  return JSON.stringify({ misfit: { ...times, ...kind } } satisfies z.infer<typeof recordSchema>);
}

/** The progress of a job that nobody gave back. */
export const NO_MISFIT = 0;
